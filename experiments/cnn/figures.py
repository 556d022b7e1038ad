"""Figures of networks of images: filters, confusions, mistakes, norms' axes, accuracy by size, gaps with intervals.

Axis letters: S seeds, N images or draws, K a kernel's window, C channels, O outputs.
"""

import base64
import io
import math

import numpy as np

from reporting import svg
from reporting.claims import interval_95
from reporting.figures import COLOURS, WIDTH, Figure, curves, heatmap
from reporting.tables import table

GAP = 10
TEXT = 12.0
SWATCH = 72  # pixels of a drawn image's side


def filters(title, caption, kernels_KKCO):
    """The kernels [K, K, C, O] of a convolution as O small images, in colour where C is 3, else the channels' mean.

    Each kernel has its own scale, symmetric about zero, which is grey.
    """
    kernels = np.asarray(kernels_KKCO, np.float64)
    kernels = kernels if kernels.shape[2] == 3 else kernels.mean(2, keepdims=True)
    greatest = np.abs(kernels).max((0, 1, 2), keepdims=True)
    scaled = 127.5 * (1 + kernels / np.where(greatest > 0, greatest, 1))
    images = np.moveaxis(np.rint(scaled).astype(np.uint8), -1, 0)
    return gallery(title, caption, images, [f"channel {number}" for number in range(len(images))])


def mistakes(title, caption, images, labels, predicted, class_names, most=20):
    """The first ``most`` images [N, height, width, C] of uint8 whose predicted class is not their label, under both."""
    wrong = np.flatnonzero(np.asarray(labels) != np.asarray(predicted))
    # Spread over the data, which may be in the order of the classes.
    shown = wrong[np.linspace(0, len(wrong) - 1, min(most, len(wrong))).astype(int)] if len(wrong) else wrong
    words = [f"{class_names[labels[i]]}\n→ {class_names[predicted[i]]}" for i in shown]
    return gallery(title, f"{caption} {len(wrong):,} of {len(labels):,} are wrong.", np.asarray(images)[shown], words)


def gallery(title, caption, images, words):
    """Images [N, height, width, 1 or 3] of uint8 side by side, each over its words, of which a line break makes lines.

    Raises ValueError where images and words differ in number, and for other channels.
    """
    images = np.asarray(images, np.uint8)
    if len(images) != len(words):
        raise ValueError(f"Figure {title!r} has {len(images)} images and {len(words)} words for them.")
    if not len(images):
        return table(title, caption, ["images"], [["none"]])
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"Figure {title!r} has images of {images.shape[-1]} channels: give 1 or 3.")
    lines = [[str(line) for line in str(text).split("\n")] for text in words]
    widest = max(svg.text_width(line, TEXT - 1) for some in lines for line in some)
    across = max(SWATCH, widest) + GAP
    columns = max(1, min(len(images), int(WIDTH // across)))
    down = SWATCH + 16 * max(map(len, lines)) + GAP
    parts = []
    for number, (image, some) in enumerate(zip(images, lines, strict=True)):
        row, column = divmod(number, columns)
        x, y = column * across, row * down
        left = x + (across - SWATCH) / 2
        parts.append(
            f'<image x="{left:g}" y="{y:g}" width="{SWATCH}" height="{SWATCH}" style="image-rendering:pixelated" '
            f'href="{png(image)}"><title>{svg.escape(svg.printable(", ".join(some)))}</title></image>'
        )
        parts += [
            svg.text(x + across / 2, y + SWATCH + 10 + 16 * i, line, attributes=f' font-size="{TEXT - 1:g}"')
            for i, line in enumerate(some)
        ]
    height = math.ceil(len(images) / columns) * down
    return Figure(title, svg.document(title, columns * across, height, "\n".join(parts)), caption)


def png(image):
    """An image [height, width, 1 or 3] of uint8 as a data: address."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def confusion(title, caption, labels_N, predicted_N, class_names):
    """How many images of each class were taken for each class: rows are the true classes."""
    counts = np.zeros((len(class_names),) * 2)
    np.add.at(counts, (np.asarray(labels_N), np.asarray(predicted_N)), 1)
    return heatmap(title, caption, counts, class_names, class_names, "true class", "predicted class", "images")


def norm_axes(reach_BC):
    """What one output of each normalisation depends on: {kind: [B, C], the share of an image's entries}."""
    images, channels = next(iter(reach_BC.values())).shape
    return heatmap(
        "What each normalisation reads",
        "The share of the entries of an image's channel on which one output, of image 1 and channel 5, depends: the "
        "non-zero gradients. Every norm takes whole images; they differ in the batch and the channels.",
        {f"{kind} norm": reach for kind, reach in reach_BC.items()},
        [str(i) for i in range(images)],
        [str(i) for i in range(channels)],
        "image",
        "channel",
        "share of its entries",
        limits=(0.0, 1.0),
    )


def accuracy_against_parameters(mlps, cnn):
    """Test accuracies of MLPs {number of parameters: accuracy [S]} and of the CNN (parameters, accuracy [S])."""
    sizes = sorted(mlps)
    series = {
        "MLP": (np.array(sizes), np.stack([mlps[size] for size in sizes], axis=1)),
        "CNN": (np.array(cnn[:1]), np.asarray(cnn[1])[:, None]),
    }
    return curves(
        "Accuracy against parameters",
        "MLPs of one hidden layer and the convolutional network, trained alike.",
        "parameters",
        [("test accuracy", series)],
        log_x=True,
    )


def intervals(title, caption, value_label, measured):
    """Means with 95 % intervals, a row a name: {name: {series: values [N]}}; one value has no interval."""
    import matplotlib.style
    from matplotlib.figure import Figure as Canvas

    names, series = list(measured), list(dict.fromkeys(s for of_name in measured.values() for s in of_name))
    with matplotlib.style.context(["default", svg.MATPLOTLIB_STYLE]):
        canvas = Canvas(figsize=(760 / 72, (34 * len(names) + 90) / 72), dpi=72, layout="constrained")
        ax = canvas.subplots()
        for number, one in enumerate(series):
            rows = [row for row, name in enumerate(names) if one in measured[name]]
            values = [np.ravel(measured[names[row]][one]) for row in rows]
            means = [float(np.mean(v)) for v in values]
            ends = [interval_95(v) or (m, m) for v, m in zip(values, means, strict=True)]
            errors = np.abs(np.array(ends).T - np.array(means))
            offset = 0.12 * (number - (len(series) - 1) / 2)
            places, marker = [row + offset for row in rows], "osD^v"[number % 5]
            colour = COLOURS[number % len(COLOURS)]
            ax.errorbar(means, places, xerr=errors, fmt=marker, color=colour, capsize=3, label=one)
        ax.set(xlabel=value_label, yticks=range(len(names)), yticklabels=[svg.printable(name) for name in names])
        ax.invert_yaxis()
        ax.margins(y=0.1)
        if len(series) > 1:
            canvas.legend(loc="outside lower center", ncols=len(series))
        drawn = svg.from_matplotlib(title, canvas)
    return Figure(title, drawn, f"{caption} Bars are 95 % intervals of the mean.")


def layers(title, caption, rows):
    """A model's layers as a table: rows (layer, output shape, parameters, multiply-adds, receptive field or None)."""
    columns = ["layer", "output", "parameters", "multiply-adds", "receptive field (pixels)"]
    return table(title, caption, columns, rows)
