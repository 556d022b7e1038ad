"""Beam search: against all translations, and against a search written out in Python; greedy; ties; what is refused."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.beam_search import search
from models.translator import Translator

END, V, T, B = 0, 4, 4, 12
NUM_PREFIXES = sum(V**length for length in range(T))
SENTENCES_B = np.arange(B)


def child(prefix, token):
    """The number of a prefix that is one token longer: prefixes of tokens 0 ... V - 1 are the nodes of a V-ary tree."""
    return prefix * V + token + 1


def table_translator(vocab_size=V, when_advanced=lambda: None):
    """A translator whose variables are its logits [sentences, prefixes, V]; tokens from V on are impossible."""

    def encode(variables, source_BS, source_length_B, max_length):
        return {"sentence": source_BS[:, 0], "prefix": jnp.full(source_BS.shape[0], -1)}

    def advance(table, cache, tokens_B):
        when_advanced()
        prefix_B = jnp.where(cache["prefix"] < 0, 0, child(cache["prefix"], tokens_B))
        logits_BV = (
            jnp.full((tokens_B.shape[0], vocab_size), -jnp.inf).at[:, :V].set(table[cache["sentence"], prefix_B])
        )
        return logits_BV, cache | {"prefix": prefix_B}

    return Translator(None, None, None, encode, advance)


TRANSLATOR = table_translator()


def random_table():
    """Logits of B sentences; the end token is likely in some of them, and almost impossible in others."""
    rng = np.random.default_rng(0)
    table = rng.normal(scale=1.5, size=(B, NUM_PREFIXES, V))
    table[:, :, END] += np.linspace(-9, 2, B)[:, None]
    return table.astype(np.float32)


TABLE = random_table()


def translate(table, translator=TRANSLATOR, sentences_B=SENTENCES_B, **options):
    sentences_B = np.asarray(sentences_B)
    options = {"end": END, "max_length": T} | options
    result = search(translator, jnp.asarray(table), sentences_B[:, None], np.ones_like(sentences_B), **options)
    return jax.tree.map(np.asarray, result)


def log_probabilities(table):
    table = np.asarray(table, np.float64)
    return table - np.log(np.exp(table).sum(-1, keepdims=True))


def slow_search(log_p, beam_size, a, end=END):
    """(tokens without the end, score) that a search of all T steps finds for one sentence, log_p [prefixes, V]."""
    live, ended = [(0.0, 0, ())], []
    for length in range(1, T + 1):
        longer = [
            (log_p_before + log_p[prefix, token], child(prefix, token), (*tokens, token))
            for log_p_before, prefix, tokens in live
            for token in range(V)
        ]
        longer = sorted(longer, key=lambda hypothesis: -hypothesis[0])[:beam_size]
        penalty = ((5 + length) / 6) ** a
        ended += [(tokens[:-1], value / penalty) for value, _, tokens in longer if tokens[-1] == end]
        live = [hypothesis for hypothesis in longer if hypothesis[2][-1] != end]
    if ended:
        return max(ended, key=lambda hypothesis: hypothesis[1])
    return live[0][2], live[0][0] / penalty


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 1.0, 3.0])
def test_a_wide_beam_finds_the_best_of_all_translations(length_penalty):
    width = V * (V - 1) ** (T - 1)  # the most hypotheses that a step compares
    result = translate(TABLE, table_translator(width), beam_size=width, length_penalty=length_penalty)
    lengths = set()
    for b, log_p in enumerate(log_probabilities(TABLE)):
        scores = {}
        for length in range(T):
            for words in itertools.product(range(1, V), repeat=length):
                prefix, value = 0, 0.0
                for token in words:
                    value, prefix = value + log_p[prefix, token], child(prefix, token)
                scores[words] = (value + log_p[prefix, END]) / ((5 + length + 1) / 6) ** length_penalty
        best = max(scores, key=scores.get)
        assert tuple(result.tokens_BT[b, : result.lengths_B[b]]) == best
        assert result.scores_B[b] == pytest.approx(scores[best], rel=1e-5)
        lengths.add(len(best))
    assert len(lengths) > 1  # translations of several lengths were compared


@pytest.mark.parametrize("beam_size", [1, 2, 3, 4])
def test_a_search_equals_the_search_written_out(beam_size):
    for length_penalty in (-1.0, 0.0, 1.0):
        result = translate(TABLE, beam_size=beam_size, length_penalty=length_penalty)
        for b, log_p in enumerate(log_probabilities(TABLE)):
            tokens, score = slow_search(log_p, beam_size, length_penalty)
            assert tuple(result.tokens_BT[b, : result.lengths_B[b]]) == tokens
            assert result.scores_B[b] == pytest.approx(score, rel=1e-5)


def test_a_beam_of_one_takes_the_likeliest_token_at_each_step():
    result = translate(TABLE)
    for b in range(B):
        prefix, tokens = 0, []
        while len(tokens) < T and (token := int(TABLE[b, prefix].argmax())) != END:
            prefix = child(prefix, token)
            tokens.append(token)
        assert result.tokens_BT[b].tolist() == tokens + [END] * (T - len(tokens))
        assert result.lengths_B[b] == len(tokens)
    assert {T, 0} < set(result.lengths_B.tolist())  # some sentences have no end, and some are empty


def misleading_table():
    """Token 1 is likelier than token 2, and leads nowhere; token 2 is followed by the end."""
    table = np.full((1, NUM_PREFIXES, V), -30.0, np.float32)
    table[0, 0, [1, 2]] = np.log([0.6, 0.4])
    table[0, child(0, 1)] = 0.0
    table[0, child(0, 2), END] = 0.0
    return table


def test_a_beam_of_two_finds_a_likelier_translation_than_greedy_search():
    narrow, wide = (translate(misleading_table(), sentences_B=[0], beam_size=k, length_penalty=0.0) for k in (1, 2))
    assert narrow.tokens_BT[0].tolist() == [1, END, END, END]
    np.testing.assert_allclose(narrow.scores_B, math.log(0.6 / 4), rtol=1e-5)
    assert wide.tokens_BT[0].tolist() == [2, END, END, END]
    np.testing.assert_allclose(wide.scores_B, math.log(0.4), rtol=1e-5)


def test_the_length_penalty_divides_the_log_probability():
    for a in (0.0, 0.6, 1.0):
        result = translate(misleading_table(), sentences_B=[0], beam_size=2, length_penalty=a)
        np.testing.assert_allclose(result.scores_B, math.log(0.4) / (7 / 6) ** a, rtol=1e-5)


def test_a_larger_length_penalty_prefers_the_longer_translation():
    table = np.full((1, NUM_PREFIXES, V), -30.0, np.float32)
    table[0, 0, [END, 1]] = np.log([0.55, 0.45])
    table[0, child(0, 1), 1] = table[0, child(child(0, 1), 1), END] = 0.0
    # Lengths with the end: 1 and 3. Penalties are equal at log(log .45 / log .55) / log(8 / 6) = 1.005.
    for a, length in ((0.9, 0), (1.1, 2)):
        assert translate(table, sentences_B=[0], beam_size=2, length_penalty=a).lengths_B[0] == length


@pytest.mark.parametrize("beam_size", [1, 3])
def test_sentences_of_a_batch_do_not_influence_each_other(beam_size):
    together = translate(TABLE, beam_size=beam_size)
    for b in range(B):
        alone = translate(TABLE, sentences_B=[b], beam_size=beam_size)
        assert together.tokens_BT[b].tolist() == alone.tokens_BT[0].tolist()
        assert together.lengths_B[b] == alone.lengths_B[0]
        np.testing.assert_allclose(together.scores_B[b], alone.scores_B[0], rtol=1e-6)


@pytest.mark.parametrize("end", [0, 2])
def test_after_the_end_only_the_end_token_stands(end):
    result = translate(TABLE, beam_size=3, end=end)
    after_BT = np.arange(T) >= result.lengths_B[:, None]
    np.testing.assert_array_equal(result.tokens_BT == end, after_BT)
    assert result.tokens_BT.dtype == np.int32
    assert 0 < after_BT.mean() < 1


def test_of_equals_the_lower_token_wins():
    equal = np.zeros((1, NUM_PREFIXES, V), np.float32)
    first = translate(equal, sentences_B=[0], beam_size=2, length_penalty=0.0)
    assert first.lengths_B[0] == 0  # the end token is the lowest
    last = translate(equal, sentences_B=[0], beam_size=2, length_penalty=0.0, end=V - 1)
    assert last.tokens_BT[0].tolist() == [0] * T
    assert last.lengths_B[0] == T
    np.testing.assert_allclose(last.scores_B, T * math.log(1 / V), rtol=1e-6)


def test_the_search_stops_when_nothing_can_be_improved():
    calls = []
    translator = table_translator(when_advanced=lambda: jax.debug.callback(lambda: calls.append(1)))
    table = np.full((B, NUM_PREFIXES, V), -30.0, np.float32)
    table[:, :, END] = 0.0
    for beam_size in (1, 2):
        calls.clear()
        jax.block_until_ready(translate(table, translator, beam_size=beam_size))
        jax.effects_barrier()
        assert len(calls) == 1


def test_a_search_within_a_compiled_function_finds_the_same():
    @jax.jit
    def tokens_and_scores(table):
        options = {"end": END, "max_length": T, "beam_size": 2}
        return search(TRANSLATOR, table, SENTENCES_B[:, None], jnp.ones(B, jnp.int32), **options)

    for within, outside in zip(tokens_and_scores(TABLE), translate(TABLE, beam_size=2), strict=True):
        np.testing.assert_allclose(within, outside, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size=0 must be at least 1"),
        ({"beam_size": V + 1}, "beam_size=5 must not exceed the 4 tokens"),
        ({"max_length": 0}, "max_length=0 must be at least 1"),
    ],
)
def test_impossible_searches_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        translate(TABLE, **options)
    with pytest.raises(ValueError, match=message):
        jax.jit(partial(translate, **options))(TABLE)
