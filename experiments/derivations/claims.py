"""The claims. All thresholds are exact, and were written down before the first run."""

import numpy as np

from experiments.derivations.worked_example import BY_PENCIL, BY_PENCIL_AFTER_STEP
from reporting.claims import EXACT, claim, examined


def largest_error(formulas):
    """Makes a measure: the largest error [S] of the formulas whose names begin so."""

    def measure(result):
        errors = [values for name, values in result.examined.items() if name.startswith(f"error/{formulas}")]
        return np.max(errors, axis=0)

    return measure


def difference_from(by_pencil):
    """Makes a measure: the worked example's largest difference [S] from {quantity: numbers of pencil and paper}."""

    def measure(result):
        differences = [np.abs(result.examined[f"worked/{name}"] - np.array(by_pencil[name])) for name in by_pencil]
        return np.max([d.reshape(len(d), -1).max(1) for d in differences], axis=0)

    return measure


CLAIMS = [
    claim(
        "1a",
        "The hand-derived Jacobian of softmax, diag(p) - p p^T, is that of automatic differentiation: largest error",
        largest_error("softmax"),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "1b",
        "The hand-derived gradient of cross-entropy with respect to the logits, p - y, is that of automatic "
        "differentiation: largest error",
        largest_error("cross-entropy"),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "2a",
        "The hand-derived derivative of ReLU, 1[z > 0], is that of automatic differentiation, at z = 0 too: "
        "largest error",
        largest_error("ReLU"),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "2b",
        "A maximum with 0 has another derivative at 0 than ReLU has: derivative of max(z, 0) at z = 0",
        examined("at_zero/maximum"),
        of="hand_derived",
        at_least=0.5 - EXACT,
        at_most=0.5 + EXACT,
    ),
    claim(
        "3a",
        "The Jacobian of a residual block is dh3/dh1 = I + dh2/dz2 dz2/dh1: largest error",
        largest_error("residual: dh3"),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "3b",
        "The hand-derived gradient of a residual network of two layers with respect to its input is that of automatic "
        "differentiation: largest error",
        largest_error("residual: dJ"),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "4a",
        "The nine hand-derived derivatives of a recurrent step are those of automatic differentiation: largest error",
        largest_error("recurrent"),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "4b",
        "The six hand-derived derivatives of a recurrent network one step back in time are those of automatic "
        "differentiation: largest error",
        largest_error("one step back"),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "4c",
        "Derivatives with respect to weights that two recurrent steps share are the sums over both steps: "
        "largest error",
        largest_error("both steps"),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "5",
        "The hand-derived kernel gradient of a convolution is that of automatic differentiation at strides 1 and 2: "
        "largest error",
        largest_error("convolution"),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "6a",
        "The hand-derived gradients of a random two-layer ReLU network are those of automatic differentiation: "
        "largest error",
        largest_error("two layers"),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "6b",
        "The formulas give the whole numbers that pencil and paper give for the worked example: largest difference",
        difference_from(BY_PENCIL),
        of="hand_derived",
        at_most=0.0,
    ),
    claim(
        "6c",
        "The formulas give the parameters that pencil and paper give for the worked example after a step of gradient "
        "descent: largest difference",
        difference_from(BY_PENCIL_AFTER_STEP),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "6d",
        "The hand-derived gradients of the worked example are those of automatic differentiation: largest error",
        examined("worked/error"),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "7",
        "In a 5000-128-5000 network with a batch of 100 every derivative has the shape of the array it is taken with "
        "respect to: number of derivatives of another shape",
        examined("misshapen"),
        of="hand_derived",
        at_most=0.0,
    ),
    claim(
        "8a",
        "A gradient of 1 vanishes through three factors of 0.1: what is left of it",
        examined("chain/vanishing"),
        of="hand_derived",
        at_least=0.001 - EXACT,
        at_most=0.001 + EXACT,
    ),
    claim(
        "8b",
        "A gradient of 1.5 explodes through three factors of 2: what becomes of it",
        examined("chain/exploding"),
        of="hand_derived",
        at_least=12.0 - EXACT,
        at_most=12.0 + EXACT,
    ),
    claim(
        "9a",
        "For columns z = W h the Jacobian dz/dh is W: largest error",
        largest_error("linear: dz/dh"),
        of="hand_derived",
        at_most=EXACT,
    ),
    claim(
        "9b",
        "For columns z = W h the Jacobian dz/dh is not W transposed: distance between the two over the norm of W, "
        "near root 2 for a random W",
        examined("linear/jacobian_error"),
        of="hand_derived",
        above=1.0,
    ),
    claim(
        "9c",
        "For rows z = h W the Jacobian dz/dh is W transposed: largest error",
        examined("linear/error_for_rows"),
        of="hand_derived",
        at_most=EXACT,
    ),
]
