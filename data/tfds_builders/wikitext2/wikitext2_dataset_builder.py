"""WikiText-2 (Merity et al. 2016) from its three files, article by article."""

import re

import tensorflow_datasets as tfds

from data import tfds_builders

# An article begins with a line " = Title = " followed by a blank line; the first title of a file stays with the blank
# line before it. Sections have more signs; a few formulas look like titles but stand in a paragraph.
ARTICLE_START = re.compile(r"(?<!\A \n)^(?= = [^=\n].*[^=\n] = \n \n)", re.MULTILINE)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Each article is one document, in the order of the file: put end to end, the documents are the file."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "wiki.train.tokens, wiki.valid.tokens, wiki.test.tokens, or train.txt, valid.txt, test.txt"
    )

    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        # Keys rise, so that examples keep the order of the file.
        return self.dataset_info_from_configs(features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        files = {
            split: tfds_builders.find(dl_manager.manual_dir, f"wiki.{file}.tokens", f"{file}.txt")
            for split, file in (("train", "train"), ("validation", "valid"), ("test", "test"))
        }
        return {split: self._generate_examples(path) for split, path in files.items()}

    def _generate_examples(self, path):
        articles = [text for text in ARTICLE_START.split(tfds_builders.read(path)) if text]
        for index, article in enumerate(articles):
            yield index, {"text": article}
