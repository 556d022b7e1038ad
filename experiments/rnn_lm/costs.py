"""Operations that training a recurrent language model takes, counted from the jaxpr. `speed` has the wall times.

Axes: V vocabulary, F width of the cell, D width of the embeddings, T steps.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from models.adaptive_softmax import choose_cutoffs
from models.rnn_lm import RecurrentConfig, RecurrentLM
from probes.operations import count

# Sizes of which every combination is counted.
SIZES = {"V": (50, 100, 300), "F": (20, 40, 80), "D": (10, 30, 60)}
LENGTHS = (8, 16, 32, 64, 128, 256)  # steps T
COUNTED_WIDTH = 64  # V, F and D of the network whose operations are counted by length
EXAMPLE_WIDTH = 200  # of PyTorch's example
WORDS, MANY_WORDS = 10_000, 33_278  # vocabularies at which softmaxes are compared; the second is WikiText-2's


def count_costs():
    """What the claims about operations compare.

    Returns a dict: ``terms`` and ``terms_error`` of `fit_terms`; ``at_once`` and ``one_by_one`` of
    `operations_by_length`; ``softmax_shares`` [2] of `share_of_softmax` with WORDS and with MANY_WORDS.
    """
    terms, terms_error = fit_terms()
    at_once, one_by_one = operations_by_length(
        RecurrentConfig(COUNTED_WIDTH, "elman_sigmoid", width=COUNTED_WIDTH, d_embedding=COUNTED_WIDTH)
    )
    return {
        "terms": terms,
        "terms_error": np.asarray(terms_error),
        "at_once": at_once,
        "one_by_one": one_by_one,
        "softmax_shares": np.array([share_of_softmax(WORDS), share_of_softmax(MANY_WORDS)]),
    }


def gradient_of_loss(config):
    """(the gradient function of a text's summed loss with respect to the parameters, abstract parameters)."""
    model = RecurrentLM(config)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]

    def loss(params, tokens_BT):
        losses, _ = model.apply({"params": params}, tokens_BT[:, :-1], tokens_BT[:, 1:], method="losses")
        return losses.sum()

    return jax.grad(loss), params


def operations(config, length, batch_size=1):
    """Operations of the gradient over ``length`` steps."""
    gradient, params = gradient_of_loss(config)
    return count(gradient, params, jax.ShapeDtypeStruct((batch_size, length + 1), jnp.int32)).operations


def operations_of_a_step(config):
    """Operations that one more step of backpropagation through time adds."""
    return operations(config, 3) - operations(config, 2)


def fit_terms():
    """The operations of a step as a V F + b F^2 + c F D + d V + e F + f D + g, over all SIZES, for the sigmoid cell.

    Returns (the coefficients a ... g [7], the largest relative error of the sum).
    """
    sizes = list(itertools.product(*SIZES.values()))
    costs = [operations_of_a_step(RecurrentConfig(V, "elman_sigmoid", width=F, d_embedding=D)) for V, F, D in sizes]
    design = np.array([[V * F, F * F, F * D, V, F, D, 1] for V, F, D in sizes], np.float64)
    coefficients = np.linalg.lstsq(design, np.array(costs, np.float64))[0]
    return coefficients, np.abs(design @ coefficients / costs - 1).max()


def operations_by_length(config):
    """Operations [len(LENGTHS)] of all T losses' gradient at once, and of each loss's gradient by itself, added up.

    The second is the cost of backpropagating every loss by itself through all steps before it. For the loss at step t
    it is an affine function of t, which is counted at three t and extended. Raises ValueError where it is not affine.
    """
    at_once = [operations(config, T) for T in LENGTHS]
    first, second, last = (operations_of_last_loss(config, t) for t in (2, 3, LENGTHS[-1]))
    each = second - first
    if last != first + each * (LENGTHS[-1] - 2):
        raise ValueError("the cost of one loss's gradient is not affine in the number of steps")
    one_by_one = [sum(first + each * (t - 2) for t in range(1, T + 1)) for T in LENGTHS]
    return np.array(at_once, np.float64), np.array(one_by_one, np.float64)


def operations_of_last_loss(config, length):
    """Operations of the gradient of the loss at step ``length`` alone."""
    model = RecurrentLM(config)
    _, params = gradient_of_loss(config)

    def loss(params, tokens_1T):
        h_TBF, _ = model.apply({"params": params}, tokens_1T[:, :-1], method="outputs")
        logits_1V = model.apply({"params": params}, h_TBF[-1], method="logits")
        return jax.nn.logsumexp(logits_1V) - logits_1V[0, 0]

    return count(jax.grad(loss), params, jax.ShapeDtypeStruct((1, length + 1), jnp.int32)).operations


def exponent(lengths, costs):
    """The power of the length with which costs grow: the slope of a line through their logarithms."""
    x, y = np.log(np.asarray(lengths, float)), np.log(np.asarray(costs, float))
    return np.polyfit(x, y, 1)[0]


def share_of_softmax(vocab_size):
    """The share of operations that the softmax layer has in a step of PyTorch's example model."""
    return 1 - operations_of_a_step(example_config(1)) / operations_of_a_step(example_config(vocab_size))


def example_config(vocab_size, adaptive=False):
    """PyTorch's example of a word-level language model, with a full softmax or an adaptive one."""
    return RecurrentConfig(
        vocab_size,
        "lstm",
        num_layers=2,
        width=EXAMPLE_WIDTH,
        d_embedding=EXAMPLE_WIDTH,
        cutoffs=zipf_cutoffs(vocab_size, EXAMPLE_WIDTH) if adaptive else (),
    )


def zipf_cutoffs(vocab_size, width):
    """Cutoffs of the least cost if a word's frequency is in proportion to 1 / (2.7 + its rank) (Mandelbrot 1953)."""
    return choose_cutoffs(zipf_weights(vocab_size), width)


def zipf_weights(vocab_size):
    """1 / (2.7 + rank) [V], which word frequencies are in proportion to."""
    return 1 / (2.7 + np.arange(vocab_size))
