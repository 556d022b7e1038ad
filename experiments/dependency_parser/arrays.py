"""Sentences as arrays of ids: in buckets of similar length, and packed into rows of one length.

Axes: N sentences, M packed rows, T position (0 is ROOT in a bucket; in a row, each sentence begins with its ROOT).
"""

from itertools import chain
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.dependency_parser.vocabulary import NULL, ROOT

MAX_BUCKETS = 2  # each one is a shape to compile
WORTHWHILE = 0.05  # share of the positions that more buckets must save
ALIGNMENT = 8  # positions are a multiple of it
SHORTEST_ROW = 64


class Bucket(NamedTuple):
    """Sentences of similar length; int32, with heads -1 at ROOT, in padding and where no tree is known."""

    words_NT: np.ndarray
    tags_NT: np.ndarray
    heads_NT: np.ndarray
    labels_NT: np.ndarray
    lengths_N: np.ndarray  # words, ROOT not counted
    rows_N: np.ndarray  # the number of each sentence in its split


class Rows(NamedTuple):
    """Whole sentences side by side in rows of one length, for training with little padding; int32."""

    words_MT: np.ndarray
    tags_MT: np.ndarray
    heads_MT: np.ndarray  # positions in the row; -1 at each ROOT and in padding
    labels_MT: np.ndarray
    segments_MT: np.ndarray  # 0, 1, 2 ...: which of the row's sentences; -1 in padding
    row_N: np.ndarray  # which row each of the N sentences is in
    start_N: np.ndarray  # where in that row its ROOT is


class Split(NamedTuple):
    """The sentences of a split in both forms, with their trees [N, T] in the order of the split."""

    rows: Rows
    buckets: tuple[Bucket, ...]
    heads_NT: np.ndarray  # -1 at ROOT, in padding and where no tree is known
    labels_NT: np.ndarray
    lengths_N: np.ndarray


class _Columns(NamedTuple):
    """All words of all sentences one after the other, each sentence after its ROOT."""

    words: np.ndarray
    tags: np.ndarray
    heads: np.ndarray  # in the sentence
    labels: np.ndarray
    lengths_N: np.ndarray
    starts_N: np.ndarray  # where each ROOT is


def make_buckets(sentences, vocabulary) -> tuple[Bucket, ...]:
    """The sentences in at most MAX_BUCKETS buckets, from short to long, each in the order of the split.

    A bucket's T is its longest sentence and ROOT, rounded up to a multiple of 8. The boundaries are those that leave
    the least padding; of numbers of buckets that differ by less than WORTHWHILE in it, the smallest is taken. Raises
    ValueError without sentences.
    """
    return _fill_buckets(_make_columns(sentences, vocabulary))


def _fill_buckets(columns):
    sizes_N = -(-(columns.lengths_N + 1) // ALIGNMENT) * ALIGNMENT
    buckets, shorter = [], 0
    for size in _choose_sizes(sizes_N):
        rows_N = np.flatnonzero((sizes_N > shorter) & (sizes_N <= size)).astype(np.int32)
        positions_NT = np.arange(size)
        is_there_NT = positions_NT <= columns.lengths_N[rows_N, None]
        places_NT = np.where(is_there_NT, columns.starts_N[rows_N, None] + positions_NT, 0)
        values = [
            np.where(is_there_NT, column[places_NT], padding).astype(np.int32)
            for column, padding in zip(columns[:4], (NULL, NULL, -1, NULL), strict=True)
        ]
        buckets.append(Bucket(*values, columns.lengths_N[rows_N], rows_N))
        shorter = size
    return tuple(buckets)


def make_split(sentences, vocabulary) -> Split:
    """The Split of sentences, with or without trees; raises ValueError without sentences."""
    columns = _make_columns(sentences, vocabulary)
    buckets = _fill_buckets(columns)
    heads_NT, labels_NT = (
        join_buckets(buckets, [getattr(bucket, name) for bucket in buckets]) for name in ("heads_NT", "labels_NT")
    )
    return Split(_fill_rows(columns), buckets, heads_NT, labels_NT, columns.lengths_N)


def bucket_segments(lengths_B, T):
    """The segments [B, T] of rows with one sentence each: 0 at ROOT and its ``lengths_B`` words, -1 in the padding."""
    return jnp.where(jnp.arange(T) <= lengths_B[:, None], 0, -1)


def join_buckets(buckets, values):
    """Values [n, T, ...] of each bucket as one array [N, longest T, ...], in the order of the split, padded with -1."""
    values = [np.asarray(value) for value in values]
    num_sentences = sum(len(bucket.rows_N) for bucket in buckets)
    T = max(value.shape[1] for value in values)
    joined = np.full((num_sentences, T, *values[0].shape[2:]), -1, values[0].dtype)
    for bucket, value in zip(buckets, values, strict=True):
        joined[bucket.rows_N, : value.shape[1]] = value
    return joined


def pack_rows(sentences, vocabulary, row_length=None) -> Rows:
    """The sentences packed into rows: each goes, the longest first, into the first row that has room (Johnson 1973).

    ``row_length`` is by default 64 or, if that is longer, the longest sentence with its ROOT, rounded up to a multiple
    of 8. Raises ValueError without sentences, or where one is longer than a row.
    """
    return _fill_rows(_make_columns(sentences, vocabulary), row_length)


def _fill_rows(columns, row_length=None):
    longest = int(columns.lengths_N.max()) + 1
    row_length = row_length or max(SHORTEST_ROW, -(-longest // ALIGNMENT) * ALIGNMENT)
    if longest > row_length:
        raise ValueError(f"row_length={row_length} must hold the longest sentence with its ROOT, {longest} positions")
    room_M = np.full(len(columns.lengths_N), row_length)
    counts_M = np.zeros(len(room_M), np.int32)
    row_N, offset_N, segment_N = (np.zeros(len(room_M), np.int64) for _ in range(3))
    for n in np.argsort(-columns.lengths_N, kind="stable"):
        m = np.argmax(room_M > columns.lengths_N[n])
        row_N[n], offset_N[n], segment_N[n] = m, row_length - room_M[m], counts_M[m]
        room_M[m] -= columns.lengths_N[n] + 1
        counts_M[m] += 1
    num_rows = int(np.count_nonzero(counts_M))

    sizes_N = columns.lengths_N + 1
    within = np.arange(len(columns.words)) - np.repeat(columns.starts_N, sizes_N)
    offsets = np.repeat(offset_N, sizes_N)
    places = np.repeat(row_N * row_length, sizes_N) + offsets + within

    def spread(values, padding):
        row_MT = np.full(num_rows * row_length, padding, np.int32)
        row_MT[places] = values
        return row_MT.reshape(num_rows, row_length)

    heads = np.where(columns.heads >= 0, columns.heads + offsets, -1)
    return Rows(
        spread(columns.words, NULL),
        spread(columns.tags, NULL),
        spread(heads, -1),
        spread(columns.labels, NULL),
        spread(np.repeat(segment_N, sizes_N), -1),
        row_N.astype(np.int32),
        offset_N.astype(np.int32),
    )


def _make_columns(sentences, vocabulary):
    if not sentences:
        raise ValueError("there are no sentences to make arrays of")
    lengths_N = np.array([len(sentence.forms) for sentence in sentences], np.int32)
    starts_N = np.concatenate([[0], np.cumsum(lengths_N + 1)[:-1]])
    is_root = np.zeros(int(lengths_N.sum()) + len(sentences), bool)
    is_root[starts_N] = True

    def fill(values, at_root):
        column = np.full(len(is_root), at_root, np.int32)
        column[~is_root] = values
        return column

    def chain_field(field, absent):
        """The field's values of all words, with the stand-in ``absent`` in sentences that lack it."""
        return list(chain.from_iterable(getattr(s, field) or (absent,) * len(s.forms) for s in sentences))

    return _Columns(
        fill(vocabulary.word_ids(chain_field("forms", "")), ROOT),
        fill(vocabulary.tag_ids(chain_field("tags", "")), ROOT),
        fill(chain_field("heads", -1), -1),
        fill(vocabulary.label_ids(chain_field("labels", "")), NULL),
        lengths_N,
        starts_N,
    )


def _choose_sizes(sizes_N):
    """The T of each bucket, rising: the division of the sizes with the least padding, by dynamic programming."""
    sizes, counts = np.unique(sizes_N, return_counts=True)
    total = np.concatenate([[0], np.cumsum(counts)])
    # costs[k][j]: the fewest positions for the j smallest sizes in k buckets; cuts: where the last of them begins.
    costs, cuts = [np.where(total == 0, 0.0, np.inf)], []
    for _ in range(min(MAX_BUCKETS, len(sizes))):
        # candidates[j, i]: the sizes i ... j make the last bucket.
        candidates = costs[-1][None, :-1] + (total[1:, None] - total[None, :-1]) * sizes[:, None]
        candidates[np.triu_indices(len(sizes), 1)] = np.inf
        cuts.append(candidates.argmin(1))
        costs.append(np.concatenate([[np.inf], candidates.min(1)]))
    least = [cost[-1] for cost in costs[1:]]
    number = next(k for k, cost in enumerate(least, 1) if cost <= (1 + WORTHWHILE) * min(least))
    chosen, end = [], len(sizes)
    for k in range(number, 0, -1):
        chosen.append(int(sizes[end - 1]))
        end = cuts[k - 1][end - 1]
    return chosen[::-1]
