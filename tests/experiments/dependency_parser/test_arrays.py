"""Arrays of sentences: nothing is lost in buckets and rows, and their padding is as small as can be."""

import itertools

import numpy as np
import pytest

from data.treebanks import Sentence
from experiments.dependency_parser import arrays
from experiments.dependency_parser.arrays import bucket_segments, join_buckets, make_buckets, make_split, pack_rows
from experiments.dependency_parser.vocabulary import ROOT, build_vocabulary


def chain(length, number=0):
    """A sentence each of whose words depends on the one before it."""
    forms = tuple(f"w{(number + i) % 7}" for i in range(length))
    tags = tuple("NV"[i % 2] for i in range(length))
    return Sentence(forms, tags, tuple(range(length)), ("root", *("x",) * (length - 1)))


LENGTHS = [1, 300, 7, 8, 15, 16, 2, 2, 30, 40, 7, 1, 1, 1, 99, 12] + [5, 9, 13, 21] * 9
SENTENCES = [chain(length, number) for number, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def vocabulary():
    return build_vocabulary(SENTENCES)


@pytest.fixture(scope="module")
def buckets(vocabulary):
    return make_buckets(SENTENCES, vocabulary)


def test_each_sentence_is_in_one_bucket(buckets):
    assert sorted(np.concatenate([bucket.rows_N for bucket in buckets])) == list(range(len(SENTENCES)))
    assert 1 < len(buckets) <= arrays.MAX_BUCKETS
    for bucket in buckets:
        assert bucket.words_NT.shape[1] % 8 == 0
        assert 0 < bucket.words_NT.shape[1] - (bucket.lengths_N.max() + 1) < 8 or bucket.lengths_N.max() % 8 == 7
        assert (np.diff(bucket.rows_N) > 0).all()
        assert {array.dtype for array in bucket} == {np.dtype("int32")}


def test_buckets_hold_the_sentences(buckets, vocabulary):
    for bucket in buckets:
        for n, row in enumerate(bucket.rows_N):
            sentence, length = SENTENCES[row], bucket.lengths_N[n]
            assert length == len(sentence.forms)
            inside = slice(1, length + 1)
            assert (bucket.words_NT[n, inside] == vocabulary.word_ids(sentence.forms)).all()
            assert (bucket.tags_NT[n, inside] == vocabulary.tag_ids(sentence.tags)).all()
            assert tuple(bucket.heads_NT[n, inside]) == sentence.heads
            assert (bucket.labels_NT[n, inside] == vocabulary.label_ids(sentence.labels)).all()
            assert (bucket.words_NT[n, 0], bucket.tags_NT[n, 0]) == (ROOT, ROOT)
            assert (bucket.heads_NT[n, 0], bucket.labels_NT[n, 0]) == (-1, 0)
            assert not bucket.words_NT[n, length + 1 :].any()
            assert not bucket.tags_NT[n, length + 1 :].any()
            assert not bucket.labels_NT[n, length + 1 :].any()
            assert (bucket.heads_NT[n, length + 1 :] == -1).all()


def test_sentences_without_trees_have_no_heads(vocabulary):
    (bucket,) = make_buckets([Sentence(("w1", "new"), (), (), ())], vocabulary)
    assert (bucket.heads_NT == -1).all()
    assert not bucket.labels_NT.any()
    assert bucket.lengths_N.tolist() == [2]
    assert (bucket.tags_NT[0, :4] == [ROOT, 2, 2, 0]).all()


def test_joined_buckets_are_in_the_order_of_the_split(buckets):
    joined = join_buckets(buckets, [bucket.heads_NT for bucket in buckets])
    assert joined.shape == (len(SENTENCES), max(bucket.words_NT.shape[1] for bucket in buckets))
    for row, sentence in zip(joined, SENTENCES, strict=True):
        assert tuple(row[1 : len(sentence.heads) + 1]) == sentence.heads
        assert (row[len(sentence.heads) + 1 :] == -1).all()
    vectors = join_buckets(buckets, [np.repeat(bucket.words_NT[..., None], 3, 2) / 2 for bucket in buckets])
    assert vectors.shape == (*joined.shape, 3)
    assert vectors.dtype == np.float64


@pytest.mark.parametrize("seed", range(6))
def test_boundaries_leave_the_least_padding_of_all(seed, monkeypatch):
    monkeypatch.setattr(arrays, "WORTHWHILE", 0.0)
    monkeypatch.setattr(arrays, "MAX_BUCKETS", 3)
    sizes_N = 8 * np.random.default_rng(seed).integers(1, 9, 30) ** (1 + seed % 2)
    sizes = sorted({*sizes_N.tolist()})

    def cost(chosen):
        return sum(min(size for size in chosen if size >= own) for own in sizes_N)

    divisions = [
        (*some, sizes[-1])
        for count in range(3)
        for some in itertools.combinations(sizes[:-1], min(count, len(sizes) - 1))
    ]
    chosen = arrays._choose_sizes(sizes_N)
    assert chosen == sorted(chosen)
    assert cost(chosen) == min(map(cost, divisions))


def test_buckets_that_save_little_are_not_made():
    assert arrays._choose_sizes(np.array([8, 64, 64, 64, 64])) == [64] or arrays.WORTHWHILE < 56 / 264
    assert arrays._choose_sizes(np.array([56] + [64] * 99)) == [64]
    assert arrays._choose_sizes(np.array([8] * 50 + [64] * 50)) == [8, 64]
    assert arrays._choose_sizes(np.array([16])) == [16]


def test_rows_hold_whole_sentences(vocabulary):
    rows = pack_rows(SENTENCES, vocabulary)
    assert rows.words_MT.shape[1] == 304  # 300 words and ROOT
    found = []
    for m in range(len(rows.words_MT)):
        segments = rows.segments_MT[m]
        num_used = int((segments >= 0).sum())
        assert (np.diff(segments[:num_used]) >= 0).all()  # side by side, in order, then padding
        assert (segments[num_used:] == -1).all()
        assert (rows.heads_MT[m, num_used:] == -1).all()
        assert not rows.words_MT[m, num_used:].any()
        for segment in range(segments.max() + 1):
            (places,) = np.nonzero(segments == segment)
            start = places[0]
            assert (rows.words_MT[m, start], rows.tags_MT[m, start], rows.heads_MT[m, start]) == (ROOT, ROOT, -1)
            inside = places[1:]
            fields = (rows.words_MT, rows.tags_MT, rows.heads_MT - start, rows.labels_MT)
            found.append(tuple(tuple(field[m, inside].tolist()) for field in fields))
    wanted = [
        (
            tuple(vocabulary.word_ids(s.forms).tolist()),
            tuple(vocabulary.tag_ids(s.tags).tolist()),
            s.heads,
            tuple(vocabulary.label_ids(s.labels).tolist()),
        )
        for s in SENTENCES
    ]
    assert sorted(found) == sorted(wanted)
    assert (rows.words_MT == 0).mean() < 0.2


def test_first_fit_decreasing_fills_rows(vocabulary):
    rows = pack_rows([chain(n) for n in (3, 31, 7, 15, 3)], vocabulary, row_length=32)
    assert (rows.segments_MT.max(1) + 1).tolist() == [1, 4]  # 32; 16 + 8 + 4 + 4
    assert (rows.segments_MT >= 0).all()
    assert pack_rows([chain(3)], vocabulary).words_MT.shape == (1, arrays.SHORTEST_ROW)


def test_rows_say_where_each_sentence_is(vocabulary):
    rows = pack_rows(SENTENCES, vocabulary)
    for sentence, row, start in zip(SENTENCES, rows.row_N, rows.start_N, strict=True):
        inside = slice(start + 1, start + 1 + len(sentence.forms))
        assert tuple(rows.heads_MT[row, inside] - start) == sentence.heads
        assert rows.words_MT[row, start] == ROOT
        assert len(set(rows.segments_MT[row, start : inside.stop])) == 1
    assert len({*zip(rows.row_N, rows.start_N, strict=True)}) == len(SENTENCES)


def test_a_split_has_its_trees_in_its_own_order(vocabulary, buckets):
    split = make_split(SENTENCES, vocabulary)
    assert split.lengths_N.tolist() == LENGTHS
    assert split.lengths_N.dtype == np.int32
    for n, sentence in enumerate(SENTENCES):
        size = len(sentence.heads) + 1
        assert tuple(split.heads_NT[n, 1:size]) == sentence.heads
        assert split.labels_NT[n, 1:size].tolist() == vocabulary.label_ids(sentence.labels).tolist()
        assert split.heads_NT[n, 0] == -1
        assert (split.heads_NT[n, size:] == -1).all()
    for ours, theirs in ((split.rows, pack_rows(SENTENCES, vocabulary)), *zip(split.buckets, buckets, strict=True)):
        for array, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(array, other)


def test_a_split_without_trees_has_no_heads(vocabulary):
    split = make_split([Sentence(("w1", "new"), (), (), ()), Sentence(("w2",), (), (), ())], vocabulary)
    assert (split.heads_NT == -1).all()
    assert split.lengths_N.tolist() == [2, 1]
    with pytest.raises(ValueError, match="there are no sentences"):
        make_split([], vocabulary)


def test_the_segments_of_a_bucket_are_its_sentences_with_their_roots(buckets):
    assert bucket_segments(np.array([0, 1, 3]), 4).tolist() == [[0, -1, -1, -1], [0, 0, -1, -1], [0, 0, 0, 0]]
    for bucket in buckets:
        is_there = np.asarray(bucket_segments(bucket.lengths_N, bucket.words_NT.shape[1])) == 0
        np.testing.assert_array_equal(is_there, bucket.words_NT > 0)


def test_what_cannot_be_an_array_is_refused(vocabulary):
    with pytest.raises(ValueError, match="row_length=32 must hold the longest sentence with its ROOT, 33 positions"):
        pack_rows([chain(32)], vocabulary, row_length=32)
    for make in (pack_rows, make_buckets):
        with pytest.raises(ValueError, match="there are no sentences"):
            make([], vocabulary)
