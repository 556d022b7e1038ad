"""The figures of the report; matrices are those of the first seed."""

import numpy as np

from experiments.derivations import worked_example
from experiments.derivations.comparisons import CHAIN_LENGTH, CHAINS, STRIDES
from models import derivations
from reporting.figures import curves, heatmap
from reporting.tables import matrix_text, table

NUM_SHOWN_ROWS = 8  # rows and columns of a matrix in a figure
RECURRENT_FORMULAS = {
    "delta_1": "p - y",
    "dU": "delta_1^T h^T",
    "db2": "delta_1",
    "delta_2": "(delta_1 U) * h * (1 - h)",
    "de": "delta_2 W_e",
    "dW_e": "delta_2^T e^T",
    "dW_h": "delta_2^T h'^T",
    "db1": "delta_2",
    "dh'": "delta_2 W_h",
}
# The text of every formula that is compared with automatic differentiation, by its name in comparisons.py.
FORMULAS = {
    "softmax: dp/dz": "diag(p) - p p^T",
    "cross-entropy: dJ/dz": "p - y",
    "ReLU: dh/dz": "1[z > 0]",
    "residual: dh3/dh1": "I + diag(1[z2 > 0]) W2",
    "residual: dJ/dx": "(p - y) U (I + diag(1[z2 > 0]) W2) diag(1[z1 > 0]) W1",
    **{f"recurrent step: {name}": formula for name, formula in RECURRENT_FORMULAS.items()},
    "one step back: delta_2": "(dh' of the step after) * h' * (1 - h')",
    "one step back: de": "delta_2 W_e",
    "one step back: dW_e": "delta_2^T e^T",
    "one step back: dW_h": "delta_2^T h''^T",
    "one step back: db1": "delta_2",
    "one step back: dh'": "delta_2 W_h",
    **{f"both steps: {name}": "the sum over the two steps" for name in ("dW_e", "dW_h", "db1")},
    **{
        f"convolution, stride {s}: dJ/dw": f"sum of x[n, {s} i + a, {s} j + b, c] delta[n, i, j, f] over n, i, j"
        for s in STRIDES
    },
    **{f"two layers: {name}": worked_example.FORMULAS[name] for name in ("dW1", "db1", "dW_out", "db_out", "dA_in")},
    "linear: dz/dh": "W",
}


def figures(results):
    """W and W transposed; the worked example; every formula and its error; shapes; chains of equal factors."""
    examined = results["hand_derived"].examined
    first_seed = {name: values[0] for name, values in examined.items()}
    return [
        transposition_figure(first_seed),
        worked_table(first_seed),
        formulas_table(examined),
        shapes_table(),
        chain_figure(),
    ]


def transposition_figure(first_seed):
    """dz/dh of z = W h by automatic differentiation, beside W and W transposed."""
    corner = np.s_[:NUM_SHOWN_ROWS, :NUM_SHOWN_ROWS]
    W, jacobian = first_seed["linear/W"][corner], first_seed["linear/jacobian"][corner]
    error, cosine = first_seed["linear/gradient_error"], first_seed["linear/gradient_cosine"]
    labels = range(len(W))
    return heatmap(
        "dz/dh is W, not W transposed",
        f"z = W h with columns h, derivatives as rows: entry dz_i/dh_j in row i, column j. Automatic differentiation "
        f"gives W. Taken with W transposed, dJ/dh would have a relative error of {error:.3g} and a cosine of "
        f"{cosine:.2f} with the right gradient; where W is square, no check of shapes would notice. Shown: the first "
        f"{len(W)} components of {len(first_seed['linear/W'])}.",
        {"dz/dh, automatic": jacobian, "W": W, "W transposed": W.T},
        labels,
        labels,
        "component of z",
        "component of h",
        "derivative",
        diverging=True,
    )


def worked_table(first_seed):
    """Every quantity of the worked example: its formula, shape and numbers."""
    rows = []
    for name, formula in worked_example.FORMULAS.items():
        array = np.round(first_seed[f"worked/{name}"], 12)
        numbers = array if (array % 1).any() else array.astype(int)
        rows.append([name, formula, shape_text(array.shape), matrix_text(numbers)])
    return table(
        "The worked example",
        "A ReLU network of two layers on two examples: forward pass, backward pass and one step of gradient descent. "
        "Examples are columns, * is elementwise, 1[z > 0] is 0 at z = 0, and gradients are summed over examples.",
        ["quantity", "formula", "shape", "value"],
        rows,
    )


def formulas_table(examined):
    """Every formula with its largest entry and its error."""
    rows = [
        [*name.split(": "), formula, float(examined[f"largest/{name}"].mean()), float(examined[f"error/{name}"].max())]
        for name, formula in FORMULAS.items()
    ]
    return table(
        "Every formula, and how far it is from automatic differentiation",
        "Vectors are columns and derivatives are rows: dz/dh = W for z = W h. Largest entry: in absolute value, mean "
        "over seeds. Error: the largest absolute difference over entries and seeds, in float64. h' is the state before "
        "h, h'' the state before h'.",
        ["network", "derivative", "formula", "largest entry", "error"],
        rows,
    )


def shapes_table():
    """Shapes of the worked example's quantities in its own size and in a large one."""
    given = worked_example.given_arrays()
    (features, examples), (outputs, hidden) = given["A_in"].shape, given["W_out"].shape
    small = worked_example.shapes(features, hidden, outputs, examples)
    large = worked_example.shapes(**worked_example.LARGE_NETWORK)
    parameters = sum(int(np.prod(large[name])) for name in derivations.LAYERS)
    return table(
        "The same network at 5000 inputs, 128 hidden units, 5000 outputs, batch 100: shapes",
        f"A derivative has the shape of the array it is taken with respect to. {parameters:,} parameters.",
        ["quantity", "formula", "shape above", "shape at this size", "elements at this size"],
        [
            [name, worked_example.FORMULAS[name], shape_text(small[name]), shape_text(shape), int(np.prod(shape))]
            for name, shape in large.items()
        ],
    )


def shape_text(shape):
    """A shape as text, such as 4 x 6."""
    return " x ".join(map(str, shape))


def chain_figure():
    """The gradient through a chain of equal factors, against the number of factors."""
    steps = np.arange(11)
    (vanishing_scale, vanishing_weight), (exploding_scale, exploding_weight) = CHAINS["vanishing"], CHAINS["exploding"]
    lines = {
        "1 x 0.1 each step": (vanishing_weight, vanishing_scale),
        "1.5 x 1 each step": (1.0, exploding_scale),
        "1.5 x 2 each step": (exploding_weight, exploding_scale),
    }
    return curves(
        "Equal factors vanish or explode",
        "The gradient that arrives after so many steps of a linear recurrent network of one unit. After three steps: "
        "0.1^3 = 0.001, and 1.5 x 2^3 = 12.",
        "steps back in time",
        [
            (
                "dJ/dh_0",
                {
                    name: (steps, derivations.chain_gradient(weight, steps.astype(float), scale))
                    for name, (weight, scale) in lines.items()
                },
            )
        ],
        marks={"three steps": CHAIN_LENGTH},
        log_y=True,
    )
