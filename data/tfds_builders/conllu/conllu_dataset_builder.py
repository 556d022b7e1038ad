"""A treebank in CoNLL-U files (universaldependencies.org/format.html), sentence by sentence."""

import re

import tensorflow_datasets as tfds

from data import tfds_builders

# A word's number and form. The number may be a range, for several words that are written as one, or may have a point,
# for a word that is not written.
WORD = re.compile(r"(\d+(?:\.\d+)?)(?:-(\d+))?\t([^\t]+)")


class Builder(tfds.core.GeneratorBasedBuilder):
    """An example is a sentence: its lines as they stand in the file, and its plain text."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "*train*.conllu, *dev*.conllu and *test*.conllu, gzipped (.conllu.gz) or not"

    def _info(self):
        text = tfds.features.Text()
        features = tfds.features.FeaturesDict({"conllu": text, "text": text})
        # Keys rise, so that examples keep the order of the file.
        return self.dataset_info_from_configs(features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        files = {
            split: tfds_builders.find(dl_manager.manual_dir, f"*{file}*.conllu", f"*{file}*.conllu.gz")
            for split, file in (("train", "train"), ("validation", "dev"), ("test", "test"))
        }
        return {split: self._generate_examples(path) for split, path in files.items()}

    def _generate_examples(self, path):
        first_line = 1  # number of the line in which a sentence begins
        for index, lines in enumerate(tfds_builders.read(path).replace("\r\n", "\n").split("\n\n")):
            if lines.strip():
                yield index, {"conllu": lines.strip("\n"), "text": _text(lines, path, first_line)}
            first_line += lines.count("\n") + 2


def _text(lines, path, first_line):
    """A sentence's text: as its comment gives it, or else its surface forms with spaces between."""
    text, forms, last_number = None, [], 0
    for line_number, line in enumerate(lines.split("\n"), start=first_line):
        if line.startswith("# text = "):
            text = line.removeprefix("# text = ")
        elif line and not line.startswith("#"):
            word = WORD.match(line)
            if not word:
                raise ValueError(f"{path}, line {line_number} is no word of a CoNLL-U file: {line[:60]!r}")
            first, last, form = word.groups()
            if first.isdecimal() and int(first) > last_number:
                forms.append(form)
                last_number = int(last or first)
    return " ".join(forms) if text is None else text
