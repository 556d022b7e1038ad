"""What is drawn in a figure's SVG, for tests: cells, texts, lines and colours."""

from xml.etree import ElementTree

import numpy as np

SVG = "{http://www.w3.org/2000/svg}"


def cells_of(figure):
    """[(hover text, attributes)] of every cell, in the order of drawing."""
    root = ElementTree.fromstring(figure.markup)
    return [(cell.find(f"{SVG}title").text, cell.attrib) for cell in root.iter(f"{SVG}rect") if len(cell)]


def texts_of(figure):
    """Every text, in the order of drawing."""
    return [element.text for element in ElementTree.fromstring(figure.markup).iter(f"{SVG}text")]


def oklab(colour):
    """Lightness and the two colour axes of `#rrggbb`, from the definition (Ottosson 2020)."""
    linear = []
    for at in (1, 3, 5):
        value = int(colour[at : at + 2], 16) / 255
        linear.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    red, green, blue = linear
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def causal_pattern(length, seed=0):
    """A random attention pattern [length, length] whose queries see no later keys."""
    scores = np.random.default_rng(seed).normal(size=(length, length))
    scores[np.triu_indices(length, 1)] = -np.inf
    weights = np.exp(scores)
    return weights / weights.sum(1, keepdims=True)
