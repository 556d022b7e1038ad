"""Causal paths: one run of the model with something replaced by what it is in another run.

Axes: B batch, T time, D model width, H heads, C head width, L layers, S senders.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from probes import layerwise
from probes.attribution import frozen_norm
from probes.layerwise import itself
from probes.sites import apply

READS = {"query": "queries", "key": "keys", "value": "values"}  # kind of input -> its site


def path_patch(
    model,
    variables,
    clean_tokens_BT,
    corrupted_tokens_BT,
    score,
    *,
    senders=None,
    receivers=None,
    kinds=tuple(READS),
    exact=False,
    at=None,
):
    """How far each head's direct write into each later head's queries, keys or values restores the score.

    The corrupted run is patched: for sender A and receiver B, q_B += LN((z_A clean - z_A corrupted) W_O^A) W_Q^B, the
    norm frozen at the corrupted run's scale, and likewise for keys and values; rotary positions turn what is added.
    Nothing between A and B sees the write, everything after B does. Swap the runs to learn what breaks a path. With
    grouped queries, B alone reads the patched copy of the key or value that it shares with its group. With parallel
    residuals, the MLP of B's layer sees neither the write nor what B makes of it.

    Args:
      score: logits [B, T, V] -> scalar.
      senders, receivers: None for all heads, or lists of (layer, head).
      kinds: of the receiver's inputs, from "query", "key", "value".
      exact: the norm is computed anew on the stream with the write, in place of the frozen, linear one.
      at: positions, or None for all, where logits are computed: ``score`` gets [B, len(at), V].
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
    streams, seen = layerwise.streams(model, variables, tokens, observe={"attention/head_outputs": itself})
    half = len(clean_tokens_BT)
    streams = [x_BTD[half:] for x_BTD in streams]
    outputs = [found["attention/head_outputs"] for found in seen]
    end = streams[-1] if at is None else streams[-1][:, jnp.asarray(at)]
    before = jax.jit(score)(layerwise.logits(model, variables, end))

    change = jnp.full((len(kinds), L, H, L, H), jnp.nan, before.dtype)
    for receiver in range(1, L):
        reading = [head for layer, head in receivers if layer == receiver]
        for sender in range(receiver):
            writing = [head for layer, head in senders if layer == sender]
            if not reading or not writing:
                continue
            z_BTHC, kernel_HCD = (
                outputs[sender],
                variables["params"][f"layer_{sender}"]["attention"]["output"]["kernel"],
            )
            heads = jnp.array(writing)
            writes_SBTD = _writes(z_BTHC[:half, :, heads] - z_BTHC[half:, :, heads], kernel_HCD[heads])
            z = _patched_outputs(
                *layerwise.single(model, variables, receiver), streams[receiver], writes_SBTD, kinds=kinds, exact=exact
            )
            # Heads of a layer do not see each other: one run patches all receivers, then one run for each of them lets
            # only that head's output out.
            runs = _one_receiver_each(z, outputs[receiver][half:], jnp.array(reading))
            found = layerwise.scores_from(model, variables, receiver, streams[receiver], runs, score, at=at)
            block = found.reshape(len(kinds), len(writing), len(reading)) - before
            change = change.at[:, sender, heads[:, None], receiver, jnp.array(reading)].set(block)
    return dict(zip(kinds, change, strict=True))


@jax.jit
def _writes(z_BTSC, kernel_SCD):
    return jnp.einsum("BTSC,SCD->SBTD", z_BTSC, kernel_SCD)


@partial(jax.jit, static_argnames=("model", "kinds", "exact"))
def _patched_outputs(model, variables, stream_BTD, writes_SBTD, kinds, exact):
    """Outputs [kinds, S, B, T, H, C] of all heads of a layer that read a sender's write by one kind of input."""
    S, B = writes_SBTD.shape[:2]
    sites = {kind: f"attention/{READS[kind]}" for kind in READS}

    def reads(model, x_BTD):
        seen = layerwise.in_layer(model, variables, x_BTD, {}, dict.fromkeys(sites.values(), itself))
        return {kind: seen[site] for kind, site in sites.items()}

    def repeated(x):
        return jnp.broadcast_to(x, (S, *x.shape)).reshape(-1, *x.shape[1:])

    before = {kind: repeated(x) for kind, x in reads(model, stream_BTD).items()}
    writes = writes_SBTD.reshape(S * B, *writes_SBTD.shape[2:])
    stream = repeated(stream_BTD)
    if exact:
        after = reads(model, stream + writes)
    else:
        # The reading maps are affine, rotation included: what they make of the write is their linear part.
        affine = model.clone(config=replace(model.config, norm="none"))
        norm_params = variables["params"]["layer_0"].get("attention_norm")
        read = reads(affine, frozen_norm(model.config, norm_params, stream, writes))
        nothing = reads(affine, jnp.zeros_like(stream_BTD))
        after = {kind: before[kind] + (read[kind] - repeated(nothing[kind])).astype(stream.dtype) for kind in READS}
    z = []
    for patched in kinds:
        inputs = {site: (after if kind == patched else before)[kind] for kind, site in sites.items()}
        seen = layerwise.in_layer(model, variables, stream, inputs, {"attention/head_outputs": itself})
        z.append(seen["attention/head_outputs"])
    return jnp.stack(z).reshape(len(kinds), S, B, *z[0].shape[1:])


@jax.jit
def _one_receiver_each(z, before_BTHC, heads_R):
    """Runs [kinds * S * R, B, T, H, C] of a layer's head outputs, each with one receiver's as patched."""
    chosen_RH = heads_R[:, None] == jnp.arange(z.shape[-2])
    runs = jnp.where(chosen_RH[:, None, None, :, None], z[:, :, None], before_BTHC)
    return runs.reshape(-1, *before_BTHC.shape)


def activation_patch(model, variables, tokens_BT, other_tokens_BT, site, mask=True):
    """Logits [B, T, V] with the activation at ``site`` replaced, where ``mask`` is True, by the other tokens' run.

    ``mask`` is any boolean array that broadcasts to the activation: of shape [T, 1] it picks positions of the stream,
    of shape [H, 1] heads of ``head_outputs``. Wildcards in ``site`` patch several at once. Raises ValueError for a
    path without a site. Source: Vig et al. 2020; Meng et al. 2022, "Locating and editing factual associations in GPT".
    """
    _, other = apply(model, variables, other_tokens_BT, observe={site: lambda x: x})
    edit = {path: lambda x, value=value: jnp.where(mask, value, x) for path, value in other.items()}
    return apply(model, variables, tokens_BT, edit=edit)[0]
