"""What a translator makes of pairs: held against single sentences, formulas, and translators wired by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hand_wired_translators import copying, make_pointer, reversing

import experiments
from experiments.seq2seq_attention import corpus
from experiments.seq2seq_attention.corpus import Corpus, Pairs, chunk, read_corpus
from experiments.seq2seq_attention.evaluation import (
    EVALUATION_BUCKETS,
    exact_matches,
    is_word,
    read_attention,
    sum_batch,
    sum_split,
    translate_pairs,
    words_read,
)
from models import seq2seq
from models.seq2seq import Seq2SeqConfig
from training.config import override

EXPERIMENT = experiments.load("seq2seq_attention")
COPY = {"corpus": "copy", "shortest": 2, "longest": 5, "train_pairs": 8, "validation_pairs": 8, "test_pairs": 11}


class Measured(NamedTuple):
    """A corpus of copies, a tiny translator with random weights, and what it makes of each test pair alone."""

    corpus: Corpus
    translator: object
    variables: object
    logits: list  # [T, V] of each pair, in its own lengths
    weights: list  # [T, S]


def take_alone(pairs, n):
    """A pair as a batch of one without padding."""
    s, t = pairs.source_length[n], pairs.target_length[n]
    return Pairs(pairs.source[n : n + 1, :s], np.array([s]), pairs.target[n : n + 1, :t], np.array([t]))


def draw_variables(translator):
    """Random weights, large enough for rows of attention to be far from uniform; numpy's, so that nothing compiles."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(translator.init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(scale=2.0, size=x.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def measured():
    copies = read_corpus(override(EXPERIMENT.config, COPY))
    translator = seq2seq.translator(Seq2SeqConfig(copies.tokenizer.vocab_size, d_embed=4, d_hidden=4, d_attention=4))
    variables = draw_variables(translator)
    forward, logits, weights = jax.jit(translator.forward), [], []
    for n in range(copies.pairs["test"].number):
        pair = take_alone(copies.pairs["test"], n)
        logits_BTV, weights_BHTS = forward(
            variables, pair.source, pair.source_length, words_read(pair.target, copies.end)
        )
        logits.append(np.asarray(logits_BTV[0], np.float64))
        weights.append(np.asarray(weights_BHTS[0, 0]))
    return Measured(copies, translator, variables, logits, weights)


def cross_entropies(logits_TV, target_T, smoothing=0.0):
    """The cross-entropy [T] of each word with a target of which a share is spread over all words, by its definition."""
    wanted_TV = (1 - smoothing) * np.eye(logits_TV.shape[1])[target_T] + smoothing / logits_TV.shape[1]
    probability_TV = np.exp(logits_TV) / np.exp(logits_TV).sum(1, keepdims=True)
    return -(wanted_TV * np.log(probability_TV)).sum(1)


def sum_alone(measured, smoothing=0.0):
    """(loss, correct, words) of the test set, pair by pair."""
    test, sums = measured.corpus.pairs["test"], np.zeros(3)
    for n, logits_TV in enumerate(measured.logits):
        target_T = test.target[n, : test.target_length[n]]
        losses_T = cross_entropies(logits_TV, target_T, smoothing)
        sums += losses_T.sum(), (logits_TV.argmax(1) == target_T).sum(), len(target_T)
    return sums


def test_a_split_in_chunks_has_the_sums_of_its_pairs_one_by_one(measured, monkeypatch):
    monkeypatch.setattr(corpus, "CHUNK", 3)  # several chunks to a bucket, with filler
    chunks = [bucket.pairs for bucket in chunk(measured.corpus.pairs["test"], 2)]
    assert max(len(pairs.source) for pairs in chunks) > 1
    assert any((pairs.target_length == 0).any() for pairs in chunks)
    sums = jax.jit(lambda chunks: sum_split(measured.translator, measured.corpus.end, measured.variables, chunks))
    np.testing.assert_allclose(sums(chunks), sum_alone(measured), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_of_a_batch_is_the_cross_entropy_with_smoothed_targets(measured, smoothing):
    translator, end = measured.translator, measured.corpus.end
    sums = jax.jit(lambda variables, pairs: sum_batch(translator, end, variables, pairs, smoothing=smoothing))(
        measured.variables, measured.corpus.pairs["test"]
    )
    np.testing.assert_allclose(sums, sum_alone(measured, smoothing), rtol=1e-5)
    if smoothing:
        assert abs(sum_alone(measured, smoothing)[0] - sum_alone(measured)[0]) > 1


def test_a_words_prediction_does_not_read_the_word_itself():
    np.testing.assert_array_equal(words_read(jnp.array([[5, 6, 1], [7, 1, 0]]), 1), [[1, 5, 6], [1, 7, 1]])
    pairs = Pairs(np.zeros((2, 4)), np.ones(2), np.zeros((2, 3)), np.array([3, 1]))
    np.testing.assert_array_equal(is_word(pairs), [[True] * 3, [True, False, False]])


def test_attention_read_in_chunks_is_that_of_each_pair_alone(measured):
    test = measured.corpus.pairs["test"]
    attention = read_attention(measured.translator, measured.corpus.end, measured.variables, test)
    assert attention.weights.shape == (test.number, 1, test.target.shape[1], test.source.shape[1])
    for n, (logits_TV, weights_TS) in enumerate(zip(measured.logits, measured.weights, strict=True)):
        T, S = weights_TS.shape
        np.testing.assert_allclose(attention.weights[n, 0, :T, :S], weights_TS, atol=1e-5)
        assert not attention.weights[n, 0, T:].any()
        assert not attention.weights[n, 0, :, S:].any()
        np.testing.assert_array_equal(attention.correct[n, :T], logits_TV.argmax(1) == test.target[n, :T])
        assert not attention.correct[n, T:].any()
    assert np.concatenate([weights_TS.max(1) for weights_TS in measured.weights]).max() > 0.6


@pytest.fixture(scope="module")
def pointer(measured):
    """A translator that copies by attention, and is never wrong about copies."""
    return make_pointer(copying, measured.corpus.tokenizer.vocab_size)


def test_rows_that_are_replaced_alone_change_what_is_read(measured, pointer):
    test, end = measured.corpus.pairs["test"], measured.corpus.end
    own = read_attention(pointer, end, {}, test)
    np.testing.assert_array_equal(own.correct, is_word(test))
    # The first word of every second pair is replaced by its last, which is another one.
    rows_NTS, is_replaced_NT = np.zeros(own.weights[:, 0].shape, np.float32), np.zeros(own.correct.shape, bool)
    is_replaced_NT[::2, 0] = True
    rows_NTS[np.arange(test.number), 0, test.source_length - 2] = 1
    replaced = read_attention(pointer, end, {}, test, (rows_NTS, is_replaced_NT))
    np.testing.assert_array_equal(replaced.correct, own.correct & ~is_replaced_NT)
    expected = np.where(is_replaced_NT[:, None, :, None], rows_NTS[:, None], own.weights)
    np.testing.assert_array_equal(replaced.weights, expected)


def test_a_translator_without_attention_has_no_maps_and_predicts_all_the_same(measured):
    plain = seq2seq.translator(
        Seq2SeqConfig(measured.corpus.tokenizer.vocab_size, d_embed=4, d_hidden=4, d_attention=4, score="none")
    )
    test = measured.corpus.pairs["test"]
    attention = read_attention(plain, measured.corpus.end, draw_variables(plain), test)
    assert attention.weights.shape[:2] == (test.number, 0)
    assert attention.correct.shape == test.target.shape


def test_of_pairs_longer_than_the_context_predictions_are_kept_and_attention_is_not(measured):
    """Rows of longer pairs are not replaced either; those of others are all the same as without a context."""
    test, end = measured.corpus.pairs["test"], measured.corpus.end
    fits_N = test.fit(4)
    assert 0 < fits_N.sum() < test.number
    whole = read_attention(measured.translator, end, measured.variables, test)
    short = read_attention(measured.translator, end, measured.variables, test, context_length=4)
    np.testing.assert_array_equal(short.correct, whole.correct)
    assert short.weights.shape[2:] == (4, 4)
    np.testing.assert_allclose(short.weights[fits_N], whole.weights[fits_N, :, :4, :4], atol=1e-6)
    assert not short.weights[~fits_N].any()
    uniform = np.full((test.number, 4, 4), 0.25, np.float32), np.ones((test.number, 4), bool)
    replaced = read_attention(measured.translator, end, measured.variables, test, uniform, context_length=4)
    np.testing.assert_array_equal(replaced.correct[~fits_N], whole.correct[~fits_N])
    is_kept_NT = (np.arange(4) < test.target_length[:, None]) & fits_N[:, None]
    assert (replaced.weights[:, 0, :, 0][is_kept_NT] == 0.25).all()


@pytest.mark.parametrize("beam_size", [1, 2])
def test_what_copies_translates_copies_exactly(measured, pointer, beam_size):
    test, end = measured.corpus.pairs["test"], measured.corpus.end
    tokens_NT = translate_pairs(pointer, end, {}, test, beam_size, context_length=4)  # some pairs are longer
    for tokens_T, target_T, length in zip(tokens_NT, test.target, test.target_length, strict=True):
        np.testing.assert_array_equal(tokens_T[:length], target_T[:length])
        assert (tokens_T[length:] == end).all()
    assert exact_matches(tokens_NT, test, end).all()


def test_what_reverses_is_no_copy(measured):
    test, end = measured.corpus.pairs["test"], measured.corpus.end
    tokens_NT = translate_pairs(make_pointer(reversing, measured.corpus.tokenizer.vocab_size), end, {}, test)
    for tokens_T, target_T, length in zip(tokens_NT, test.target, test.target_length, strict=True):
        np.testing.assert_array_equal(tokens_T[: length - 1], target_T[: length - 1][::-1])
    assert not exact_matches(tokens_NT, test, end).any()


def test_a_translation_without_an_end_ends_all_the_same(measured):
    test, end = measured.corpus.pairs["test"], measured.corpus.end
    endless = make_pointer(lambda t, length_B: 0 * length_B, measured.corpus.tokenizer.vocab_size)
    tokens_NT = translate_pairs(endless, end, {}, test)
    assert tokens_NT.shape[1] == 10 + 2 * test.target.shape[1]
    assert (tokens_NT[:, :10] == test.source[:, :1]).all()
    assert not exact_matches(tokens_NT, test, end).any()


def test_a_translation_is_exact_up_to_its_end_however_far_it_is_padded():
    pairs = Pairs(None, None, np.array([[5, 6, 1], [7, 1, 0], [8, 1, 0], [9, 9, 1]]), np.array([3, 2, 2, 3]))
    narrow = np.array([[5, 6], [7, 1], [8, 8], [9, 1]])  # the first has no end, and none more could be written
    assert exact_matches(narrow, pairs, 1).tolist() == [True, True, False, False]
    wide = np.array([[5, 6, 1, 1, 1], [7, 1, 1, 1, 1], [8, 1, 1, 1, 1], [9, 9, 9, 1, 1]])
    assert exact_matches(wide, pairs, 1).tolist() == [True, True, True, False]


def test_seeds_and_replaced_rows_share_the_program_that_reads_attention(measured):
    test, end, traced = measured.corpus.pairs["test"], measured.corpus.end, []

    def forward(*arguments):
        traced.append(arguments)
        return measured.translator.forward(*arguments)

    counted = measured.translator._replace(forward=forward)
    read_attention(counted, end, measured.variables, test)
    programs = len(traced)
    rows_NTS = np.zeros((*test.target.shape, test.source.shape[1]), np.float32)
    replaced = rows_NTS, np.ones(test.target.shape, bool)
    read_attention(counted, end, jax.tree.map(lambda x: -x, measured.variables), test, replaced)
    assert len(traced) == programs == len(chunk(test, EVALUATION_BUCKETS))
