"""Image data sets: what is read is what was written, and what cannot be read is named."""

import io
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from data import images
from data.tfds_builders.cifar10_jpeg.cifar10_jpeg_dataset_builder import CLASSES

COUNTS = {"train": 20, "test": 10}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/assay/images"


def jpeg(level, size=32):
    file = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), level, np.uint8)).save(file, "jpeg")
    return file.getvalue()


def write_copy(folder, replaced=None, **changes):
    """A local copy whose image number i is of one level, 8 i, and of class i % 10; some files may be replaced."""
    folder.mkdir(exist_ok=True)
    for split, count in COUNTS.items():
        files = [jpeg(8 * i) for i in range(count)]
        for (name, index), content in (replaced or {}).items():
            if name == split:
                files[index] = content
        arrays = {
            "jpeg_bytes": np.frombuffer(b"".join(files), np.uint8),
            "offsets": np.cumsum([0] + [len(file) for file in files]),
            "labels": np.arange(count, dtype=np.uint8) % 10,
            "class_names": np.array(CLASSES),
        }
        np.savez(folder / f"{split}.npz", **arrays | changes)
    return folder


def levels(array):
    return array[:, 16, 16, 0].astype(int)


def test_the_digits_are_scaled_to_the_model_and_belong_to_their_labels():
    loaded = images.load("digits")
    assert (loaded.train_images.shape, loaded.test_images.shape) == ((1438, 32, 32, 3), (359, 32, 32, 3))
    assert loaded.train_images.dtype == np.uint8
    assert (loaded.train_images[..., 0] == loaded.train_images[..., 2]).all()
    assert np.bincount(loaded.test_labels).min() >= 28
    small = images.load("digits", image_shape=(8, 8, 1))
    assert small.train_images.max() == 255
    np.testing.assert_array_equal(small.train_labels, loaded.train_labels)
    # The nearest class mean, by pixels alone, is right for most.
    means = np.stack([small.train_images[small.train_labels == k].mean(0) for k in range(10)])
    distance = ((small.test_images[:, None] - means) ** 2).sum((2, 3, 4))
    assert (distance.argmin(1) == small.test_labels).mean() > 0.85
    assert loaded.sha256 == images.load("digits").sha256 != small.sha256


def test_a_local_copy_is_read_through_the_builder_shuffled_and_cached(tmp_path, cache, capsys):
    folder = write_copy(tmp_path / "copy")
    loaded = images.load("cifar10", folder)
    assert loaded.source == "cifar10_jpeg"
    assert loaded.class_names == CLASSES
    for split, count in COUNTS.items():
        pixels, labels = getattr(loaded, f"{split}_images"), getattr(loaded, f"{split}_labels")
        assert pixels.shape == (count, 32, 32, 3)
        np.testing.assert_array_equal(np.sort(levels(pixels)), 8 * np.arange(count))
        np.testing.assert_array_equal(levels(pixels) // 8 % 10, labels)
        assert not np.array_equal(labels, np.arange(count) % 10)  # as it lies in the file: a prefix would be one class
    assert "preparing cifar10_jpeg" in capsys.readouterr().err
    assert len(list(cache.iterdir())) == 1
    again = images.load("cifar10", folder)
    assert "preparing" not in capsys.readouterr().err
    assert again.sha256 == loaded.sha256
    next(cache.iterdir()).write_bytes(b"PK damaged")
    assert images.load("cifar10", folder).sha256 == loaded.sha256


def test_the_original_pixels_are_read_from_the_binary_archive(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=(12, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(12, dtype=np.uint8)[:, None] % 10
    records = np.concatenate([labels, pixels.reshape(12, -1)], axis=1)
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for number in range(6):
            name = "test_batch.bin" if number == 5 else f"data_batch_{number + 1}.bin"
            content = records[2 * number : 2 * number + 2].tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    loaded = images.load("cifar10", tmp_path)
    assert loaded.source == "cifar10_binary"
    for image, label in zip(loaded.train_images, loaded.train_labels, strict=True):
        (index,) = (i for i in range(10) if np.array_equal(pixels[i].transpose(1, 2, 0), image))
        assert label == index
    assert len(loaded.test_labels) == 2
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cifar-10-binary.tar.gz is damaged"):
        images.load("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar10", r"cifar10 is not in .*; prepare it with: tfds build cifar10 .* with train.npz and test.npz"),
        ("cifar10_jpeg", r"prepare it with: python -m data.tfds_builders cifar10_jpeg LOCAL_COPY --data_dir="),
        ("cifar11", r"cifar11 is no data set known here \(is it cifar10.*; if TFDS has it, .* tfds build cifar11 "),
    ],
)
def test_a_data_set_that_is_not_there_says_how_to_get_it(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        images.load(name, tmp_path)


def test_a_corrupt_image_is_named_with_its_file_and_index(tmp_path):
    folder = write_copy(tmp_path / "copy", {("test", 7): jpeg(3)[:200]})
    with pytest.raises(ValueError, match=r"copy/test.npz, image 7: cannot be decoded"):
        images.load("cifar10", folder)
    folder = write_copy(tmp_path / "copy", {("train", 3): jpeg(3, size=16)})
    with pytest.raises(ValueError, match=r"copy/train.npz, image 3: .*\(16, 16, 3\)"):
        images.load("cifar10", folder)


def test_a_damaged_archive_is_named(tmp_path):
    folder = write_copy(tmp_path / "copy")
    content = bytearray((folder / "train.npz").read_bytes())
    content[len(content) // 3] ^= 1
    (folder / "train.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"train.npz is damaged"):
        images.load("cifar10", folder)
    folder = write_copy(tmp_path / "copy", labels=np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match=r"train.npz: offsets do not cut jpeg_bytes into 3 files"):
        images.load("cifar10", folder)
    folder = write_copy(tmp_path / "copy", class_names=np.array(["cat"]))
    with pytest.raises(ValueError, match=r"train.npz has the classes cat"):
        images.load("cifar10", folder)


def test_images_that_do_not_fit_the_model_are_refused(tmp_path):
    folder = write_copy(tmp_path / "copy")
    with pytest.raises(ValueError, match=r"are 32 x 32 x 3 .* and the model is made for 28 x 28 x 1"):
        images.load("cifar10", folder, image_shape=(28, 28, 1))
    with pytest.raises(ValueError, match="has 10 classes, and the model 100"):
        images.load("cifar10", folder, num_classes=100)


def test_standardized_images_have_mean_zero_and_deviation_one():
    pixels = np.random.default_rng(0).integers(0, 256, size=(50, 8, 8, 3), dtype=np.uint8)
    pixels[..., 1] //= 4
    standardized = images.standardize(jnp.asarray(pixels), *images.channel_moments(pixels))
    np.testing.assert_allclose(standardized.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(standardized.std((0, 1, 2)), 1, atol=1e-4)
    np.testing.assert_allclose(images.channel_moments(pixels)[0], pixels.mean((0, 1, 2)) / 255, rtol=1e-5)


def test_a_balanced_subset_has_as_many_of_each_class():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), [30] * 9 + [5]))
    classes = images.group_by_class(labels, 45)

    @jax.jit
    def drawn(seed, draws):
        return images.balanced_rows(classes, jnp.arange(45), seed, draws[:, None])

    draws = [set(rows.tolist()) for seed in range(3) for rows in np.asarray(drawn(seed, jnp.arange(4)))]
    for rows in draws:
        assert len(rows) == 45
        assert sorted(np.bincount(labels[list(rows)])) == [4] * 5 + [5] * 5
    # Of any two draws, of one seed or of two, chance alone has 45^2 / 275 = 7 in common.
    shared = [len(a & b) for number, a in enumerate(draws) for b in draws[:number]]
    assert max(shared) < 20
    np.testing.assert_array_equal(drawn(1, jnp.arange(4)), drawn(1, jnp.arange(4)))
    with pytest.raises(ValueError, match="takes 6 of class 9, which has 5"):
        images.group_by_class(labels, 60)
