"""Which parts of the model write a token's logit, with the final norm frozen at the scale it has.

The logits are then a linear function of the stream, and the stream is the sum of the embedding, every head's write,
every MLP's write and the biases; this also holds where attention and MLP of a layer read the same stream.

Axes: B batch, T time, D model width, H heads, C head width, V vocabulary, L layers.
"""

from functools import partial

import jax
import jax.numpy as jnp

from probes import layerwise
from probes.attention_scores import unembedding_of
from probes.layerwise import identity


def frozen_norm(config, norm_params, statistics_BTD, x_BTD):
    """The config's norm of ``x_BTD`` with the scale that the norm has on ``statistics_BTD``, without the bias: linear.

    A LayerNorm centres and divides by the standard deviation; an RMSNorm divides by the root mean square.
    ``norm_params`` is the norm's {"scale": [D]}; None, for a model without norms, is the identity.
    """
    if norm_params is None:
        return x_BTD
    if config.norm == "layernorm":
        square_BT1 = statistics_BTD.var(axis=-1, keepdims=True)
        x_BTD = x_BTD - x_BTD.mean(axis=-1, keepdims=True)
    else:
        square_BT1 = jnp.square(statistics_BTD).mean(axis=-1, keepdims=True)
    return x_BTD * jax.lax.rsqrt(square_BT1 + config.norm_epsilon) * norm_params["scale"]


def direct_logit_attribution(model, variables, tokens_BT, targets_BT, weight_BT):
    """What every term of the stream adds to the target's logit minus the mean logit, as a weighted mean over positions.

    Args:
      targets_BT: the token whose logit is explained at each position.
      weight_BT: the positions' weights; at least one is positive.
    Returns:
      {"embedding": [], "heads": [L, H], "mlps": [L] (0 in layers without an MLP), "biases": []}, in logits. An MLP's
      own bias counts as the MLP's, a value bias as the head's. The terms sum to the target's centred logit exactly.
    Source: Elhage et al. 2021, "A mathematical framework for transformer circuits", path expansion of logits.
    """
    params, config = variables["params"], model.config
    observe = {"attention/head_outputs": identity} | ({"mlp_out": identity} if config.d_mlp else {})
    streams, activations = layerwise.streams(model, variables, tokens_BT, observe=observe)
    weight_BT = jnp.asarray(weight_BT, params["embed"].dtype)
    weight_BT = weight_BT / weight_BT.sum()
    direction_BTD, bias_term = _logit_direction(config, params, streams[-1], targets_BT, weight_BT)
    heads, mlps = [], []
    for layer, arrays in enumerate(activations):
        output, z_BTHC = params[f"layer_{layer}"]["attention"]["output"], arrays["attention/head_outputs"]
        heads.append(_head_terms(direction_BTD, output["kernel"], z_BTHC))
        mlps.append((arrays["mlp_out"] * direction_BTD).sum() if config.d_mlp else jnp.zeros_like(bias_term))
        bias_term += (output.get("bias", 0) * direction_BTD).sum()
    return {
        "embedding": (streams[0] * direction_BTD).sum(),
        "heads": jnp.reshape(jnp.array(heads), (config.num_layers, config.num_heads)),
        "mlps": jnp.array(mlps),
        "biases": bias_term,
    }


@partial(jax.jit, static_argnames="config")
def _logit_direction(config, params, stream_BTD, targets_BT, weight_BT):
    """The direction of the stream that raises the targets' logits, weights included, and what the final bias adds."""
    without_norm = {name: value for name, value in params.items() if name != "final_norm"}
    target_BTD = weight_BT[..., None] * unembedding_of(config, without_norm, targets_BT)
    norm = params.get("final_norm")
    stream_BTD = stream_BTD.astype(target_BTD.dtype)
    _, transpose = jax.vjp(partial(frozen_norm, config, norm, stream_BTD), stream_BTD)
    bias_term = jnp.sum(norm["bias"] * target_BTD) if norm and "bias" in norm else jnp.zeros((), target_BTD.dtype)
    return transpose(target_BTD)[0], bias_term


@jax.jit
def _head_terms(direction_BTD, kernel_HCD, z_BTHC):
    """What each head [H] writes along the direction, summed over sequences and positions."""
    return (z_BTHC * jnp.einsum("BTD,HCD->BTHC", direction_BTD, kernel_HCD)).sum((0, 1, 3))
