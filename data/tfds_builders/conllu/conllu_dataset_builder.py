"""A treebank in CoNLL-U files (universaldependencies.org/format.html), sentence by sentence."""

import tensorflow_datasets as tfds

from data import tfds_builders


class Builder(tfds.core.GeneratorBasedBuilder):
    """One example a sentence: its lines as they stand in the file, and its plain text."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "*train*.conllu, *dev*.conllu and *test*.conllu, gzipped (.conllu.gz) or not"

    def _info(self):
        text = tfds.features.Text()
        features = tfds.features.FeaturesDict({"conllu": text, "text": text})
        # In the order of the file: keys rise.
        return self.dataset_info_from_configs(features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        files = {
            split: tfds_builders.find(dl_manager.manual_dir, f"*{file}*.conllu", f"*{file}*.conllu.gz")
            for split, file in (("train", "train"), ("validation", "dev"), ("test", "test"))
        }
        return {split: self._generate_examples(path) for split, path in files.items()}

    def _generate_examples(self, path):
        for index, lines in enumerate(tfds_builders.read(path).split("\n\n")):
            if lines.strip():
                yield index, {"conllu": lines.strip("\n"), "text": _text(lines)}


def _text(lines):
    """The sentence as its comment gives it, else its surface forms with spaces between."""
    forms, covered = [], 0
    for line in lines.split("\n"):
        if line.startswith("# text = "):
            return line.removeprefix("# text = ")
        if line and not line.startswith("#"):
            number, form = line.split("\t")[:2]
            first, _, last = number.partition("-")
            if "." not in number and int(first) > covered:
                forms.append(form)
                covered = int(last or first)
    return " ".join(forms)
