"""CIFAR-10 as JPEG files, packed end to end into one .npz a split."""

import io
import zipfile
import zlib
from itertools import pairwise

import numpy as np
import tensorflow_datasets as tfds

from data import tfds_builders

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Builder(tfds.core.GeneratorBasedBuilder):
    """An example is an image: its JPEG bytes as they are, its class and its place in the file."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "train.npz and test.npz with the arrays jpeg_bytes, offsets, labels and class_names"

    def _info(self):
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(32, 32, 3), encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=CLASSES),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {
            split: self._generate_examples(split, tfds_builders.find(dl_manager.manual_dir, f"{split}.npz"))
            for split in ("train", "test")
        }

    def _generate_examples(self, split, path):
        files, labels = read_archive(path)
        for index, (content, label) in enumerate(zip(files, labels, strict=True)):
            yield index, {"id": f"{split}_{index:05d}", "image": io.BytesIO(content), "label": int(label)}


def read_archive(path):
    """Reads the JPEG files (bytes) and labels of one split's .npz.

    Raises ValueError where the archive is damaged, lacks an array, or has arrays that do not belong together.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            content, offsets, labels = (arrays[name] for name in ("jpeg_bytes", "offsets", "labels"))
            names = tuple(map(str, arrays["class_names"]))
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]}") from error
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is damaged, or no .npz archive: {error}") from error
    if names != CLASSES:
        raise ValueError(f"{path} has the classes {', '.join(names)}; CIFAR-10's are {', '.join(CLASSES)}")
    if (
        len(offsets) != len(labels) + 1
        or offsets[0] != 0
        or offsets[-1] != content.size
        or (np.diff(offsets) < 1).any()
    ):
        raise ValueError(f"{path}: offsets do not cut jpeg_bytes into {len(labels)} files, one a label")
    if (wrong := np.flatnonzero(labels >= len(CLASSES))).size:
        raise ValueError(f"{path}: image {wrong[0]} has the label {labels[wrong[0]]} of {len(CLASSES)} classes")
    content = content.tobytes()
    return [content[start:end] for start, end in pairwise(offsets)], labels
