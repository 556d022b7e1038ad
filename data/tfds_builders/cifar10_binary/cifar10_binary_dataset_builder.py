"""CIFAR-10's own pixels, from the binary version of its archive (Krizhevsky 2009)."""

import tarfile
import zlib

import numpy as np
import tensorflow_datasets as tfds

from data import tfds_builders
from data.tfds_builders.cifar10_jpeg.cifar10_jpeg_dataset_builder import CLASSES

SHAPE = (32, 32, 3)
RECORD_BYTES = 1 + 32 * 32 * 3  # a label, then the red, green and blue planes
FILES = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}


class Builder(tfds.core.GeneratorBasedBuilder):
    """An example is an image: its pixels, its class and its place in the archive."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "cifar-10-binary.tar.gz of www.cs.toronto.edu/~kriz/cifar.html"

    def _info(self):
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Tensor(shape=SHAPE, dtype=np.uint8),
            "label": tfds.features.ClassLabel(names=CLASSES),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        path = tfds_builders.find(dl_manager.manual_dir, "cifar-10-binary.tar.gz")
        return {split: self._generate_examples(split, path) for split in FILES}

    def _generate_examples(self, split, path):
        images, labels = read_archive(path, split)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield index, {"id": f"{split}_{index:05d}", "image": image, "label": int(label)}


def read_archive(path, split):
    """Reads the images [N, 32, 32, 3] and labels [N] of one split; raises ValueError where the archive is damaged."""
    records = []
    try:
        with tarfile.open(path) as archive:
            for file in FILES[split]:
                content = archive.extractfile(f"cifar-10-batches-bin/{file}").read()
                if not content or len(content) % RECORD_BYTES:
                    raise ValueError(f"{path}: {file} has {len(content)} bytes, no multiple of {RECORD_BYTES}")
                records.append(np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES))
    except (OSError, tarfile.TarError, zlib.error, EOFError, KeyError) as error:
        raise ValueError(f"{path} is damaged, or another archive: {error}") from error
    records = np.concatenate(records)
    if (wrong := np.flatnonzero(records[:, 0] >= len(CLASSES))).size:
        raise ValueError(f"{path}: image {wrong[0]} of {split} has the label {records[wrong[0], 0]} of {len(CLASSES)}")
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0]
