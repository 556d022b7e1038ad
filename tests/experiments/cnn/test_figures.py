"""Figures of images: what they contain, and what they refuse.

The figures of each arm are covered by tests/experiments/test_cnn.py.
"""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from experiments.cnn import figures
from experiments.cnn.receptive_fields import layers_of_one_image
from models.cnn import CNN


def pictures(figure):
    """Every <image> of a figure, decoded."""
    encoded = re.findall(r'href="data:image/png;base64,([^"]+)"', figure.markup)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in encoded]


def test_a_gallery_shows_the_pixels_and_the_texts():
    pixels = np.random.default_rng(0).integers(256, size=(3, 4, 5, 3)).astype(np.uint8)
    figure = figures.gallery("Three", "", pixels, ["a", "b & <c>", "d\ne"])
    ElementTree.fromstring(figure.markup)
    np.testing.assert_array_equal(np.stack(pictures(figure)), pixels)
    assert "b &amp; &lt;c&gt;" in figure.markup
    with pytest.raises(ValueError, match="3 images and 2 texts"):
        figures.gallery("Three", "", pixels, ["a", "b"])
    with pytest.raises(ValueError, match="2 channels"):
        figures.gallery("Three", "", pixels[..., :2], ["a", "b", "c"])


def test_filters_are_grey_at_zero_and_each_has_its_own_scale():
    kernels = np.zeros((3, 3, 3, 3))
    kernels[0, 0, 0, 1] = 5.0
    kernels[..., 2] = -0.01
    zero, red, dark = pictures(figures.filters("Filters", "", kernels))
    assert (zero == 128).all()
    assert (dark == 0).all()
    np.testing.assert_array_equal(red[0, 0], [255, 128, 128])
    assert pictures(figures.filters("Filters", "", kernels[:, :, :1]))[0].shape == (3, 3)


def test_mistakes_are_the_wrong_ones_alone():
    pixels = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1).repeat(2, 1).repeat(2, 2)
    labels, predicted = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
    figure = figures.mistakes("Wrong", "All.", pixels, labels, predicted, ["cat", "dog"])
    assert [int(picture[0, 0]) for picture in pictures(figure)] == [1, 3]
    assert "2 of 4 are wrong" in figure.caption
    assert len(pictures(figures.mistakes("Wrong", "", pixels, labels, predicted, ["cat", "dog"], most=1))) == 1
    assert "none" in figures.mistakes("Wrong", "", pixels, labels, labels, ["cat", "dog"]).markup


def test_a_confusion_matrix_counts_by_true_class():
    figure = figures.confusion("Confusion", "", [0, 0, 1, 1], [0, 1, 1, 1], ["cat", "dog"])
    hovers = re.findall(r"<title>(.*?)</title>", figure.markup)
    assert "true class cat, predicted class dog: images 1" in hovers
    assert "true class dog, predicted class dog: images 2" in hovers


def test_accuracy_against_parameters_sorts_the_sizes_and_norms_have_a_panel_each():
    mlps = {40: np.array([0.9, 0.8]), 10: np.array([0.5, 0.4])}
    figure = figures.accuracy_against_parameters(mlps, (20, np.array([0.95, 0.96])))
    assert "MLP" in figure.markup
    assert "CNN" in figure.markup
    drawn = figures.norm_axes({"batch": np.ones((2, 3)), "layer": np.zeros((2, 3))}).markup
    assert drawn.count("share of its entries 1") == 6
    assert "layer norm" in drawn


def test_intervals_are_those_of_the_mean_and_one_value_has_none():
    figure = figures.intervals("Gaps", "Of two.", "accuracy", {"none": {"train": np.ones(3)}, "a": {"test": [0.5]}})
    ElementTree.fromstring(figure.markup)
    for text in ("none", "train", "test", "accuracy"):
        assert text in figure.markup
    assert "95 %" in figure.caption


def test_the_table_of_layers_ends_in_their_sums():
    markup = figures.layers_table("Layers", "", layers_of_one_image(CNN())).markup
    for text in ("32 x 32 x 8", "221,184", "the image", "11,658", "526,336"):
        assert text in markup
