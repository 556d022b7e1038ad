"""A tagger that looks at a word and the two on either side: what a parser sees where tags are not given.

Each word is the sum of the embeddings of its features: the word itself in small letters, its last two and three
letters, its first three, and its shape. Five words side by side go through one hidden layer to a softmax over tags, as
in Collobert et al. (2011, section 3.3.1). A feature that training lacks is a vector of zeros; the taggers get used to
it because rare words are left out of training now and then (Kiperwasser and Goldberg 2016).

All sentences make one stream of positions with two empty ones between them, cut into rows of one length.

Axes: N positions of the stream, R rows, B rows of a batch, T positions of a row, W positions of a row and its
surroundings, K features of a word, F taggers trained at once, E width of an embedding, D hidden width, V tags.
"""

import json
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import serialization

from data.order import batch_rows
from data.treebanks import Sentence, Treebank
from experiments.dependency_parser.vocabulary import word_shape

RADIUS = 2  # words seen on either side
D_EMBED, D_HIDDEN = 32, 128
DROPOUT = 0.3  # of the hidden layer
ROW_LENGTH, BATCH_ROWS = 32, 32
EPOCHS, LEAST_STEPS = 8, 300
LEARNING_RATE = 0.01  # of Adam; falls to zero in a straight line
MIN_COUNT = 2  # occurrences that a feature needs to be known
NUM_NEIGHBOURS = 20  # sentences side by side that share a fold, because they are often of one document
OMISSION = 0.25  # a word that occurs n times is left out with probability OMISSION / (OMISSION + n)
UNSEEN = 0  # id of a feature that training lacks
FORMAT = 1  # of the file


class Tagger(NamedTuple):
    """What tags words: the ids of their features, the tags' names, and the network's parameters."""

    feature_ids: dict  # {"kind:value": id from 1 on}
    tags: tuple[str, ...]
    params: dict  # arrays with an axis F, as `init_params` makes them


class Prediction(NamedTuple):
    """A treebank with predicted tags, the file of the tagger for new sentences, and its accuracy on test words."""

    treebank: Treebank
    tagger: bytes
    accuracy: float


class _Stream(NamedTuple):
    features_RWK: np.ndarray
    tags_RT: np.ndarray
    folds_RT: np.ndarray  # which fold's tagger must not see the word; -1: no word there
    drop_rates_RW: np.ndarray  # how often a word is left out


def predict_tags(treebank: Treebank, folds: int = 5, seed: int = 0) -> Prediction:
    """The treebank with predicted tags in place of gold ones.

    The training sentences are divided into ``folds``, and each fold is tagged by a tagger trained on the others: it has
    not seen those sentences, so a parser trained on its tags meets in training the errors that it will meet later. The
    tags of the other two splits are those of a tagger trained on all training sentences, whose file is returned. A pure
    function of its arguments. Raises ValueError for fewer than two folds, or than a sentence a fold.
    """
    num_sentences = len(treebank.train)
    if not 2 <= folds <= num_sentences:
        raise ValueError(f"folds={folds} must lie between 2 and the number of training sentences, {num_sentences}")
    fold_N = np.arange(num_sentences) // max(1, min(NUM_NEIGHBOURS, num_sentences // folds)) % folds
    taggers = train_taggers(treebank.train, fold_N, folds, seed)
    final = taggers._replace(params=_select(taggers.params, folds))
    tagged = {"train": _retag(treebank.train, _predict(taggers, treebank.train), taggers.tags, fold_N)}
    for split in ("validation", "test"):
        tagged[split] = tag_sentences(final, getattr(treebank, split))
    accuracy = measure_accuracy(treebank.test, tagged["test"])
    return Prediction(replace(treebank, **tagged), dumps(final), accuracy)


def train_tagger(sentences, seed: int = 0) -> bytes:
    """The file of a tagger trained on all the sentences, for new ones."""
    return dumps(train_taggers(sentences, np.zeros(len(sentences), int), 0, seed))


def tag_sentences(tagger: Tagger, sentences) -> tuple[Sentence, ...]:
    """The sentences with the tags that one tagger predicts."""
    if not sentences:
        return ()
    return _retag(sentences, _predict(tagger, sentences), tagger.tags, np.zeros(len(sentences), int))


def measure_accuracy(gold_sentences, sentences) -> float:
    """Share of the words whose tag is gold's; NaN without words."""
    gold = [tag for sentence in gold_sentences for tag in sentence.tags]
    tags = [tag for sentence in sentences for tag in sentence.tags]
    return sum(map(str.__eq__, gold, tags)) / len(gold) if gold else float("nan")


def train_taggers(sentences, fold_N, num_folds, seed) -> Tagger:
    """F = num_folds + 1 taggers at once: number f has not seen the sentences of fold f, the last has seen all.

    Args:
      fold_N: the fold 0 ... num_folds - 1 of each sentence; without folds, anything.
    """
    counts = Counter(feature for s in sentences for form in s.forms for feature in _features(form))
    names = sorted(name for name, count in counts.items() if count >= MIN_COUNT)
    feature_ids = {name: i for i, name in enumerate(names, 1)}
    tags = tuple(sorted({tag for s in sentences for tag in s.tags}))
    stream = _make_stream(sentences, feature_ids, tags, fold_N, counts)
    num_rows = len(stream.tags_RT)
    batch_size = min(BATCH_ROWS, num_rows)
    num_steps = max(LEAST_STEPS, EPOCHS * num_rows // batch_size)
    params = init_params(jax.random.key(seed), num_folds + 1, len(names) + 1, len(tags))
    params = _train(params, stream, seed, num_folds, num_steps, batch_size)
    return Tagger(feature_ids, tags, jax.tree.map(np.asarray, params))


# --- The network.


def init_params(key, num_taggers, num_features, num_tags):
    """Parameters of F taggers. Embeddings are zero, as they stay for a feature that a tagger does not meet."""
    hidden_key, output_key = jax.random.split(key)
    d_window = (2 * RADIUS + 1) * D_EMBED
    normal = jax.random.normal
    return {
        "embed": jnp.zeros((num_features, num_taggers, D_EMBED)),
        "hidden": normal(hidden_key, (d_window, num_taggers, D_HIDDEN)) * d_window**-0.5,
        "hidden_bias": jnp.zeros((num_taggers, D_HIDDEN)),
        "output": normal(output_key, (D_HIDDEN, num_taggers, num_tags)) * D_HIDDEN**-0.5,
        "output_bias": jnp.zeros((num_taggers, num_tags)),
    }


def tag_logits(params, features_BWK, keep_BW=None, dropout_key=None):
    """Logits [B, T, F, V] of the words of rows; with a key, training's dropout is applied.

    Args:
      keep_BW: whether the word itself, the first feature, is seen; None for all.
    """
    is_seen_BWK = features_BWK != UNSEEN
    if keep_BW is not None:
        is_other_K = jnp.arange(features_BWK.shape[-1]) > 0
        is_seen_BWK &= is_other_K | keep_BW[..., None]
    x_BWFE = jnp.einsum("bwkfe,bwk->bwfe", params["embed"][features_BWK], is_seen_BWK.astype(jnp.float32))
    T = features_BWK.shape[1] - 2 * RADIUS
    window_BTFE = jnp.concatenate([x_BWFE[:, offset : offset + T] for offset in range(2 * RADIUS + 1)], axis=-1)
    h_BTFD = jnp.tanh(jnp.einsum("btfe,efd->btfd", window_BTFE, params["hidden"]) + params["hidden_bias"])
    if dropout_key is not None:
        B, T, _, D = h_BTFD.shape
        h_BTFD *= jax.random.bernoulli(dropout_key, 1 - DROPOUT, (B, T, 1, D)) / (1 - DROPOUT)
    return jnp.einsum("btfd,dfv->btfv", h_BTFD, params["output"]) + params["output_bias"]


@partial(jax.jit, static_argnames=("num_folds", "num_steps", "batch_size"))
def _train(params, stream, seed, num_folds, num_steps, batch_size):
    stream = jax.tree.map(jnp.asarray, stream)
    optimizer = optax.adam(optax.linear_schedule(LEARNING_RATE, 0.0, num_steps))

    def loss(params, batch, key):
        drop_key, dropout_key = jax.random.split(key)
        keep_BW = jax.random.uniform(drop_key, batch.drop_rates_RW.shape) >= batch.drop_rates_RW
        logits_BTFV = tag_logits(params, batch.features_RWK, keep_BW, dropout_key)
        labels_BTF = jnp.broadcast_to(batch.tags_RT[:, :, None], logits_BTFV.shape[:3])
        losses_BTF = optax.softmax_cross_entropy_with_integer_labels(logits_BTFV, labels_BTF)
        fold_BT1 = batch.folds_RT[:, :, None]
        may_see_BTF = (fold_BT1 != jnp.arange(num_folds + 1)).at[..., num_folds].set(True)
        weights_BTF = may_see_BTF & (fold_BT1 >= 0)
        return jnp.sum(jnp.sum(losses_BTF * weights_BTF, (0, 1)) / jnp.maximum(jnp.sum(weights_BTF, (0, 1)), 1))

    def step(carry, number):
        params, state = carry
        rows_B, _ = batch_rows(seed, number, batch_size, len(stream.tags_RT))
        batch = jax.tree.map(lambda values: values[rows_B], stream)
        gradient = jax.grad(loss)(params, batch, jax.random.fold_in(jax.random.key(seed), number))
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(num_steps))
    return params


@jax.jit
def _predict_rows(params, features_RWK):
    """The most probable tag [R, T, F] of each tagger, a batch of rows after the other."""

    def predict(features_WK):
        return tag_logits(params, features_WK[None])[0].argmax(-1)

    return jax.lax.map(predict, features_RWK, batch_size=64)


def _predict(tagger, sentences):
    """The predicted tags' numbers [words, F] of all sentences, one after the other."""
    folds_N = np.zeros(len(sentences), int)
    stream = _make_stream(sentences, tagger.feature_ids, tagger.tags, folds_N)
    predicted_RTF = np.asarray(_predict_rows(tagger.params, stream.features_RWK))
    return predicted_RTF[stream.folds_RT >= 0]


def _retag(sentences, predicted, tags, tagger_N):
    """Sentences with the predicted tags of tagger number ``tagger_N`` [N], given all words' numbers [words, F]."""
    retagged, start = [], 0
    for sentence, tagger in zip(sentences, tagger_N, strict=True):
        end = start + len(sentence.forms)
        retagged.append(sentence._replace(tags=tuple(tags[i] for i in predicted[start:end, tagger])))
        start = end
    return tuple(retagged)


def _select(params, number):
    """The parameters of one of the taggers, with an axis F of 1: it is the last but one of every array."""
    return {name: value[..., number : number + 1, :] for name, value in params.items()}


# --- Features.


def _features(form):
    """The names of a word's K features."""
    small = form.lower()
    parts = (f"last 2:{small[-2:]}", f"last 3:{small[-3:]}", f"first 3:{small[:3]}")
    return f"word:{small}", *parts, f"shape:{word_shape(form)}"


def _make_stream(sentences, feature_ids, tags, fold_N, counts=None):
    """The sentences as rows; for training, how often each feature occurs is needed, and every tag must be known."""
    lengths_N = np.array([len(sentence.forms) for sentence in sentences])
    num_positions = int((lengths_N + RADIUS).sum())
    num_rows = -(-num_positions // ROW_LENGTH)
    offsets = RADIUS * np.repeat(np.arange(len(sentences)), lengths_N)  # the empty positions before each word
    words = np.arange(lengths_N.sum()) + offsets

    def spread(values, size, offset, padding=0):
        spread_N = np.full((size, *values.shape[1:]), padding, values.dtype)
        spread_N[words + offset] = values
        return spread_N

    forms = [form for sentence in sentences for form in sentence.forms]
    known = {form: [feature_ids.get(name, UNSEEN) for name in _features(form)] for form in set(forms)}
    features = np.array([known[form] for form in forms], np.int32)
    rates, tag_ids = np.zeros(len(forms), np.float32), np.zeros(len(forms), np.int32)
    if counts:
        form_counts = np.array([counts[_features(form)[0]] for form in forms], np.float32)
        rates = OMISSION / (OMISSION + form_counts)
        ids = {tag: i for i, tag in enumerate(tags)}
        tag_ids = np.array([ids[tag] for sentence in sentences for tag in sentence.tags], np.int32)
    size = num_rows * ROW_LENGTH
    features_NK = spread(features, size + 2 * RADIUS, RADIUS)
    rates_N = spread(rates, size + 2 * RADIUS, RADIUS)
    tags_N, folds_N = spread(tag_ids, size, 0), spread(np.repeat(fold_N, lengths_N), size, 0, -1)
    places_RW = np.arange(num_rows)[:, None] * ROW_LENGTH + np.arange(ROW_LENGTH + 2 * RADIUS)
    return _Stream(
        features_NK[places_RW],
        tags_N.reshape(num_rows, ROW_LENGTH),
        folds_N.reshape(num_rows, ROW_LENGTH),
        rates_N[places_RW],
    )


# --- The file.


def dumps(tagger) -> bytes:
    """The content of a tagger's file (msgpack)."""
    names = json.dumps({"features": list(tagger.feature_ids), "tags": tagger.tags})
    return serialization.msgpack_serialize({"format": FORMAT, "names": names, "params": tagger.params})


def loads(content) -> Tagger:
    """The tagger of a file's content; raises ValueError where it is damaged."""
    advice = "take the file from another copy of the run"
    try:
        fields = serialization.msgpack_restore(content)
        names = json.loads(fields["names"])
        features, tags, params = names["features"], tuple(names["tags"]), fields["params"]
        wanted = jax.eval_shape(lambda: init_params(jax.random.key(0), 1, len(features) + 1, len(tags)))
        fits = jax.tree.map(np.shape, params) == jax.tree.map(np.shape, wanted)
    except Exception as error:  # whatever the libraries raise for bytes that are none of theirs
        raise ValueError(f"the tagger is damaged ({type(error).__name__}): {advice}") from error
    if fields.get("format") != FORMAT or not fits:
        raise ValueError(f"the tagger is no file of format {FORMAT}, or its arrays have other shapes: {advice}")
    return Tagger({name: i for i, name in enumerate(features, 1)}, tags, params)
