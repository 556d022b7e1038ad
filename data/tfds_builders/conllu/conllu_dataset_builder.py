"""A treebank in CoNLL-U files (universaldependencies.org/format.html), sentence by sentence."""

import re

import tensorflow_datasets as tfds

from data import tfds_builders

# Its number, a range of numbers for several words written as one, or a number with a point for one that is not written.
WORD = re.compile(r"(\d+(?:\.\d+)?)(?:-(\d+))?\t([^\t]+)")


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
        begun = 1  # the line that a sentence begins in
        for index, lines in enumerate(tfds_builders.read(path).split("\n\n")):
            if lines.strip():
                yield index, {"conllu": lines.strip("\n"), "text": _text(lines, path, begun)}
            begun += lines.count("\n") + 2


def _text(lines, path, begun):
    """The sentence as its comment gives it, else its surface forms with spaces between."""
    given, forms, covered = None, [], 0
    for number, line in enumerate(lines.split("\n"), start=begun):
        if line.startswith("# text = "):
            given = line.removeprefix("# text = ")
        elif line and not line.startswith("#"):
            word = WORD.match(line)
            if not word:
                raise ValueError(f"{path}, line {number} is no word of a CoNLL-U file: {line[:60]!r}")
            first, last, form = word.groups()
            if first.isdecimal() and int(first) > covered:
                forms.append(form)
                covered = int(last or first)
    return " ".join(forms) if given is None else given
