"""The figures of the report, and what they are drawn with: images side by side, and intervals of means.

Axis letters: S seeds, N images or draws, B batch, K a kernel's window, C channels, O outputs.
"""

import base64
import io
import math

import numpy as np

from experiments.cnn.image_identities import NORMS
from experiments.cnn.images import load_images, shift_distances
from experiments.cnn.measures import accuracy, gaps, of_network
from experiments.cnn.networks import CNN_NAME, FACTORS, mlp_name, permuted_name
from experiments.cnn.receptive_fields import layers_of_one_image
from reporting import svg
from reporting.claims import interval_95
from reporting.figures import COLOURS, WIDTH, Figure, curves, heatmap
from reporting.tables import table

GAP = 10
TEXT_SIZE = 11
LINE_HEIGHT = 16
IMAGE_SIDE = 72  # pixels of a drawn image's side
INTERVALS = "Bars are 95 % intervals of the mean (the t interval ignores that an accuracy cannot exceed 1)."


def figures(results):
    """Figures of every arm that is among the results."""
    all_figures = []
    if "exact" in results:
        all_figures.append(norm_axes({kind: results["exact"].examined[f"reach/{kind}"][0] for kind in NORMS}))
    if "table" in results:
        all_figures += table_figures(results["table"])
    if "space" in results:
        all_figures += space_figures(results["space"])
    if norms := [results[arm] for arm in ("norms_128", "norms_2") if arm in results]:
        all_figures.append(norms_figure(norms))
    if "shift" in results:
        all_figures.append(shift_figure(results["shift"]))
    if "overfitting" in results:
        all_figures += overfitting_figures(results["overfitting"])
    return all_figures


def table_figures(result):
    """The table model's layers and filters, and what it takes for what."""
    images = load_images(result.config)
    labels, predicted = images.arrays["test_labels"], result.examined["predicted"][0]
    kernels = result.variables["params"]["convolution_0"]["kernel"][0]
    caption = f"Test images of {images.facts['dataset']}, first seed."
    return [
        layers_table("The table model", "Computed from the module.", layers_of_one_image(result.model)),
        filters("First-layer filters", "Kernels of the first convolution, each on its own scale.", kernels),
        confusion("Which class is taken for which", caption, labels, predicted, images.class_names),
        mistakes("Misclassified", caption, images.arrays["test_images"], labels, predicted, images.class_names),
    ]


def space_figures(result):
    """The CNN against MLPs: by their parameters, on images moved, and on permuted pixels."""
    mlps = {
        int(of_network(result, "num_parameters", name)[0]): accuracy(result, name) for name in map(mlp_name, FACTORS)
    }
    cnn = int(of_network(result, "num_parameters", CNN_NAME)[0]), accuracy(result, CNN_NAME)
    size = result.config.image_size
    pixels = np.array([0, *shift_distances(size)])
    moved = {
        name: (pixels, of_network(result, "test_accuracy", name).mean(1))
        for name in (CNN_NAME, mlp_name(1), mlp_name(FACTORS[-1]))
    }
    by_order = {
        name: {"in order": accuracy(result, name), "permuted": accuracy(result, permuted_name(name))}
        for name in (CNN_NAME, mlp_name(1))
    }
    return [
        accuracy_against_parameters(mlps, cnn),
        curves(
            "Images moved",
            f"Mean over four directions, of images with {size} pixels a side; at the edge they are mirrored.",
            "pixels moved",
            [("test accuracy", moved)],
        ),
        intervals("Pixels in another order", "The same order for all images.", "test accuracy", by_order),
    ]


def norms_figure(results):
    """Test accuracy of every norm, at each of the results' batch sizes."""
    by_norm = {
        kind: {f"batch {result.config.batch_size}": accuracy(result, kind) for result in results}
        for kind in ("none", *NORMS)
    }
    return intervals(
        "Norms at large and small batches",
        "All are trained on as many images, with the learning rate scaled by the batch.",
        "test accuracy",
        by_norm,
    )


def shift_figure(result):
    """The covariate shift and the training loss over training, with and without batch normalisation."""
    probes, labels = result.probes, {"none": "no norm", "batch": "BN"}

    def lines(quantity):
        return {
            label: (probes.steps, probes[f"{kind}/{quantity}"][:, :, 1:].mean(2).T) for kind, label in labels.items()
        }

    losses = {label: (probes.steps, probes[f"{kind}/loss"].T) for kind, label in labels.items()}
    return curves(
        "Internal covariate shift",
        "How a layer's gradient changes from G to G' when the layers before it take their step; mean over all layers "
        "but the first.",
        "training step",
        [
            ("|G - G'| / |G|", lines("relative_shift")),
            ("cosine of G and G'", lines("cosine")),
            ("training loss (nats)", losses),
        ],
        log_y=("|G - G'| / |G|",),
    )


def overfitting_figures(result):
    """The gap between training and test accuracy of each method, and both accuracies."""
    config = result.config
    caption = f"On training sets of {config.train_size} images; {config.num_draws} draws a seed."
    gap_by_method = {name: {"gap": gaps(result, name)} for name in result.model}
    accuracy_by_method = {
        name: {
            "train": of_network(result, "train_accuracy", name),
            "test": of_network(result, "test_accuracy", name)[:, :, 0],
        }
        for name in result.model
    }
    return [
        intervals("The gap, by method", caption, "training accuracy minus test accuracy", gap_by_method),
        intervals("Training and test accuracy, by method", caption, "accuracy", accuracy_by_method),
    ]


# --- One figure each.


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
    """At most ``most`` of the images [N, height, width, C] of uint8 whose predicted class is not their label.

    Both names stand below each image.
    """
    wrong = np.flatnonzero(np.asarray(labels) != np.asarray(predicted))
    # Spread over the data, which may be in the order of the classes.
    shown = wrong[np.linspace(0, len(wrong) - 1, min(most, len(wrong))).astype(int)] if len(wrong) else wrong
    texts = [f"{class_names[labels[i]]}\n→ {class_names[predicted[i]]}" for i in shown]
    return gallery(title, f"{caption} {len(wrong):,} of {len(labels):,} are wrong.", np.asarray(images)[shown], texts)


def gallery(title, caption, images, texts):
    """Images [N, height, width, 1 or 3] of uint8 side by side, each above its text, of which a line break makes lines.

    Raises ValueError where images and texts differ in number, and for other channels.
    """
    images = np.asarray(images, np.uint8)
    if len(images) != len(texts):
        raise ValueError(f"Figure {title!r} has {len(images)} images and {len(texts)} texts for them.")
    if not len(images):
        return table(title, caption, ["images"], [["none"]])
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"Figure {title!r} has images of {images.shape[-1]} channels: give 1 or 3.")
    lines_N = [[str(line) for line in str(text).split("\n")] for text in texts]
    widest = max(svg.text_width(line, TEXT_SIZE) for lines in lines_N for line in lines)
    column_width = max(IMAGE_SIDE, widest) + GAP
    num_columns = max(1, min(len(images), int(WIDTH // column_width)))
    row_height = IMAGE_SIDE + LINE_HEIGHT * max(map(len, lines_N)) + GAP
    parts = []
    for number, (image, lines) in enumerate(zip(images, lines_N, strict=True)):
        row, column = divmod(number, num_columns)
        x, y = column * column_width, row * row_height
        left = x + (column_width - IMAGE_SIDE) / 2
        hover = svg.escape(svg.printable(", ".join(lines)))
        parts.append(
            f'<image x="{left:g}" y="{y:g}" width="{IMAGE_SIDE}" height="{IMAGE_SIDE}" '
            f'style="image-rendering:pixelated" href="{png(image)}"><title>{hover}</title></image>'
        )
        middle, top = x + column_width / 2, y + IMAGE_SIDE + GAP
        parts += [
            svg.text(middle, top + LINE_HEIGHT * i, line, attributes=f' font-size="{TEXT_SIZE}"')
            for i, line in enumerate(lines)
        ]
    height = math.ceil(len(images) / num_columns) * row_height
    return Figure(title, svg.document(title, num_columns * column_width, height, "\n".join(parts)), caption)


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
    """Mean accuracies with 95 % intervals, a row a name: {name: {series: values [N]}}; one value has no interval."""
    import matplotlib.style
    from matplotlib.figure import Figure as Canvas

    names, series = list(measured), list(dict.fromkeys(s for by_series in measured.values() for s in by_series))
    with matplotlib.style.context(["default", svg.MATPLOTLIB_STYLE]):
        canvas = Canvas(figsize=(760 / 72, (34 * len(names) + 90) / 72), dpi=72, layout="constrained")
        ax = canvas.subplots()
        for number, label in enumerate(series):
            rows = [row for row, name in enumerate(names) if label in measured[name]]
            values = [np.ravel(measured[names[row]][label]) for row in rows]
            means = [float(np.mean(v)) for v in values]
            ends = [interval_95(v) or (m, m) for v, m in zip(values, means, strict=True)]
            offset = 0.12 * (number - (len(series) - 1) / 2)
            ax.errorbar(
                means,
                [row + offset for row in rows],
                xerr=np.abs(np.array(ends).T - np.array(means)),
                fmt="osD^v"[number % 5],
                color=COLOURS[number % len(COLOURS)],
                capsize=3,
                label=label,
            )
        ax.set(xlabel=value_label, yticks=range(len(names)), yticklabels=[svg.printable(name) for name in names])
        ax.invert_yaxis()
        ax.margins(y=0.1)
        if len(series) > 1:
            canvas.legend(loc="outside lower center", ncols=len(series))
        markup = svg.from_matplotlib(title, canvas)
    return Figure(title, markup, f"{caption} {INTERVALS}")


def layers_table(title, caption, layers):
    """A model's layers, of ``models.summary.Layer``, with their sums as the last row."""
    rows = [
        (
            layer.path,
            " x ".join(map(str, layer.shape[1:])),
            layer.parameters,
            layer.macs,
            f"{layer.receptive_field:.0f}" if np.isfinite(layer.receptive_field) else "the image",
        )
        for layer in layers
    ]
    total = ("total", "", sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers), "")
    columns = ["layer", "output", "parameters", "multiply-adds", "receptive field (pixels)"]
    return table(title, caption, columns, [*rows, total])
