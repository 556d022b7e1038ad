"""Models and sequences whose attention tests examine: one model a way to tell positions, and the hand-wired heads."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.induction_heads.hand_wired import induction_config, induction_params
from models.transformer import Transformer, TransformerConfig
from probes import sites

VOCABULARY, CONTEXT = 14, 21
BOS = VOCABULARY - 1


def _config(**settings):
    return TransformerConfig(VOCABULARY, CONTEXT, num_layers=2, num_heads=2, d_model=16, **settings)


# Together they have each norm, an MLP, biases, a tied unembedding, and heads that share keys and values.
CONFIGS = {
    "none": _config(positions="none"),
    "learned": _config(positions="learned"),
    "rotary": _config(positions="rotary", norm="rmsnorm", tied_unembedding=True, num_key_value_heads=1),
    "alibi": _config(positions="alibi", norm="layernorm", bias=True, d_mlp=24),
    "sinusoidal": _config(positions="sinusoidal", norm="layernorm", tied_unembedding=True),
}


@functools.cache
def hand_wired(vocab_size=30, context_length=33):
    """(model, variables) of the induction head that was written by hand; copy the variables before changing them."""
    config = induction_config(vocab_size, context_length)
    params = jax.jit(induction_params, static_argnums=0)(config)
    return Transformer(config), {"params": jax.tree.map(np.asarray, params)}


def repeats(block_length, num_copies=2, num_sequences=3, num_tokens=BOS, bos=BOS):
    """BOS and copies of a random block of distinct tokens, drawn apart from the functions under test."""
    rng = np.random.default_rng(1)
    blocks = [rng.choice(num_tokens, block_length, replace=False) for _ in range(num_sequences)]
    tokens_BT = np.tile(blocks, (1, num_copies)).astype(np.int32)
    return tokens_BT if bos is None else np.insert(tokens_BT, 0, bos, axis=1)


def recurring_tokens():
    """Random tokens [3, 21] of which most recur, some next to each other."""
    return np.random.default_rng(2).integers(5, size=(3, CONTEXT)).astype(np.int32)


def activations(model, variables, tokens_BT):
    """{"pattern" and "values" of attention: [L, ...]}, as numpy arrays."""
    return jax.device_get(_activations(model, variables, tokens_BT))


@functools.partial(jax.jit, static_argnames="model")
def _activations(model, variables, tokens_BT):
    names = ("pattern", "values")
    observe = {f"layer_*/attention/{name}": lambda activation: activation for name in names}
    _, observed = sites.apply(sites.explicit(model), variables, tokens_BT, observe=observe)
    layers = range(model.config.num_layers)
    return {name: jnp.stack([observed[f"layer_{layer}/attention/{name}"] for layer in layers]) for name in names}
