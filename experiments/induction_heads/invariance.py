"""Statements about attention that hold exactly for any weights, measured on random ones.

Each function draws the weights of a small Transformer and its tokens from a key (drawn by numpy: nothing here is for
use inside jit) and returns floats. Where a statement is bitwise, a run and its variant go through the same compiled
function, and the answer is 0.0 or not. Where two orders of summation are equal only in exact arithmetic, the
computation is in float64, whatever the program around it uses.

Axes: B batch, T time, Q query position, K key position, D model width, H heads, C head width.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from models.transformer import Transformer, TransformerConfig
from probes.layerwise import identity
from probes.sites import apply

SMALL = TransformerConfig(vocab_size=29, context_length=20, num_layers=2, num_heads=4, d_model=32, attention="explicit")
BATCH_SIZE = 8


def random_generator(key):
    """A numpy generator seeded by a jax key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def random_params(model, generator):
    """Every parameter of the model from a Gaussian: kernels of variance 1/D, for scores of order one, others of 1."""
    tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]

    def draw(path, leaf):
        deviation = model.config.d_model**-0.5 if "kernel" in str(path[-1]) else 1.0
        return (deviation * generator.standard_normal(leaf.shape)).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def run_permuted(config, key, *sites):
    """Activations at ``sites`` for random tokens and for the same tokens in another order, in float64.

    Returns:
      Two {path: numpy array}, and the order [T].
    """
    generator = random_generator(key)
    tokens_BT = generator.integers(config.vocab_size, size=(BATCH_SIZE, config.context_length))
    order_T = generator.permutation(config.context_length)
    observe = {site: identity for site in sites}
    with jax.enable_x64(True):
        model = Transformer(replace(config, dtype="float64", attention="explicit"))
        variables = {"params": random_params(model, generator)}
        run = jax.jit(lambda *inputs: apply(model, *inputs, observe=observe)[1])
        both = [jax.tree.map(np.asarray, run(variables, tokens)) for tokens in (tokens_BT, tokens_BT[:, order_T])]
    return *both, order_T


def permutation_error(config, key):
    """The largest error of permutation equivariance over all patterns and head outputs, in float64.

    Zero up to rounding for a config with positions="none" and causal=False: permuting the tokens permutes what
    attention computes, so that "the previous token" means nothing to it. Any other config gives a large error.
    Source: Lee et al. 2019, "Set Transformer", property 1.
    """
    activations, permuted, order_T = run_permuted(config, key, "*/attention/pattern", "*/attention/head_outputs")
    error = 0.0
    for path, x in activations.items():
        expected = x[:, :, order_T][..., order_T] if path.endswith("pattern") else x[:, order_T]
        error = max(error, float(np.abs(permuted[path] - expected).max()))
    return error


def order_in_scores(config, key):
    """How far each layer's scores before the mask are from functions of the two tokens alone [L], in float64.

    The largest difference between the scores of permuted tokens and the permuted scores. In the first layer of a
    causal model with positions="none" it is zero up to rounding: whatever that layer knows of order, it knows from the
    mask. In the second it is not: it reads what the mask let through.
    """
    sites = [f"layer_{layer}/attention/scores" for layer in range(config.num_layers)]
    scores, permuted, order_T = run_permuted(config, key, *sites)
    return [float(np.abs(permuted[site] - scores[site][:, :, order_T][..., order_T]).max()) for site in sites]


def score_change(config, key):
    """How much the last layer's scores to position k + 1 change when the token at k is replaced by another.

    With t_k = t_n and k < n, completing [A][B] ... [A] means attending from n to k + 1 because of t_k. Measured are the
    pre-softmax scores from n, and from n + 1, to k + 1, over random k, n and tokens. In one layer the change is exactly
    0.0 for every position scheme: a score is made of the two positions' own tokens. In two layers it is not.
    """
    model, generator = Transformer(config), random_generator(key)
    variables = {"params": random_params(model, generator)}
    T, V, b = config.context_length, config.vocab_size, np.arange(BATCH_SIZE)
    k = generator.integers(0, T - 3, size=BATCH_SIZE)
    n = generator.integers(k + 2, T - 1)
    tokens_BT = generator.integers(V, size=(BATCH_SIZE, T))
    tokens_BT[b, n] = tokens_BT[b, k]
    replaced_BT = tokens_BT.copy()
    replaced_BT[b, k] = (tokens_BT[b, k] + generator.integers(1, V, size=BATCH_SIZE)) % V

    site = f"layer_{config.num_layers - 1}/attention/scores"
    run = jax.jit(lambda *inputs: apply(model, *inputs, observe={site: identity})[1][site])
    change_BHQK = np.abs(np.asarray(run(variables, tokens_BT)) - np.asarray(run(variables, replaced_BT)))
    return float(max(change_BHQK[b, :, n, k + 1].max(), change_BHQK[b, :, n + 1, k + 1].max()))


def changes_by_a_new_head(config, key):
    """What new weights in one first-layer head change in the patterns and outputs of other heads.

    Returns:
      (same layer, next layer): the largest change in the other heads of its layer, exactly 0.0, as heads of one layer
      cannot read each other; and the smallest, over the next layer's heads, of the largest change of the pattern and of
      the output, as these heads read what was written to the stream.
    """
    model, generator = Transformer(config), random_generator(key)
    params, other = random_params(model, generator), random_params(model, generator)
    tokens_BT = generator.integers(config.vocab_size, size=(BATCH_SIZE, config.context_length))

    first, donor = params["layer_0"]["attention"], other["layer_0"]["attention"]
    changed = jax.tree.map(np.copy, first)
    for kind in ("query", "key", "value"):
        changed[kind]["kernel"][:, 0] = donor[kind]["kernel"][:, 0]
    changed["output"]["kernel"][0] = donor["output"]["kernel"][0]

    axis_of_heads = {"pattern": 1, "head_outputs": 2}
    observe = {
        f"*/attention/{name}": lambda x, axis=axis: jnp.moveaxis(x, axis, 0) for name, axis in axis_of_heads.items()
    }
    run = jax.jit(lambda params: apply(model, {"params": params}, tokens_BT, observe=observe)[1])
    before, after = run(params), run(params | {"layer_0": params["layer_0"] | {"attention": changed}})
    change_H = {path: np.abs(np.asarray(before[path] - after[path])).max((1, 2, 3)) for path in before}
    same, following = ([change_H[f"layer_{layer}/attention/{name}"] for name in axis_of_heads] for layer in range(2))
    return float(np.max(same, axis=0)[1:].max()), float(np.min(following))
