"""tiny_shakespeare (Karpathy 2015) from its one file, with the splits of TFDS's own builder."""

import tensorflow_datasets as tfds

from data import tfds_builders


class Builder(tfds.core.GeneratorBasedBuilder):
    """Each split is one document: the first 90 % of the characters, the next 5 %, the last 5 %."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "input.txt of github.com/karpathy/char-rnn, data/tinyshakespeare"

    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))

    def _split_generators(self, dl_manager):
        text = tfds_builders.read(tfds_builders.find(dl_manager.manual_dir, "input.txt"))
        train_end, validation_end = int(len(text) * 0.9), int(len(text) * 0.95)
        parts = {"train": text[:train_end], "validation": text[train_end:validation_end], "test": text[validation_end:]}
        return {split: self._generate_examples(part) for split, part in parts.items()}

    def _generate_examples(self, text):
        yield 0, {"text": text}
