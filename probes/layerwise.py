"""A Transformer run one layer at a time: from any layer on, with every layer going through the same compiled program.

Probes of whole models are built on this. A layer is compiled once and not as often as the model has layers; a run that
differs from another only from some layer on begins there, with the stream that the other one had; and of many runs
only their streams are held at a time. Inside ``jax.jit`` the calls become part of the caller's program.

Axes: B batch, T time, D model width, H heads, C head width, V vocabulary, N runs.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from models.losses import token_losses
from probes import sites

CHUNK_BYTES = 4 * 2**20  # of one layer's patterns at a time: what a core's cache holds
STREAM_BYTES = 128 * 2**20  # of the streams of all runs that go on together


def check(model, variables):
    """Raises ValueError where the parameters are not those of single layers."""
    if model.config.scan_layers:
        raise ValueError("the layers are stacked for a scan: models.transformer.unscanned gives them one by one")
    missing = [f"layer_{i}" for i in range(model.config.num_layers) if f"layer_{i}" not in variables["params"]]
    if missing:
        raise ValueError(f"the parameters have no {missing[0]}, which the model's config has")


def _part(model, num_layers):
    """The same model with none or one of its layers."""
    return sites.explicit(model).clone(config=replace(sites.explicit(model).config, num_layers=num_layers))


def _of_layer(variables, layer):
    """The variables of ``_part(model, 1)`` for one layer of the model."""
    params = {name: value for name, value in variables["params"].items() if not name.startswith("layer_")}
    return {"params": params if layer is None else params | {"layer_0": variables["params"][f"layer_{layer}"]}}


def _no_tokens(x_BTD):
    return jnp.zeros(x_BTD.shape[:2], jnp.int32)


def single(model, variables, layer):
    """One layer as a model of its own, and its variables: what ``in_layer`` takes, the same model for all layers."""
    return _part(model, 1), _of_layer(variables, layer)


def embed(model, variables, tokens_BT):
    """The stream [B, T, D] before the first layer; raises ValueError where T exceeds the context."""
    check(model, variables)
    return _embed(_part(model, 0), _of_layer(variables, None), tokens_BT)


@partial(jax.jit, static_argnames="model")
def _embed(model, variables, tokens_BT):
    return sites.apply(model, variables, tokens_BT, observe={"embedding": itself})[1]["embedding"]


def itself(x):
    """What observes an activation as it is."""
    return x


def advance(model, variables, layer, x_BTD, *, observe=None, edit=None):
    """The stream after one layer, and what was observed in it.

    Args:
      x_BTD: the stream before the layer.
      observe: {site within the layer, such as "attention/pattern": function of the activation}; see ``probes.sites``.
        Functions that are defined once, not lambdas of a loop, let a layer be compiled once.
      edit: {site within the layer: array that takes the activation's place}.
    Returns:
      (stream [B, T, D], {site: observed}).
    """
    observe = tuple(sorted((observe or {}).items()))
    return _advance(*single(model, variables, layer), x_BTD, edit or {}, observe=observe)


@partial(jax.jit, static_argnames=("model", "observe"))
def _advance(model, variables, x_BTD, edit, observe):
    seen = in_layer(model, variables, x_BTD, edit, {"residual_out": itself} | dict(observe))
    return seen.pop("residual_out"), seen


def in_layer(model, variables, x_BTD, edit, observe):
    """What is seen of a one-layer model, {site within the layer: observed}, when its layer finds this stream.

    ``edit`` and ``observe`` are as in ``advance``; "residual_out" is the stream after the layer.
    """

    def full(site):
        return site if site == "residual_out" else f"layer_0/{site}"

    replaced = {full(site): lambda _, value=value: value for site, value in edit.items()}
    _, seen = sites.apply(
        model,
        variables,
        _no_tokens(x_BTD),
        observe={full(site): function for site, function in observe.items()},
        edit={"embedding": lambda _: x_BTD} | replaced,
    )
    return {path.removeprefix("layer_0/"): value for path, value in seen.items()}


def logits(model, variables, x_BTD):
    """What the final norm and the unembedding make of the stream after the last layer: logits [B, T, V]."""
    return _logits(_part(model, 0), _of_layer(variables, None), x_BTD)


@partial(jax.jit, static_argnames="model")
def _logits(model, variables, x_BTD):
    return sites.apply(model, variables, _no_tokens(x_BTD), edit={"embedding": lambda _: x_BTD})[0]


def streams(model, variables, tokens_BT, observe=None):
    """A whole run: ([stream before layer 0, ..., after the last], [what ``observe`` saw in each layer])."""
    x_BTD = embed(model, variables, tokens_BT)
    found, seen = [x_BTD], []
    for layer in range(model.config.num_layers):
        x_BTD, of_layer = advance(model, variables, layer, x_BTD, observe=observe)
        found.append(x_BTD)
        seen.append(of_layer)
    return found, seen


def last_stream(model, variables, tokens_BT):
    """The stream [B, T, D] after the last layer, nothing else being kept."""
    x_BTD = embed(model, variables, tokens_BT)
    for layer in range(model.config.num_layers):
        x_BTD = _advance_all(*single(model, variables, layer), x_BTD, None, batch=1)
    return x_BTD


def token_losses_of(model, variables, tokens_BT, x_BTD=None):
    """The loss (nats) [B, T - 1] of each next token; the logits of one sequence are held at a time.

    ``x_BTD`` is the stream after the last layer, where it is known.
    """
    if x_BTD is None:
        x_BTD = last_stream(model, variables, tokens_BT)
    return _losses(_part(model, 0), _of_layer(variables, None), x_BTD[:, :-1], tokens_BT[:, 1:])


@partial(jax.jit, static_argnames="model")
def _losses(model, variables, x_BTD, targets_BT):
    def one(inputs):
        x_TD, targets_T = inputs
        return token_losses(_logits(model, variables, x_TD[None]), targets_T[None])[0]

    return jax.lax.map(one, (x_BTD, targets_BT))


def sum_over_sequences(model, variables, tokens_BT, measure, observed, settings=(), extras=()):
    """``measure`` of every layer, added up over the batch, and the stream after the last layer.

    Sequences are taken a few at a time, so that no more patterns than a core's cache holds exist at once.

    Args:
      measure: (layer's parameters, {site: activation of some sequences}, tokens of these, *extras of these, *settings)
        -> pytree of sums; a function defined once.
      observed: the sites within a layer that it needs.
      settings: hashable. extras: arrays with the batch axis first.
    Returns:
      (pytree of sums with the layers as a new first axis, stream [B, T, D]).
    """
    x_BTD = embed(model, variables, tokens_BT)
    size = _sequences_at_once(model, *tokens_BT.shape)
    x, tokens, extras = (
        jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), batch) for batch in (x_BTD, tokens_BT, extras)
    )
    found, options = [], {"measure": measure, "observed": tuple(observed), "settings": settings}
    for layer in range(model.config.num_layers):
        x, sums = _sum_chunks(*single(model, variables, layer), x, tokens, extras, **options)
        found.append(sums)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found), x.reshape(x_BTD.shape)


@partial(jax.jit, static_argnames=("model", "measure", "observed", "settings"))
def _sum_chunks(model, variables, x, tokens, extras, measure, observed, settings):
    sites_needed = dict.fromkeys((*observed, "residual_out"), itself)

    def chunk(inputs):
        x_BTD, tokens_BT, extras = inputs
        seen = in_layer(model, variables, x_BTD, {}, sites_needed)
        out_BTD = seen.pop("residual_out")
        return out_BTD, measure(variables["params"]["layer_0"], seen, tokens_BT, *extras, *settings)

    x, sums = jax.lax.map(chunk, (x, tokens, extras))
    return x, jax.tree.map(lambda sums_of_chunks: sums_of_chunks.sum(0), sums)


def score_of(model, variables, x_BTD, score, at=None):
    """``score`` of the logits [B, T, V] of the stream after the last layer, or of those at some positions."""
    at = jnp.arange(x_BTD.shape[1]) if at is None else jnp.asarray(at)
    found = _score_all(_part(model, 0), _of_layer(variables, None), x_BTD, at, score=score, batch=len(x_BTD))
    return jax.tree.map(lambda leaf: leaf[0], found)


def scores_from(model, variables, layer, x_BTD, z_NBTHC, score, *, patterns=None, at=None):
    """The scores of N runs that differ from each other from a layer's head outputs on, each leaf with the axis N first.

    Args:
      x_BTD: the stream before the layer, which the runs share.
      z_NBTHC: the outputs of the layer's heads, before the output projection, in each run.
      score: logits [B, T, V] -> pytree of scalars.
      patterns: None, or what the patterns of each layer [L, B, H, Q, K] are held to in the layers that follow.
      at: positions, or None for all, where logits are computed: ``score`` gets [B, len(at), V].
    """
    at = jnp.arange(x_BTD.shape[1]) if at is None else jnp.asarray(at)
    num_runs, batch = z_NBTHC.shape[0], x_BTD.shape[0]
    most = max(STREAM_BYTES // (x_BTD.size * x_BTD.dtype.itemsize), 1)
    at_once = next(n for n in range(min(most, num_runs), 0, -1) if num_runs % n == 0)
    options = {"score": score, "batch": batch}
    found = []
    for first in range(0, num_runs, at_once):
        z = z_NBTHC[first : first + at_once]
        stream = _from_head_outputs(*single(model, variables, layer), x_BTD, z)
        for later in range(layer + 1, model.config.num_layers):
            frozen = None if patterns is None else patterns[later]
            stream = _advance_all(*single(model, variables, later), stream, frozen, batch=batch)
        found.append(_score_all(_part(model, 0), _of_layer(variables, None), stream, at, **options))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)


@partial(jax.jit, static_argnames="model")
def _from_head_outputs(model, variables, x_BTD, z_NBTHC):
    """Streams [N * B, T, D] after a layer in which only what follows the head outputs is computed."""
    num_runs = z_NBTHC.shape[0]
    x = jnp.tile(x_BTD, (num_runs, 1, 1))
    size = _sequences_at_once(model, *x.shape[:2])

    def chunk(inputs):
        x_BTD, z_BTHC = inputs
        return in_layer(model, variables, x_BTD, {"attention/head_outputs": z_BTHC}, {"residual_out": itself})

    chunks = x.reshape(-1, size, *x.shape[1:]), z_NBTHC.reshape(-1, size, *z_NBTHC.shape[2:])
    return jax.lax.map(chunk, chunks)["residual_out"].reshape(x.shape)


@partial(jax.jit, static_argnames=("model", "batch"))
def _advance_all(model, variables, stream, patterns_BHQK, batch):
    """Streams [N * B, T, D] after a layer, a few sequences at a time; frozen patterns are those of one run of B."""
    size = _sequences_at_once(model, *stream.shape[:2])
    if patterns_BHQK is not None:
        size = batch  # of which every chunk takes all patterns

    def chunk(x_BTD):
        edit = {} if patterns_BHQK is None else {"attention/pattern": patterns_BHQK}
        return in_layer(model, variables, x_BTD, edit, {"residual_out": itself})["residual_out"]

    return jax.lax.map(chunk, stream.reshape(-1, size, *stream.shape[1:])).reshape(stream.shape)


@partial(jax.jit, static_argnames=("model", "score", "batch"))
def _score_all(model, variables, stream, at, score, batch):
    runs = stream[:, at].reshape(-1, batch, len(at), stream.shape[-1])
    return jax.lax.map(lambda x_BTD: score(_logits(model, variables, x_BTD)), runs)


def _sequences_at_once(model, num_sequences, length):
    """The largest divisor of the number of sequences whose patterns of one layer are within CHUNK_BYTES; at least 1."""
    bytes_each = model.config.num_heads * length**2 * jnp.dtype(model.config.parameter_dtype).itemsize
    most = max(CHUNK_BYTES // bytes_each, 1)
    return next(n for n in range(min(most, num_sequences), 0, -1) if num_sequences % n == 0)
