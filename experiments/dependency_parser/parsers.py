"""The three parsers behind one form: what they train on, what it costs, and how they parse sentences.

The classifier learns single decisions of the oracle; the other two learn whole sentences, packed into rows.

Axes: N examples (decisions, or rows) or sentences, B examples of a batch, M packed rows, T positions, J decisions of a
row, K transitions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from data.ids import smallest_type
from experiments.dependency_parser import biaffine
from experiments.dependency_parser.arrays import pack_rows
from experiments.dependency_parser.biaffine import Biaffine
from experiments.dependency_parser.classifier import Classifier, ClassifierConfig, score_from_tables, tabulate
from experiments.dependency_parser.encoder import NUM_PLACES, EncoderConfig, TransitionEncoder
from experiments.dependency_parser.features import (
    NUM_CHILDREN,
    NUM_POSITIONS,
    core_positions,
    label_features,
    positions,
)
from experiments.dependency_parser.parsing import follow_oracle_in_chunks, parse_rows
from experiments.dependency_parser.transitions import expand_legal, take
from experiments.dependency_parser.vocabulary import NULL
from models.losses import token_losses


class Parser(NamedTuple):
    """One of the parsers, made for a vocabulary.

    init:     key -> variables
    examples: (sentences with trees, vocabulary, length of a row) -> {name: array [N, ...]}, numpy
    losses:   (variables, examples {name: [B, ...]}, deterministic, rngs) -> (sum of losses in nats, weight)
    num_labels: number of relations, NULL not counted
    parse:    (variables, ``arrays.Split``) -> (heads_NT, labels_NT) of its sentences, int32, in their order; -1 and 0
              at ROOT and behind a sentence's end
    prepare:  variables -> what ``score`` needs of them; of the classifier alone, as is the next
    score:    (prepared, words_MT, tags_MT) -> (State -> logits [M, K]) of rows
    """

    model: Any
    init: Callable
    examples: Callable
    losses: Callable
    parse: Callable
    num_labels: int
    prepare: Callable | None = None
    score: Callable | None = None


# --- The classifier of Chen and Manning.


def classifier_parser(config, vocabulary):
    """Transitions by a classifier of 18 words, 18 tags and 12 labels (Chen and Manning 2014)."""
    num_labels = len(vocabulary.labels) - 1
    settings = ClassifierConfig(
        num_words=len(vocabulary.words),
        num_tags=len(vocabulary.tags),
        num_labels=len(vocabulary.labels),
        num_transitions=1 + 2 * num_labels,
        d_embed=config.d_embed,
        d_hidden=config.d_hidden,
        num_hidden=config.num_hidden,
        activation=config.activation,
        dropout=config.dropout,
        initializer=config.initializer,
        use_words=config.use_words,
        use_tags=config.use_tags,
        use_labels=config.use_labels,
    )
    model = Classifier(settings)

    def init(key):
        slots = jnp.zeros((1, NUM_POSITIONS), jnp.int32)
        return model.init(key, slots, slots, jnp.zeros((1, NUM_CHILDREN), jnp.int32))

    def losses(variables, examples, deterministic, rngs):
        words, tags, labels = (examples[name].astype(jnp.int32) for name in ("words", "tags", "labels"))
        logits_BK = model.apply(variables, words, tags, labels, deterministic=deterministic, rngs=rngs)
        logits_BK = jnp.where(expand_legal(examples["legal"], num_labels), logits_BK, jnp.finfo(logits_BK.dtype).min)
        losses_B = token_losses(logits_BK, examples["transitions"].astype(jnp.int32))
        return losses_B.sum(), jnp.float32(losses_B.size)

    def prepare(variables):
        return tabulate(settings, variables)

    def score(tables, words_MT, tags_MT):
        def score_state(state):
            positions_M18 = positions(state)
            words_M18, tags_M18 = look_up(words_MT, positions_M18), look_up(tags_MT, positions_M18)
            return score_from_tables(settings, tables, words_M18, tags_M18, label_features(state, positions_M18))

        return score_state

    def parse_split(variables, split):
        rows = split.rows
        score_state = score(prepare(variables), rows.words_MT, rows.tags_MT)
        return unpack_rows(split, *parse_rows(score_state, rows.segments_MT, num_labels))

    return Parser(model, init, decisions, losses, parse_split, num_labels, prepare, score)


def look_up(ids_MT, positions_M18):
    """The ids [M, 18] at each row's positions, NULL where a position is -1."""
    return jnp.where(positions_M18 >= 0, take(ids_MT, positions_M18), NULL)


def unpack_rows(split, heads_MT, labels_MT):
    """(heads, labels) [N, T] of sentences from those of packed rows, where heads are positions in the row."""
    index_NT = jnp.arange(split.heads_NT.shape[1])
    is_word_NT = (index_NT > 0) & (index_NT <= split.lengths_N[:, None])
    places_NT = jnp.where(is_word_NT, split.rows.start_N[:, None] + index_NT, 0)
    heads_NT, labels_NT = (values_MT[split.rows.row_N[:, None], places_NT] for values_MT in (heads_MT, labels_MT))
    return (
        jnp.where(is_word_NT, heads_NT - split.rows.start_N[:, None], -1),
        jnp.where(is_word_NT, labels_NT, 0),
    )


def decisions(sentences, vocabulary, row_length):
    """The oracle's decisions, one example each: ids [N, 18 or 12], legality [N, 3], transitions [N]."""
    num_labels = len(vocabulary.labels) - 1
    rows = pack_rows(sentences, vocabulary, row_length)
    made = follow_oracle_in_chunks(rows, num_labels)
    is_made_MJ = made.transitions_BJ >= 0
    row_N1 = np.nonzero(is_made_MJ)[0][:, None]
    positions_N18 = made.positions_BJ18[is_made_MJ]
    words_N18, tags_N18 = (
        np.where(positions_N18 >= 0, ids_MT[row_N1, positions_N18], NULL) for ids_MT in (rows.words_MT, rows.tags_MT)
    )
    return {
        "words": words_N18.astype(smallest_type(len(vocabulary.words))),
        "tags": tags_N18.astype(smallest_type(len(vocabulary.tags))),
        "labels": made.labels_BJ12[is_made_MJ].astype(smallest_type(num_labels + 1)),
        "legal": made.legal_BJ3[is_made_MJ],
        "transitions": made.transitions_BJ[is_made_MJ].astype(smallest_type(1 + 2 * num_labels)),
    }


# --- Parsers that read the whole sentence first.


def encoder_config(config, vocabulary):
    """The bidirectional encoder of a config; raises ValueError where its fields make none."""
    for name in ("d_hidden", "num_hidden"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)} must be at least 1")
    return EncoderConfig(
        num_words=len(vocabulary.words),
        num_tags=len(vocabulary.tags),
        d_embed=config.d_embed,
        width=config.d_hidden,
        num_layers=config.num_hidden,
        dropout=config.dropout,
        word_dropout=config.word_dropout,
        use_words=config.use_words,
        use_tags=config.use_tags,
    )


def bilstm_parser(config, vocabulary):
    """Transitions scored from a bidirectional LSTM's encodings of four words (Kiperwasser and Goldberg 2016)."""
    num_labels = len(vocabulary.labels) - 1
    model = TransitionEncoder(encoder_config(config, vocabulary), 1 + 2 * num_labels)

    def init(key):
        one = jnp.zeros((1, 2), jnp.int32)
        return model.init(key, one, one, one, jnp.zeros((1, 1, NUM_PLACES), jnp.int32))

    def losses(variables, examples, deterministic, rngs):
        logits_BJK = model.apply(
            variables,
            examples["words"],
            examples["tags"],
            examples["segments"],
            examples["places"],
            deterministic=deterministic,
            rngs=rngs,
        )
        legal_BJK = expand_legal(examples["legal"], num_labels)
        logits_BJK = jnp.where(legal_BJK, logits_BJK, jnp.finfo(logits_BJK.dtype).min)
        is_made_BJ = examples["transitions"] >= 0
        losses_BJ = token_losses(logits_BJK, jnp.maximum(examples["transitions"], 0))
        return jnp.sum(jnp.where(is_made_BJ, losses_BJ, 0.0)), jnp.sum(is_made_BJ).astype(jnp.float32)

    def parse_split(variables, split):
        rows = split.rows
        h_MTD = model.apply(variables, rows.words_MT, rows.tags_MT, rows.segments_MT, method="encode")

        def score(state):
            return model.apply(variables, h_MTD, core_positions(state)[:, :NUM_PLACES], method="score")

        return unpack_rows(split, *parse_rows(score, rows.segments_MT, num_labels))

    return Parser(model, init, decisions_of_rows, losses, parse_split, num_labels)


def decisions_of_rows(sentences, vocabulary, row_length):
    """Packed rows, one example each, and the oracle's decisions; ``places`` [N, J, 4]: of s1, s2, s3, b1 in the row."""
    rows = pack_rows(sentences, vocabulary, row_length)
    made = follow_oracle_in_chunks(rows, len(vocabulary.labels) - 1)
    return {
        "words": rows.words_MT,
        "tags": rows.tags_MT,
        "segments": rows.segments_MT,
        "places": made.positions_BJ18[..., :NUM_PLACES],
        "legal": made.legal_BJ3,
        "transitions": made.transitions_BJ,
    }


def biaffine_parser(config, vocabulary):
    """Every pair of words scored, then the best projective tree (Dozat and Manning 2017; Eisner 1996)."""
    num_labels = len(vocabulary.labels) - 1
    model = Biaffine(encoder_config(config, vocabulary), num_labels=len(vocabulary.labels))

    def init(key):
        one = jnp.zeros((1, 2), jnp.int32)
        return model.init(key, one, one, one, one)

    def losses(variables, examples, deterministic, rngs):
        scores_BTT, label_scores_BTL = model.apply(
            variables,
            examples["words"],
            examples["tags"],
            examples["segments"],
            examples["heads"],
            deterministic=deterministic,
            rngs=rngs,
        )
        return biaffine.loss(scores_BTT, label_scores_BTL, examples["heads"], examples["labels"])

    def parse_split(variables, split):
        # A bucket's charts are as large as its sentences; a row's would be as large as the row.
        heads_NT, labels_NT = jnp.full_like(split.heads_NT, -1), jnp.zeros_like(split.labels_NT)
        for bucket in split.buckets:
            words_BT, tags_BT, T = bucket.words_NT, bucket.tags_NT, bucket.words_NT.shape[1]
            heads_BT, labels_BT = biaffine.parse_bucket(model, variables, words_BT, tags_BT, bucket.lengths_N)
            heads_NT = heads_NT.at[bucket.rows_N, :T].set(heads_BT)
            labels_NT = labels_NT.at[bucket.rows_N, :T].set(labels_BT)
        return heads_NT, labels_NT

    return Parser(model, init, trees_of_rows, losses, parse_split, num_labels)


def trees_of_rows(sentences, vocabulary, row_length):
    """Packed rows, one example each, with the trees of their sentences."""
    rows = pack_rows(sentences, vocabulary, row_length)
    return {
        "words": rows.words_MT,
        "tags": rows.tags_MT,
        "segments": rows.segments_MT,
        "heads": rows.heads_MT,
        "labels": rows.labels_MT,
    }
