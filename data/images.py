"""Sets of labelled images, decoded once and kept as arrays of bytes.

Axes: N images, height, width, C channels; K classes.
"""

import contextlib
import hashlib
import io
import os
import re
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from data import tfds_builders
from data.order import permute

DIGITS = "digits"
# Data sets that a builder of ours makes from a local copy, each with the files by which the copy is known.
LOCAL_COPIES = {"cifar10_jpeg": ("train.npz", "test.npz"), "cifar10_binary": ("cifar-10-binary.tar.gz",)}
# Names under which one data set is known: that of TFDS, then those of local copies.
ALIASES = {"cifar10": ("cifar10", "cifar10_binary", "cifar10_jpeg")}
CACHE_FORMAT = 1  # raise it whenever the same files give other arrays


@dataclass(frozen=True)
class Images:
    """Two splits: images [N, height, width, C] of bytes and labels [N] (int32), in an order without meaning."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    source: str  # which data set, such as "cifar10_jpeg"

    def arrays(self):
        """The four arrays by name, to be kept on the device."""
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}

    @property
    def sha256(self):
        """The SHA-256 of the four arrays, their names and their shapes."""
        sha = hashlib.sha256()
        for name, array in sorted(self.arrays().items()):
            sha.update(f"{name} {array.shape} ".encode())
            sha.update(np.ascontiguousarray(array))
        return sha.hexdigest()


def load(dataset=DIGITS, data_dir=None, image_shape=(32, 32, 3), num_classes=10):
    """The labelled images of that name.

    - "digits": scikit-learn's 1,797 digits of 8 x 8 (Alpaydin and Kaynak 1998), on every machine; a fifth of them for
      testing. They are scaled to ``image_shape``, its channels all the same.
    - "cifar10": from a local copy in ``data_dir``, either train.npz and test.npz (JPEG) or cifar-10-binary.tar.gz,
      prepared by a builder of ours when first read; or from what TFDS has prepared there.
    - any other data set of TFDS with the features image and label and the splits train and test.

    Decoded images are kept under $XDG_CACHE_HOME/assay (default ~/.cache/assay) by the hash of the files' content.

    Args:
      data_dir: default $TFDS_DATA_DIR, else ~/tensorflow_datasets. No network is asked.
      image_shape: (height, width, channels) that the model is made for.
      num_classes: number of classes that the model is made for.
    Raises:
      ValueError: an unknown name, a data set that has not been prepared (with the command that prepares it), a damaged
        archive or image (with the file and its index in it), images of another shape or more classes than given.
    """
    if dataset == DIGITS:
        images = _read_digits(image_shape)
    else:
        folder = Path(data_dir).expanduser() if data_dir else tfds_builders.data_dir()
        images = _read_files(dataset, folder)
    _check(images, dataset, image_shape, num_classes)
    return images


def _check(images, dataset, image_shape, num_classes):
    shape = images.train_images.shape[1:]
    if shape != tuple(image_shape):
        given, wanted = (" x ".join(map(str, sides)) for sides in (shape, image_shape))
        raise ValueError(
            f"the images of dataset={dataset} are {given} (height, width, channels), and the model is made for {wanted}"
        )
    if len(images.class_names) != num_classes:
        raise ValueError(f"dataset={dataset} has {len(images.class_names)} classes, and the model {num_classes}")


# --- Digits.


def _read_digits(image_shape):
    from PIL import Image
    from sklearn.datasets import load_digits

    height, width, channels = image_shape
    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    scaled = [np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR)) for one in pixels]
    images, labels = np.repeat(np.stack(scaled)[..., None], channels, axis=-1), digits.target.astype(np.int32)
    order = _random_order(len(images))
    held_out, kept = order[: len(order) // 5], order[len(order) // 5 :]
    names = tuple(map(str, digits.target_names))
    return Images(images[kept], labels[kept], images[held_out], labels[held_out], names, DIGITS)


def _random_order(size):
    return np.random.Generator(np.random.PCG64(0)).permutation(size)


# --- Data sets on disk.


def _read_files(dataset, folder):
    """The data set from a local copy, or as TFDS has prepared it, decoded or from the cache."""
    for name in ALIASES.get(dataset, (dataset,)):
        for place in (folder, folder / name):
            if name in LOCAL_COPIES and all((place / file).is_file() for file in LOCAL_COPIES[name]):
                files = [place / file for file in LOCAL_COPIES[name]]
                return _read_cached(name, files, lambda name=name, place=place: _prepare(name, place))
    for name in ALIASES.get(dataset, (dataset,)):
        base = folder / re.split("[/:]", name)[0]
        if base.is_dir():
            files = sorted(path for path in base.rglob("*") if path.is_file())
            return _read_cached(name, files, lambda name=name: _decode(name, folder))
    hint = ""
    if dataset in ALIASES["cifar10"]:
        (*jpeg_files,), (archive,) = LOCAL_COPIES["cifar10_jpeg"], LOCAL_COPIES["cifar10_binary"]
        hint = f"; or give as --data_dir a folder with {' and '.join(jpeg_files)}, or with {archive}"
    try:
        tfds_builders.sources(dataset, folder)
    except ValueError as error:
        raise ValueError(f"{error}{hint}") from error


def _prepare(name, place):
    """The arrays of a local copy, by way of our builder."""
    _check_archives(name, place)
    print(f"data: preparing {name} of {place}, this once", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()):  # where TFDS speaks of a download
            tfds_builders.prepare(name, place, folder)
        return _decode(name, folder, place)


def _check_archives(name, place):
    """Reads the archives first: TFDS buries what is wrong with them."""
    if name == "cifar10_jpeg":
        from data.tfds_builders.cifar10_jpeg.cifar10_jpeg_dataset_builder import read_archive

        for file in LOCAL_COPIES[name]:
            read_archive(place / file)
    if name == "cifar10_binary":
        from data.tfds_builders.cifar10_binary.cifar10_binary_dataset_builder import read_archive

        for split in ("train", "test"):
            read_archive(place / LOCAL_COPIES[name][0], split)


def _decode(name, folder, local_copy=None):
    """The Images of a prepared TFDS data set."""
    import tensorflow_datasets as tfds

    sources = tfds_builders.sources(name, folder)
    if not {"train", "test"} <= set(sources):
        raise ValueError(f"dataset={name} of TFDS has the splits {', '.join(sources)}; train and test are needed")
    features = sources["train"].dataset_info.features
    if not {"image", "label"} <= set(features):
        raise ValueError(f"dataset={name} of TFDS has the features {', '.join(features)}; image and label are needed")
    arrays = {}
    for split in ("train", "test"):
        source = sources[split]
        source.decoders = {"image": tfds.decode.SkipDecoding()}  # decoded here, to say which one cannot be
        examples = sorted(enumerate(source), key=lambda pair: pair[1].get("id", b""))
        if local_copy:  # whose order the ids are, and not that of TFDS
            examples = enumerate(example for _, example in examples)
        images, labels = [], []
        for index, example in examples:
            where = f"{name} in {folder}, {split}" if local_copy is None else _source_file(name, split, local_copy)
            images.append(_decode_pixels(example["image"], f"{where}, image {index}", images))
            labels.append(example["label"])
        order = _random_order(len(images))
        arrays[f"{split}_images"] = np.stack(images)[order]
        arrays[f"{split}_labels"] = np.asarray(labels, np.int32)[order]
    return Images(**arrays, class_names=tuple(features["label"].names), source=name)


def _source_file(name, split, local_copy):
    return local_copy / f"{split}.npz" if name == "cifar10_jpeg" else f"{local_copy / LOCAL_COPIES[name][0]}, {split}"


def _decode_pixels(content, where, before):
    """An image's bytes [height, width, C].

    Raises ValueError where ``content`` cannot be decoded, or has another shape than the images ``before`` it.
    """
    from PIL import Image

    if isinstance(content, bytes):
        try:
            content = np.asarray(Image.open(io.BytesIO(content)))
        except (OSError, SyntaxError) as error:
            said = str(error).split(" <")[0]
            raise ValueError(f"{where}: cannot be decoded ({said}); fetch the file again") from error
    pixels = content if content.ndim == 3 else content[..., None]
    if pixels.dtype != np.uint8 or (before and pixels.shape != before[0].shape):
        wanted = f", those before it {before[0].shape}" if before else ""
        raise ValueError(f"{where}: is {pixels.dtype} {pixels.shape}{wanted}; all must be bytes of one shape")
    return pixels


# --- The cache: one file an entry, that appears whole by renaming.


def _read_cached(name, files, make):
    """The Images of these files, from the cache or made and kept there."""
    sha = hashlib.sha256(f"{CACHE_FORMAT} {name}".encode())
    for path in files:
        with open(path, "rb") as file:
            sha.update(hashlib.file_digest(file, "sha256").digest())
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "assay" / "images"
    entry = folder / f"{name.replace('/', '-').replace(':', '-')}-{sha.hexdigest()[:32]}.npz"
    try:
        with np.load(entry, allow_pickle=False) as arrays:
            fields = {key: arrays[key] for key in arrays.files}
        names, source = tuple(map(str, fields.pop("class_names"))), str(fields.pop("source"))
        return Images(**fields, class_names=names, source=source)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        pass  # there is no entry, or it is damaged: it is made anew
    images = make()
    with contextlib.suppress(OSError):  # a cache that cannot be written is no reason to stop
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
            np.savez(file, **vars(images))
        os.replace(file.name, entry)
    return images


# --- What training does with images; traceable, except where numpy is named.


def channel_moments(images):
    """Mean [C] and standard deviation [C] of each channel of the images, where a byte of 255 counts as 1 (numpy)."""
    flat = images.reshape(-1, images.shape[-1])
    counts = np.stack([np.bincount(channel, minlength=256) for channel in flat.T])  # exact, and no large array
    values = np.arange(256) / 255
    mean = counts @ values / len(flat)
    return mean.astype(np.float32), np.sqrt(counts @ values**2 / len(flat) - mean**2).astype(np.float32)


def standardize(images, mean, deviation, dtype=jnp.float32):
    """Bytes [..., C] as numbers of mean 0 and deviation 1 in each channel, given its moments by ``channel_moments``."""
    # One multiplication and one addition an entry.
    deviation = jnp.maximum(jnp.asarray(deviation, dtype), 1e-6)
    return images.astype(dtype) * (1 / (255 * deviation)) - jnp.asarray(mean, dtype) / deviation


class ByClass(NamedTuple):
    """The numbers of the examples of each class."""

    rows_KN: np.ndarray  # the examples of each class, then zeros; N as many as the largest class has
    counts_K: np.ndarray


def group_by_class(labels, size):
    """Examples by class, for ``balanced_rows`` of subsets of ``size`` (numpy).

    Raises ValueError where a class has too few examples.
    """
    classes, counts = np.unique(labels, return_counts=True)
    shares = np.full(len(classes), size // len(classes)) + (np.arange(len(classes)) < size % len(classes))
    for label, share, count in zip(classes, shares, counts, strict=True):
        if share > count:
            raise ValueError(f"a subset of {size} takes {share} of class {label}, which has {count}")
    rows = np.zeros((len(classes), counts.max()), np.int32)
    for number, label in enumerate(classes):
        rows[number, : counts[number]] = np.flatnonzero(labels == label)
    return ByClass(rows, counts.astype(np.int32))


def balanced_rows(classes, positions, seed, draw):
    """Which examples are at these positions of a random subset with as many of each class as can be.

    A pure function of the seed and the number of the draw, traceable; no two positions have the same example.

    Args:
      classes: as ``group_by_class`` returns them.
      positions: integers in 0 ... size - 1; ``seed`` and ``draw`` broadcast with them.
    """
    count = len(classes.counts_K)
    label, rank = positions % count, positions // count
    return jnp.asarray(classes.rows_KN)[
        label, permute(rank, jnp.asarray(classes.counts_K)[label], seed, draw * count + label)
    ]
