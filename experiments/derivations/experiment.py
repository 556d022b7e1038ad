"""Are gradients derived by hand those of automatic differentiation, and what becomes of them if W is transposed?"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments.derivations import measures as derivations
from models import derivations as by_hand
from reporting.claims import Stated, judge_all
from reporting.figures import curves, heatmap
from reporting.tables import matrix_text, table
from training.config import setting
from training.experiment import Experiment, Task

LEARNING_RATE = 0.01
# What the worked example must give, by pencil and paper.
WORKED_RESULTS = {
    "Z1": [[12, 4], [2, 16], [13, 2], [-16, 1]],
    "Z_out": [[64, 0], [-16, -80]],
    "dW_out": [[36, 6, 39, 0], [0, 0, 0, 0]],
    "db_out": [3, 0],
    "dW1": [[9, 36, 9, 27, 9, 18], [-3, -12, -3, -9, -3, -6], [6, 24, 6, 18, 6, 12], [0, 0, 0, 0, 0, 0]],
    "db1": [9, -3, 6, 0],
    "W_out (new)": [[2.64, -1.06, 1.61, -4], [1, -5, -1, 3]],
    "b_out (new)": [3.97, -5],
    "W1 (new)": [
        [2.91, 1.64, -1.09, -0.27, -3.09, 1.82],
        [4.03, -0.88, -1.97, 3.09, 5.03, -5.94],
        [1.94, -1.24, 2.94, 3.82, -3.06, 0.88],
        [6, -4, 2, -5, 1, 2],
    ],
    "b1 (new)": [0.91, 2.03, 0.94, 2],
}
# In the order in which one computes.
WORKED_FORMULAS = {
    "A_in": "given: 6 features of 2 examples, the columns",
    "W1": "given",
    "b1": "given",
    "Z1": "W1 A_in + b1",
    "A1": "ReLU(Z1)",
    "W_out": "given",
    "b_out": "given",
    "Z_out": "W_out A1 + b_out",
    "A_out": "ReLU(Z_out)",
    "dA_out": "given",
    "dZ_out": "dA_out * 1[Z_out > 0]",
    "dW_out": "dZ_out A1^T",
    "db_out": "row sums of dZ_out",
    "dA1": "W_out^T dZ_out",
    "dZ1": "dA1 * 1[Z1 > 0]",
    "dW1": "dZ1 A_in^T",
    "db1": "row sums of dZ1",
    "dA_in": "W1^T dZ1",
    "W_out (new)": f"W_out - {LEARNING_RATE} dW_out",
    "b_out (new)": f"b_out - {LEARNING_RATE} db_out",
    "W1 (new)": f"W1 - {LEARNING_RATE} dW1",
    "b1 (new)": f"b1 - {LEARNING_RATE} db1",
}
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
    **{f"both steps: {name}": "the sum of the two" for name in ("dW_e", "dW_h", "db1")},
    **{
        f"convolution, stride {s}: dJ/dw": f"sum of x[n, {s} i + a, {s} j + b, c] delta[n, i, j, f] over n, i, j"
        for s in derivations.STRIDES
    },
    **{f"two layers: {name}": WORKED_FORMULAS[name] for name in ("dW1", "db1", "dW_out", "db_out", "dA_in")},
    "linear: dz/dh": "W",
}
LARGE = {"features": 5000, "hidden": 128, "outputs": 5000, "examples": 100}
CHAIN_LENGTH = 3
SHOWN = 8  # rows and columns of a matrix in a figure
VANISHING, EXPLODING = {"scale": 1.0, "weight": 0.1}, {"scale": 1.5, "weight": 2.0}


@dataclass(frozen=True)
class Config:
    width: int = setting(16, "of inputs, hidden states and embeddings")
    num_classes: int = setting(7, "of the softmax; also inputs and outputs of the two-layer network")
    num_channels: int = setting(3, "of the image, and of what the convolution makes of it")
    batch_size: int = setting(4, "examples, where a formula sums over several")
    seed: int = setting(0, "of the first of the seeds")


def task(config):
    sizes = {"width": config.width, "num_classes": config.num_classes}
    sizes |= {"num_channels": config.num_channels, "batch_size": config.batch_size}
    if config.num_classes < 2 or min(sizes.values()) < 1:
        raise ValueError(f"num_classes={config.num_classes} must be at least 2, and the other sizes at least 1")
    errors = jax.jit(derivations.errors)

    def evaluate(variables):
        found = [error for error, _ in derivations.errors(variables["params"]).values()]
        return {"largest_float32_error": (jnp.stack(found).max(), 1.0)}

    def measure(variables):
        drawn = jax.tree.map(lambda x: np.asarray(x, np.float64), dict(variables["params"]))
        with jax.enable_x64(True):
            pairs = errors(drawn)
            found = {f"error/{name}": np.asarray(error) for name, (error, _) in pairs.items()}
            found |= {f"largest/{name}": np.asarray(largest) for name, (_, largest) in pairs.items()}
            found |= {f"worked/{name}": x for name, x in worked_example().items()}
            found |= at_zero() | chains() | transposed(**drawn["linear"])
        return found

    return Task(
        model=None,
        init=lambda key: {"params": derivations.draw(key, **sizes)},
        evaluate=evaluate,
        measure=measure,
    )


def worked_example():
    """{quantity: array} of the worked example, in float64, with its parameters after one step of gradient descent."""
    given = {name: np.array(x, np.float64) for name, x in by_hand.WORKED_EXAMPLE.items()}
    gradients = by_hand.two_layer_gradients(given, given["A_in"], given["dA_out"])
    new = by_hand.descend(given, gradients, LEARNING_RATE)
    found = given | by_hand.two_layer_network(given, given["A_in"]) | gradients
    found |= {f"{name} (new)": x for name, x in new.items()}
    errors = [jnp.abs(ours - autodiff).max() for ours, autodiff in derivations.two_layers(given).values()]
    return {name: np.asarray(found[name]) for name in WORKED_FORMULAS} | {"error": np.max(errors)}


def at_zero():
    """Derivatives at zero of ReLU, and of a maximum with zero, by automatic differentiation."""
    return {
        "at_zero/relu": np.asarray(jax.grad(jax.nn.relu)(0.0)),
        "at_zero/maximum": np.asarray(jax.grad(lambda z: jnp.maximum(z, 0.0))(0.0)),
    }


def chains():
    """dJ/dh_0 of three equal factors, by automatic differentiation, and its error by the formula."""
    found = {}
    for name, numbers in (("vanishing", VANISHING), ("exploding", EXPLODING)):
        scale, weight = numbers["scale"], numbers["weight"]
        autodiff = float(jax.grad(by_hand.chain)(1.0, weight, CHAIN_LENGTH, scale))
        found[f"chain/{name}"] = np.float64(autodiff)
        found[f"chain/{name}_error"] = np.abs(autodiff - by_hand.chain_gradient(weight, CHAIN_LENGTH, scale))
    return found


def transposed(W, delta, h):
    """dz/dh of z = W h against W transposed, and dJ/dh taken with it; and dz/dh of rows, z = h W."""
    jacobian, right = jax.jacobian(lambda h: W @ h)(h), jax.grad(lambda h: delta @ (W @ h))(h)
    wrong = delta @ W.T
    found = {
        "linear/jacobian": jacobian,
        "linear/W": W,
        "linear/jacobian_error": jnp.linalg.norm(W.T - jacobian) / jnp.linalg.norm(jacobian),
        "linear/gradient_error": jnp.linalg.norm(wrong - right) / jnp.linalg.norm(right),
        "linear/gradient_cosine": wrong @ right / jnp.linalg.norm(wrong) / jnp.linalg.norm(right),
        "linear/error_for_rows": jnp.abs(jax.jacobian(lambda h: h @ W)(h) - W.T).max(),
    }
    return {name: np.asarray(x) for name, x in found.items()}


def shapes(features, hidden, outputs, examples):
    """{quantity: shape} of the two-layer network at any size; nothing is computed."""

    def all_of(given):
        gradients = by_hand.two_layer_gradients(given, given["A_in"], given["dA_out"])
        return given | by_hand.two_layer_network(given, given["A_in"]) | gradients

    sizes = {"A_in": (features, examples), "W1": (hidden, features), "b1": (hidden,)}
    sizes |= {"W_out": (outputs, hidden), "b_out": (outputs,), "dA_out": (outputs, examples)}
    found = jax.eval_shape(all_of, {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in sizes.items()})
    return {name: found[name].shape for name in WORKED_FORMULAS if name in found}


# --- Claims. All thresholds are exact, and were written down before the first run.

EXACT = 1e-10


def largest_error(*prefixes):
    def measure(result):
        return np.max([result.examined[f"error/{name}"] for name in FORMULAS if name.startswith(prefixes)], axis=0)

    return measure


def examined(name):
    return lambda result: result.examined[name]


def worked_difference(*names):
    """The largest difference from the numbers of pencil and paper."""

    def measure(result):
        differences = [np.abs(result.examined[f"worked/{n}"] - np.array(WORKED_RESULTS[n], float)) for n in names]
        return np.max([d.reshape(len(d), -1).max(1) for d in differences], axis=0)

    return measure


def misshapen(result):
    """How many derivatives, at the large size, have not the shape of what they are taken by."""
    found = shapes(**LARGE)
    wrong = sum(shape != found[name.removeprefix("d")] for name, shape in found.items())
    return np.full(result.num_seeds, wrong)


def exactly(value):
    return {"at_least": value - EXACT, "at_most": value + EXACT}


NEW = tuple(name for name in WORKED_RESULTS if name.endswith("(new)"))
ERROR = {"at_most": EXACT}
STATED = [  # (id, statement, what is measured, bounds)
    ("1a", "softmax, dp/dz = diag(p) - p p^T: error", largest_error("softmax"), ERROR),
    ("1b", "cross-entropy, dJ/dz = p - y: error", largest_error("cross-entropy"), ERROR),
    ("2a", "ReLU, dh/dz = 1[z > 0], at z = 0 too: error", largest_error("ReLU"), ERROR),
    ("2b", "but a maximum with 0 has another derivative at 0", examined("at_zero/maximum"), exactly(0.5)),
    ("3a", "residual block, dh3/dh1 = I + dh2/dz2 dz2/dh1: error", largest_error("residual: dh3"), ERROR),
    ("3b", "residual network of two layers, dJ/dx: error", largest_error("residual: dJ"), ERROR),
    ("4a", "a recurrent step's nine derivatives: largest error", largest_error("recurrent"), ERROR),
    ("4b", "the six of one step back in time: largest error", largest_error("one step back"), ERROR),
    ("4c", "their sums are the derivatives by shared weights: largest error", largest_error("both steps"), ERROR),
    ("5", "a convolution's kernel gradient, strides 1 and 2: largest error", largest_error("convolution"), ERROR),
    ("6a", "the two-layer ReLU network's gradients: largest error", largest_error("two layers"), ERROR),
    (
        "6b",
        "the worked example's whole numbers: largest difference from pencil and paper",
        worked_difference(*(name for name in WORKED_RESULTS if name not in NEW)),
        {"at_most": 0.0},
    ),
    ("6c", "its parameters after a step: the same", worked_difference(*NEW), ERROR),
    ("6d", "its gradients: largest error", examined("worked/error"), ERROR),
    ("7", "at 5000-128-5000, batch 100: derivatives not of their parameter's shape", misshapen, {"at_most": 0.0}),
    ("8a", "three factors of .1 leave of a gradient of 1", examined("chain/vanishing"), exactly(0.001)),
    ("8b", "three factors of 2 make of a gradient of 1.5", examined("chain/exploding"), exactly(12.0)),
    ("9a", "for columns z = W h, dz/dh = W: error", largest_error("linear: dz/dh"), ERROR),
    (
        "9b",
        "it is not W transposed: distance from it, over the norm of W (random: near root 2)",
        examined("linear/jacobian_error"),
        {"above": 1.0},
    ),
    ("9c", "W transposed belongs to rows, z = h W: error there", examined("linear/error_for_rows"), ERROR),
]


def claims(results):
    """Claims 1 to 9 of experiments/derivations/README.md."""
    return judge_all(
        [Stated(id, says, ("hand_derived",), measure, bounds) for id, says, measure, bounds in STATED], results
    )


# --- Figures, of the first seed.


def figures(results):
    """The figures of the report."""
    found = results["hand_derived"].examined
    first = {name: values[0] for name, values in found.items()}
    return [
        transposed_figure(first),
        worked_figure(first),
        formulas_figure(found),
        shapes_figure(),
        chain_figure(),
    ]


def transposed_figure(first):
    corner = np.s_[:SHOWN, :SHOWN]
    W, jacobian = first["linear/W"][corner], first["linear/jacobian"][corner]
    wrong, cosine = first["linear/gradient_error"], first["linear/gradient_cosine"]
    labels = range(len(W))
    return heatmap(
        "dz/dh is W, not W transposed",
        f"z = W h with columns h, derivatives as rows: entry dz_i/dh_j in row i, column j. Automatic differentiation "
        f"gives W. Taken with W transposed, dJ/dh would have a relative error of {wrong:.3g} and a cosine of "
        f"{cosine:.2f} with the right gradient; where W is square, no check of shapes would notice. Shown: the first "
        f"{len(W)} components of {len(first['linear/W'])}.",
        {"dz/dh, automatic": jacobian, "W": W, "W transposed": W.T},
        labels,
        labels,
        "component of z",
        "component of h",
        "derivative",
        diverging=True,
    )


def worked_figure(first):
    rows = []
    for name, formula in WORKED_FORMULAS.items():
        x = np.round(first[f"worked/{name}"], 12)
        shown = x if (x % 1).any() else x.astype(int)
        rows.append([name, formula, " x ".join(map(str, x.shape)), matrix_text(shown)])
    return table(
        "The worked example",
        "A ReLU network of two layers on two examples, forwards, backwards, and one step of gradient descent. Examples "
        "are columns, * is elementwise, 1[z > 0] is 0 at z = 0, and gradients are summed over examples.",
        ["quantity", "formula", "shape", "value"],
        rows,
    )


def formulas_figure(found):
    rows = [
        [*name.split(": "), formula, float(found[f"largest/{name}"].mean()), float(found[f"error/{name}"].max())]
        for name, formula in FORMULAS.items()
    ]
    return table(
        "Every formula, and how far it is from automatic differentiation",
        "Columns and row derivatives: dz/dh = W for z = W h. Largest entry: in absolute value, mean over seeds. Error: "
        "the largest absolute difference over entries and seeds, in float64. h' is the state before h, h'' the one "
        "before that.",
        ["of", "derivative", "formula", "largest entry", "error"],
        rows,
    )


def shapes_figure():
    worked = by_hand.WORKED_EXAMPLE
    small = shapes(*np.shape(worked["A_in"])[:1], *np.shape(worked["W_out"])[::-1], np.shape(worked["A_in"])[1])
    rows = [
        [name, WORKED_FORMULAS[name], *(" x ".join(map(str, s)) for s in (small[name], shape)), int(np.prod(shape))]
        for name, shape in shapes(**LARGE).items()
    ]
    parameters = sum(row[-1] for row in rows if row[0] in by_hand.LAYERS)
    return table(
        "The same network at 5000 inputs, 128 hidden units, 5000 outputs, batch 100: shapes",
        f"A derivative has the shape of what it is taken by. {parameters:,} parameters.",
        ["quantity", "formula", "shape above", "shape at this size", "elements at this size"],
        rows,
    )


def chain_figure():
    steps = np.arange(11)
    lines = {
        "1 x 0.1 each step": (VANISHING["weight"], VANISHING["scale"]),
        "1.5 x 1 each step": (1.0, EXPLODING["scale"]),
        "1.5 x 2 each step": (EXPLODING["weight"], EXPLODING["scale"]),
    }
    series = {name: (steps, by_hand.chain_gradient(w, steps.astype(float), s)) for name, (w, s) in lines.items()}
    return curves(
        "Equal factors vanish or explode",
        "The gradient that arrives after so many steps of a linear recurrent network of one unit. After three: .1^3 = "
        ".001, and 1.5 x 2^3 = 12.",
        "steps back in time",
        [("dJ/dh_0", series)],
        marks={"three steps": CHAIN_LENGTH},
        log_y=True,
    )


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {"hand_derived": {}},
    default_arms=("hand_derived",),
    task=task,
    claims=claims,
    figures=figures,
)
