"""Parallel text from two files a split, line by line: line i of the one is the translation of line i of the other."""

from pathlib import Path

import tensorflow_datasets as tfds

from data import parallel_text


class Builder(tfds.core.GeneratorBasedBuilder):
    """An example is a pair of lines, in the order of the files; its features are named after the two languages.

    A split that has no files is left out.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "two files *train*.LANGUAGE, gzipped (.LANGUAGE.gz) or not, and two of the same names with val (valid, "
        "validation, dev) and with test for train"
    )

    def __init__(self, *, languages=None, **settings):
        self._languages = languages  # None where a data set that has been prepared is read: it knows its features
        super().__init__(**settings)

    @classmethod
    def find_settings(cls, folder):
        """The argument ``languages`` for the files of a folder."""
        return {"languages": tuple(_find_training_files(folder))}

    def _info(self):
        features = tfds.features.Translation(self._languages) if self._languages else None
        # Keys rise, so that examples keep the order of the files.
        return self.dataset_info_from_configs(features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        training = tuple(_find_training_files(Path(dl_manager.manual_dir)).values())
        files = {"train": training}
        files |= {split: parallel_text.find_beside(*training, split) for split in ("validation", "test")}
        return {split: self._generate_examples(*paths) for split, paths in files.items() if paths}

    def _generate_examples(self, *paths):
        for index, lines in enumerate(parallel_text.read_pairs(*paths)):
            yield index, dict(zip(self._languages, lines, strict=True))


def _find_training_files(folder):
    """{language: its training file}, in the alphabet's order; raises ValueError unless there are exactly two."""
    files = {}
    for path in sorted(folder.glob("*train*.*")):  # a file comes before its gzipped copy
        name = path.name.removesuffix(".gz")
        if not any(other.name == name for other in files.values()):
            language = name.rpartition(".")[2]
            if language in files:
                raise ValueError(f"{path} and {files[language].name} are both training files of {language}: keep one")
            files[language] = path
    if len(files) != 2:
        names = ", ".join(path.name for path in files.values()) or "none"
        raise ValueError(f"{folder} must have two training files, as train.en and train.fr, but has: {names}")
    return dict(sorted(files.items()))
