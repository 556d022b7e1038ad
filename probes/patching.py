"""Causal paths: a run of the model in which some activations are replaced by those of another run.

Axes: B batch, T time, D model width, H heads, C head width, L layers, S senders.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from probes import layerwise
from probes.attribution import frozen_norm
from probes.layerwise import identity
from probes.sites import HEAD_INPUTS, apply


def path_patch(
    model,
    variables,
    clean_tokens_BT,
    corrupted_tokens_BT,
    score,
    *,
    senders=None,
    receivers=None,
    kinds=tuple(HEAD_INPUTS),
    exact=False,
    positions=None,
):
    """How far each head's direct write into each later head's queries, keys or values restores the score.

    The corrupted run is patched: for sender A and receiver B, q_B += LN((z_A clean - z_A corrupted) W_O^A) W_Q^B, with
    the norm frozen at the corrupted run's scale; keys and values are patched in the same way, and rotary positions turn
    what is added. Nothing between A and B reads the write; everything after B reads what B makes of it. Swap the runs
    to learn what breaks a path. With grouped queries, B alone reads the patched copy of the key or value that it shares
    with its group. With parallel residuals, the MLP of B's layer reads neither the write nor what B makes of it.

    Args:
      score: logits [B, T, V] -> scalar.
      senders, receivers: None for all heads, or lists of (layer, head).
      kinds: the receiver's inputs that are patched, from "query", "key", "value".
      exact: whether the norm is computed anew on the stream with the write, instead of frozen and linear.
      positions: where logits are computed, or None for everywhere: ``score`` gets [B, len(positions), V].
    Returns:
      {kind: [L sender, H sender, L receiver, H receiver]}: the score with the path patched minus the score of the
      corrupted run; NaN where the receiver is in no later layer, or the pair was not asked for.
    Source: Goldowsky-Dill et al. 2023, "Localizing model behavior with path patching", for paths of a single edge.
    """
    variables = jax.tree.map(jnp.asarray, variables)
    config = model.config
    L, H = config.num_layers, config.num_heads
    every = [(layer, head) for layer in range(L) for head in range(H)]
    senders, receivers = (every if heads is None else list(heads) for heads in (senders, receivers))
    tokens = jnp.concatenate([clean_tokens_BT, corrupted_tokens_BT])
    streams, activations = layerwise.streams(model, variables, tokens, observe={"attention/head_outputs": identity})
    half = len(clean_tokens_BT)
    streams = [x_BTD[half:] for x_BTD in streams]
    outputs = [arrays["attention/head_outputs"] for arrays in activations]
    last_stream = streams[-1] if positions is None else streams[-1][:, jnp.asarray(positions)]
    corrupted_score = jax.jit(score)(layerwise.logits(model, variables, last_stream))

    changes = jnp.full((len(kinds), L, H, L, H), jnp.nan, corrupted_score.dtype)
    for receiver in range(1, L):
        receiver_heads = jnp.array([head for layer, head in receivers if layer == receiver], int)
        for sender in range(receiver):
            sender_heads = jnp.array([head for layer, head in senders if layer == sender], int)
            if not receiver_heads.size or not sender_heads.size:
                continue
            kernel_SCD = variables["params"][f"layer_{sender}"]["attention"]["output"]["kernel"][sender_heads]
            z_BTSC = outputs[sender][:, :, sender_heads]
            writes_SBTD = _writes(z_BTSC[:half] - z_BTSC[half:], kernel_SCD)
            z = _patched_outputs(
                *layerwise.one_layer(model, variables, receiver),
                streams[receiver],
                writes_SBTD,
                kinds=kinds,
                exact=exact,
            )
            # Heads of a layer do not read each other: one run patches all receivers, then in one run for each receiver
            # only that head's output is the patched one.
            runs = _one_receiver_each(z, outputs[receiver][half:], receiver_heads)
            scores = layerwise.scores_of_runs(
                model, variables, receiver, streams[receiver], runs, score, positions=positions
            )
            block = scores.reshape(len(kinds), sender_heads.size, receiver_heads.size) - corrupted_score
            changes = changes.at[:, sender, sender_heads[:, None], receiver, receiver_heads].set(block)
    return dict(zip(kinds, changes, strict=True))


@jax.jit
def _writes(z_BTSC, kernel_SCD):
    """What each sender writes into the stream [S, B, T, D]."""
    return jnp.einsum("BTSC,SCD->SBTD", z_BTSC, kernel_SCD)


@partial(jax.jit, static_argnames=("model", "kinds", "exact"))
def _patched_outputs(model, variables, stream_BTD, writes_SBTD, kinds, exact):
    """Outputs [kinds, S, B, T, H, C] of all heads of a layer, each reading a sender's write in one kind of input."""
    S, B = writes_SBTD.shape[:2]
    sites = {kind: f"attention/{site}" for kind, site in HEAD_INPUTS.items()}

    def head_inputs(model, x_BTD):
        arrays = layerwise.observe_layer(model, variables, x_BTD, {}, dict.fromkeys(sites.values(), identity))
        return {kind: arrays[site] for kind, site in sites.items()}

    def repeat(x):
        return jnp.broadcast_to(x, (S, *x.shape)).reshape(-1, *x.shape[1:])

    corrupted = {kind: repeat(x) for kind, x in head_inputs(model, stream_BTD).items()}
    writes = writes_SBTD.reshape(S * B, *writes_SBTD.shape[2:])
    stream = repeat(stream_BTD)
    if exact:
        patched = head_inputs(model, stream + writes)
    else:
        # The maps to queries, keys and values are affine, rotation included: a write adds what their linear part makes
        # of it.
        affine = model.clone(config=replace(model.config, norm="none"))
        norm_params = variables["params"]["layer_0"].get("attention_norm")
        from_write = head_inputs(affine, frozen_norm(model.config, norm_params, stream, writes))
        from_zeros = head_inputs(affine, jnp.zeros_like(stream_BTD))
        patched = {
            kind: corrupted[kind] + (from_write[kind] - repeat(from_zeros[kind])).astype(stream.dtype) for kind in sites
        }
    z = []
    for patched_kind in kinds:
        inputs = {site: (patched if kind == patched_kind else corrupted)[kind] for kind, site in sites.items()}
        outputs = layerwise.observe_layer(model, variables, stream, inputs, {"attention/head_outputs": identity})
        z.append(outputs["attention/head_outputs"])
    return jnp.stack(z).reshape(len(kinds), S, B, *z[0].shape[1:])


@jax.jit
def _one_receiver_each(z, corrupted_BTHC, heads_R):
    """Runs [kinds * S * R, B, T, H, C] of a layer's head outputs, in each of which one receiver's are patched."""
    is_receiver_RH = heads_R[:, None] == jnp.arange(z.shape[-2])
    runs = jnp.where(is_receiver_RH[:, None, None, :, None], z[:, :, None], corrupted_BTHC)
    return runs.reshape(-1, *corrupted_BTHC.shape)


def activation_patch(model, variables, tokens_BT, other_tokens_BT, site, mask=True):
    """Logits [B, T, V] with the activation at ``site``, where ``mask`` is True, replaced by that of the other tokens.

    ``mask`` is any boolean array that broadcasts to the activation: of shape [T, 1] it picks positions of the stream,
    of shape [H, 1] heads of ``head_outputs``. Wildcards in ``site`` patch several at once. Raises ValueError for a
    path without a site. Source: Vig et al. 2020; Meng et al. 2022, "Locating and editing factual associations in GPT".
    """
    _, others = apply(model, variables, other_tokens_BT, observe={site: identity})
    edit = {path: lambda x, other=other: jnp.where(mask, other, x) for path, other in others.items()}
    return apply(model, variables, tokens_BT, edit=edit)[0]
