"""What a model loses with heads removed: one, or any set of them, many variants in one compiled call.

Kinds of ablation, by what takes the place of a head's output (its pattern times its values) at every position:

    zero                zeros
    mean                the mean of the head's output over the batch at that position
    resample            the head's output on another sequence of the batch
    pattern_preserving  zeros, while the patterns of all heads are frozen to what they are without any ablation: only
                        the head's own write is lost then, not its part in the patterns of later heads
                        (Olsson et al. 2022, "In-context learning and induction heads", argument 3)

With grouped queries a head is a query head. Axes: B batch, T time, V vocabulary, L layers, H heads, N sets of heads.
"""

import jax
import jax.numpy as jnp

from probes.layerwise import identity, scores_of_runs, streams
from probes.sites import HEAD_INPUTS, apply

ABLATION_KINDS = ("zero", "mean", "resample", "pattern_preserving")
OUTPUTS, PATTERN = "attention/head_outputs", "attention/pattern"


def record_reference(model, variables, tokens_BT, kind, key=None):
    """What an ablation puts in place of activations, {path of a site: array}, from one run without ablation.

    For "resample" the batch is rolled by one; a ``key`` draws a random cycle through the batch instead. Either way no
    sequence gets its own outputs. Raises ValueError for an unknown kind, and for resampling in a batch of one.
    """
    check_kind(kind)
    if kind == "zero":
        return {}
    site = PATTERN if kind == "pattern_preserving" else OUTPUTS
    _, activations = streams(model, variables, tokens_BT, observe={site: identity})
    return replacements(kind, activations, key)


def check_kind(kind):
    """Raises ValueError for an unknown kind of ablation."""
    if kind not in ABLATION_KINDS:
        raise ValueError(f"ablation kind={kind!r} is not one of {', '.join(ABLATION_KINDS)}")


def replacements(kind, activations, key=None):
    """``record_reference`` from the activations of a run without ablation, [{site within the layer: array}]."""
    if kind == "zero":
        return {}
    if kind == "pattern_preserving":
        return {f"layer_{layer}/{PATTERN}": arrays[PATTERN] for layer, arrays in enumerate(activations)}
    if kind == "mean":
        return {f"layer_{layer}/{OUTPUTS}": arrays[OUTPUTS].mean(axis=0) for layer, arrays in enumerate(activations)}
    size = len(activations[0][OUTPUTS]) if activations else 2
    if size < 2:
        raise ValueError("a resample ablation needs a batch of at least two sequences")
    order_B = jnp.arange(size) if key is None else jax.random.permutation(key, size)
    source_B = jnp.zeros_like(order_B).at[order_B].set(jnp.roll(order_B, 1))
    return {f"layer_{layer}/{OUTPUTS}": arrays[OUTPUTS][source_B] for layer, arrays in enumerate(activations)}


def ablated_logits(model, variables, tokens_BT, keep_LH, *, kind, key=None, reference=None):
    """Logits [B, T, V] with every head whose ``keep_LH`` is 0 ablated; 1 keeps a head, fractions mix both outputs.

    ``keep_LH`` may be traced, so that many ablations are one vmap, and the logits have a gradient in it. ``reference``
    is what ``record_reference`` gave, for these or other tokens, and takes the place of ``kind`` and ``key``; without
    it a reference is recorded here. Raises ValueError for an unknown kind and for a ``keep_LH`` that is not [L, H].
    """
    config = model.config
    if jnp.shape(keep_LH) != (config.num_layers, config.num_heads):
        shape = (config.num_layers, config.num_heads)
        raise ValueError(f"keep_LH has shape {jnp.shape(keep_LH)}; this model's layers and heads are {shape}")
    if reference is None:
        reference = record_reference(model, variables, tokens_BT, kind, key)

    def mix(path, keep_H):
        def edit(z_BTHC):
            keep_H1 = keep_H[:, None].astype(z_BTHC.dtype)
            return keep_H1 * z_BTHC + (1 - keep_H1) * reference.get(path, 0)

        return edit

    paths = [f"layer_{layer}/{OUTPUTS}" for layer in range(config.num_layers)]
    edit = {path: mix(path, keep_H) for path, keep_H in zip(paths, jnp.asarray(keep_LH), strict=True)}
    for path in set(reference) - set(paths):
        edit[path] = lambda _, frozen=reference[path]: frozen
    return apply(model, variables, tokens_BT, edit=edit)[0]


def ablate_sets(model, variables, tokens_BT, score, keep_NLH, kind, *, key=None, reference=None, chunk_size=None):
    """The scores of N ablations at once: each leaf of ``score``'s result with the axis N first.

    ``score`` maps logits [B, T, V] to a pytree of scalars; what an ablation costs is the difference from
    ``score(model.apply(variables, tokens_BT))``. ``chunk_size`` forward passes run together: one on CPUs, where that is
    fastest and needs the least memory; more may fill an accelerator. The rest is as in ``ablated_logits``.
    """
    if reference is None:
        reference = record_reference(model, variables, tokens_BT, kind, key)

    def ablate(keep_LH):
        return score(ablated_logits(model, variables, tokens_BT, keep_LH, kind=kind, reference=reference))

    return jax.lax.map(ablate, jnp.asarray(keep_NLH), batch_size=chunk_size)


def sweep(model, variables, tokens_BT, score, kind, *, key=None, reference=None, positions=None):
    """The scores without each head in turn, each leaf of ``score``'s result as [L, H].

    A run without a head of some layer begins after that layer's attention, since nothing before it changes. So the
    sweep costs less than half a run for each head, and every layer is compiled once.

    Args:
      score: logits [B, T, V] -> pytree of scalars; a function defined once is compiled once.
      kind, key, reference: as in ``ablated_logits``.
      positions: where logits are computed, or None for everywhere: ``score`` gets [B, len(positions), V].
    """
    check_kind(kind)
    preserving = kind == "pattern_preserving"
    observe = {OUTPUTS: identity} | ({PATTERN: identity} if preserving and reference is None else {})
    streams_by_depth, activations = streams(model, variables, tokens_BT, observe=observe)
    if reference is None:
        reference = replacements(kind, activations, key)
    names = [f"layer_{layer}/{{}}" for layer in range(model.config.num_layers)]
    patterns = [reference.get(name.format(PATTERN)) for name in names] if preserving else None
    ablated_HH = jnp.eye(model.config.num_heads, dtype=bool)
    scores = []
    for layer, name in enumerate(names):
        z_BTHC, stream_BTD = activations[layer][OUTPUTS], streams_by_depth[layer]
        replacement = jnp.asarray(reference.get(name.format(OUTPUTS), 0), z_BTHC.dtype)
        z_NBTHC = jnp.where(ablated_HH[:, None, None, :, None], replacement, z_BTHC)
        scores.append(
            scores_of_runs(model, variables, layer, stream_BTD, z_NBTHC, score, patterns=patterns, positions=positions)
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *scores)


def cut_paths(model, variables, tokens_BT, keep_LH, inputs):
    """Logits [B, T, V] where later heads read some of their ``inputs`` as if heads with ``keep_LH`` 0 had not written.

    The queries, keys or values named in ``inputs`` ("query", "key", "value") are taken, in every layer, from a run with
    those heads zero-ablated; everything else stays as it is. Where ablating heads destroys an ability, this tells which
    of the later heads' inputs it went through. The same heads on the other paths are the control.
    """
    config = model.config
    sites = [f"layer_{layer}/attention/{HEAD_INPUTS[kind]}" for layer in range(config.num_layers) for kind in inputs]
    ablation = {
        f"layer_{layer}/{OUTPUTS}": lambda z_BTHC, layer=layer: z_BTHC * keep_LH[layer][:, None]
        for layer in range(config.num_layers)
    }
    _, ablated = apply(model, variables, tokens_BT, edit=ablation, observe=dict.fromkeys(sites, identity))
    return apply(model, variables, tokens_BT, edit={site: lambda _, x=x: x for site, x in ablated.items()})[0]
