"""A Transformer run one layer at a time: from any layer on, with every layer going through the same compiled program.

Probes of whole models are built on this, for three reasons. The program of a layer is compiled once, however many
layers the model has. A run that differs from another only from some layer on begins there, with the other run's stream.
And of many runs only the streams are held at a time. Inside ``jax.jit`` the calls become part of the caller's program.

Axes: B batch, T time, D model width, H heads, C head width, V vocabulary, N runs.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from models.losses import token_losses
from probes import sites

CHUNK_BYTES = 4 * 2**20  # most bytes of one layer's patterns at a time: what a core's cache holds
STREAM_BYTES = 128 * 2**20  # most bytes of the streams of all runs that advance together


def check_layers(model, variables):
    """Raises ValueError where the parameters are not those of single layers."""
    if model.config.scan_layers:
        raise ValueError("the layers are stacked for a scan: models.transformer.unscanned gives them one by one")
    missing = [f"layer_{i}" for i in range(model.config.num_layers) if f"layer_{i}" not in variables["params"]]
    if missing:
        raise ValueError(f"the parameters have no {missing[0]}, which the model's config has")


def one_layer(model, variables, layer):
    """One layer as a model of its own, which is the same for all layers, and its variables."""
    single, params = _with_num_layers(model, 1), _params_outside_layers(variables)
    return single, {"params": params | {"layer_0": variables["params"][f"layer_{layer}"]}}


def _no_layer(model, variables):
    """The model without its layers, from the embedding straight to the logits, and its variables."""
    return _with_num_layers(model, 0), {"params": _params_outside_layers(variables)}


def _with_num_layers(model, num_layers):
    return sites.explicit(model).clone(config=replace(sites.explicit(model).config, num_layers=num_layers))


def _params_outside_layers(variables):
    return {name: value for name, value in variables["params"].items() if not name.startswith("layer_")}


def _placeholder_tokens(x_BTD):
    """Tokens of the stream's shape, for runs whose embedding is replaced by the stream."""
    return jnp.zeros(x_BTD.shape[:2], jnp.int32)


def embed(model, variables, tokens_BT):
    """The stream [B, T, D] before the first layer; raises ValueError where T exceeds the context."""
    check_layers(model, variables)
    return _embed(*_no_layer(model, variables), tokens_BT)


@partial(jax.jit, static_argnames="model")
def _embed(model, variables, tokens_BT):
    return sites.apply(model, variables, tokens_BT, observe={"embedding": identity})[1]["embedding"]


def identity(x):
    """Observes an activation as it is."""
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
    return _advance(*one_layer(model, variables, layer), x_BTD, edit or {}, observe=observe)


@partial(jax.jit, static_argnames=("model", "observe"))
def _advance(model, variables, x_BTD, edit, observe):
    observed = observe_layer(model, variables, x_BTD, edit, {"residual_out": identity} | dict(observe))
    return observed.pop("residual_out"), observed


def observe_layer(model, variables, x_BTD, edit, observe):
    """What ``observe`` gives of a layer that reads this stream: {site within the layer: observed}.

    ``model`` and ``variables`` are those of ``one_layer``; ``edit`` and ``observe`` are as in ``advance``; the site
    "residual_out" is the stream after the layer.
    """

    def full_path(site):
        return site if site == "residual_out" else f"layer_0/{site}"

    replacements = {full_path(site): lambda _, value=value: value for site, value in edit.items()}
    _, observed = sites.apply(
        model,
        variables,
        _placeholder_tokens(x_BTD),
        observe={full_path(site): function for site, function in observe.items()},
        edit={"embedding": lambda _: x_BTD} | replacements,
    )
    return {path.removeprefix("layer_0/"): value for path, value in observed.items()}


def logits(model, variables, x_BTD):
    """What the final norm and the unembedding make of the stream after the last layer: logits [B, T, V]."""
    return _logits(*_no_layer(model, variables), x_BTD)


@partial(jax.jit, static_argnames="model")
def _logits(model, variables, x_BTD):
    return sites.apply(model, variables, _placeholder_tokens(x_BTD), edit={"embedding": lambda _: x_BTD})[0]


def streams(model, variables, tokens_BT, observe=None):
    """A whole run, layer by layer; ``observe`` is as in ``advance``.

    Returns:
      ([stream before layer 0, ..., stream after the last layer], [{site within the layer: observed} of each layer]).
    """
    streams_by_depth, observed_by_layer = [embed(model, variables, tokens_BT)], []
    for layer in range(model.config.num_layers):
        x_BTD, observed = advance(model, variables, layer, streams_by_depth[-1], observe=observe)
        streams_by_depth.append(x_BTD)
        observed_by_layer.append(observed)
    return streams_by_depth, observed_by_layer


def last_stream(model, variables, tokens_BT):
    """The stream [B, T, D] after the last layer; nothing else is kept."""
    x_BTD = embed(model, variables, tokens_BT)
    for layer in range(model.config.num_layers):
        x_BTD = _advance_all(*one_layer(model, variables, layer), x_BTD, None, batch=1)
    return x_BTD


def next_token_losses(model, variables, tokens_BT, x_BTD=None):
    """The loss (nats) [B, T - 1] of each next token; the logits of one sequence are held at a time.

    ``x_BTD`` is the stream after the last layer; without it the model is run.
    """
    if x_BTD is None:
        x_BTD = last_stream(model, variables, tokens_BT)
    return _losses(*_no_layer(model, variables), x_BTD[:, :-1], tokens_BT[:, 1:])


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
      measure: (layer's parameters, {site: activation of some sequences}, their tokens, *their extras, *settings)
        -> pytree of sums; a function defined once, so that a layer is compiled once.
      observed: the sites within a layer that ``measure`` needs.
      settings: hashable values.
      extras: arrays with the batch axis first.
    Returns:
      (pytree of sums with the layers as a new first axis, stream [B, T, D]).
    """
    x_BTD = embed(model, variables, tokens_BT)
    size = _sequences_at_once(model, *tokens_BT.shape)
    x, tokens, extras = (
        jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), batch) for batch in (x_BTD, tokens_BT, extras)
    )
    sums_by_layer = []
    for layer in range(model.config.num_layers):
        x, sums = _sum_chunks(
            *one_layer(model, variables, layer),
            x,
            tokens,
            extras,
            measure=measure,
            observed=tuple(observed),
            settings=settings,
        )
        sums_by_layer.append(sums)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *sums_by_layer), x.reshape(x_BTD.shape)


@partial(jax.jit, static_argnames=("model", "measure", "observed", "settings"))
def _sum_chunks(model, variables, x, tokens, extras, measure, observed, settings):
    sites_needed = dict.fromkeys((*observed, "residual_out"), identity)

    def chunk(inputs):
        x_BTD, tokens_BT, extras = inputs
        activations = observe_layer(model, variables, x_BTD, {}, sites_needed)
        out_BTD = activations.pop("residual_out")
        return out_BTD, measure(variables["params"]["layer_0"], activations, tokens_BT, *extras, *settings)

    x, sums = jax.lax.map(chunk, (x, tokens, extras))
    return x, jax.tree.map(lambda sums_of_chunks: sums_of_chunks.sum(0), sums)


def score_stream(model, variables, x_BTD, score, positions=None):
    """``score`` of the logits [B, T, V] of the stream after the last layer, or of its logits at some positions."""
    positions = jnp.arange(x_BTD.shape[1]) if positions is None else jnp.asarray(positions)
    scores = _score_all(*_no_layer(model, variables), x_BTD, positions, score=score, batch=len(x_BTD))
    return jax.tree.map(lambda leaf: leaf[0], scores)


def scores_of_runs(model, variables, layer, x_BTD, z_NBTHC, score, *, patterns=None, positions=None):
    """The scores of N runs that differ from the outputs of a layer's heads on, each leaf with the axis N first.

    Args:
      x_BTD: the stream before the layer, which the runs share.
      z_NBTHC: the outputs of the layer's heads, before the output projection, in each run.
      score: logits [B, T, V] -> pytree of scalars.
      patterns: None, or the attention patterns [L, B, H, Q, K] that the later layers use in place of their own.
      positions: where logits are computed, or None for everywhere: ``score`` gets [B, len(positions), V].
    """
    positions = jnp.arange(x_BTD.shape[1]) if positions is None else jnp.asarray(positions)
    num_runs, batch = z_NBTHC.shape[0], x_BTD.shape[0]
    fitting = max(STREAM_BYTES // (x_BTD.size * x_BTD.dtype.itemsize), 1)
    at_once = next(n for n in range(min(fitting, num_runs), 0, -1) if num_runs % n == 0)
    scores = []
    for first in range(0, num_runs, at_once):
        z = z_NBTHC[first : first + at_once]
        stream = _from_head_outputs(*one_layer(model, variables, layer), x_BTD, z)
        for later in range(layer + 1, model.config.num_layers):
            frozen = None if patterns is None else patterns[later]
            stream = _advance_all(*one_layer(model, variables, later), stream, frozen, batch=batch)
        scores.append(_score_all(*_no_layer(model, variables), stream, positions, score=score, batch=batch))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *scores)


@partial(jax.jit, static_argnames="model")
def _from_head_outputs(model, variables, x_BTD, z_NBTHC):
    """Streams [N * B, T, D] after a layer whose head outputs are given."""
    num_runs = z_NBTHC.shape[0]
    x = jnp.tile(x_BTD, (num_runs, 1, 1))
    size = _sequences_at_once(model, *x.shape[:2])

    def chunk(inputs):
        x_BTD, z_BTHC = inputs
        return observe_layer(model, variables, x_BTD, {"attention/head_outputs": z_BTHC}, {"residual_out": identity})

    chunks = x.reshape(-1, size, *x.shape[1:]), z_NBTHC.reshape(-1, size, *z_NBTHC.shape[2:])
    return jax.lax.map(chunk, chunks)["residual_out"].reshape(x.shape)


@partial(jax.jit, static_argnames=("model", "batch"))
def _advance_all(model, variables, stream, patterns_BHQK, batch):
    """Streams [N * B, T, D] after a layer, a few sequences at a time; frozen patterns are those of one run of B."""
    size = _sequences_at_once(model, *stream.shape[:2])
    if patterns_BHQK is not None:
        size = batch  # so that every chunk is one run, which takes all patterns

    def chunk(x_BTD):
        edit = {} if patterns_BHQK is None else {"attention/pattern": patterns_BHQK}
        return observe_layer(model, variables, x_BTD, edit, {"residual_out": identity})["residual_out"]

    return jax.lax.map(chunk, stream.reshape(-1, size, *stream.shape[1:])).reshape(stream.shape)


@partial(jax.jit, static_argnames=("model", "score", "batch"))
def _score_all(model, variables, stream, positions, score, batch):
    runs = stream[:, positions].reshape(-1, batch, len(positions), stream.shape[-1])
    return jax.lax.map(lambda x_BTD: score(_logits(model, variables, x_BTD)), runs)


def _sequences_at_once(model, num_sequences, length):
    """The largest divisor of the number of sequences whose patterns of one layer are within CHUNK_BYTES; at least 1."""
    bytes_each = model.config.num_heads * length**2 * jnp.dtype(model.config.parameter_dtype).itemsize
    fitting = max(CHUNK_BYTES // bytes_each, 1)
    return next(n for n in range(min(fitting, num_sequences), 0, -1) if num_sequences % n == 0)
