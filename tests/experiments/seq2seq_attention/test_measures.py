"""What is measured of a translator: controls that are wired by hand, whose attention and translations are known."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hand_wired_translators import join_pairs, make_oracle

import experiments
from experiments.seq2seq_attention import measures
from experiments.seq2seq_attention.corpus import Pairs, read_corpus
from experiments.seq2seq_attention.evaluation import is_word, read_attention
from experiments.seq2seq_attention.measures import (
    align_by_hmm,
    choose_drawn,
    choose_map,
    compare_with_aligner,
    measure_attention,
    measure_translator,
    read_translations,
    write_test_set,
)
from probes.alignment import alignment_error_rate, diagonal_links, shift_rows
from training.config import override

EXPERIMENT = experiments.load("seq2seq_attention")
SMALL = {"train_pairs": 8, "validation_pairs": 6, "test_pairs": 12}


@pytest.fixture(scope="module")
def corpus():
    return read_corpus(override(EXPERIMENT.config, SMALL))


@pytest.fixture(scope="module")
def known(corpus):
    """(pairs, links [N, T, S]) of the validation and test set together."""
    pairs = join_pairs(corpus.pairs["validation"], corpus.pairs["test"])
    links_NTS, start = np.zeros((*pairs.target.shape, pairs.source.shape[1]), bool), 0
    for split in ("validation", "test"):
        (n, t, s) = corpus.gold[split].links.shape
        links_NTS[start : start + n, :t, :s] = corpus.gold[split].links
        start += n
    return pairs, links_NTS


def to_weights(pairs, links_NTS):
    """Rows that are divided among their links; those of the end token are the end token's, others zeros."""
    weights_NTS = links_NTS.astype(np.float32)
    n = np.arange(pairs.number)
    weights_NTS[n, pairs.target_length - 1, pairs.source_length - 1] = 1
    return weights_NTS / np.maximum(weights_NTS.sum(-1, keepdims=True), 1)


def uniform_weights(pairs):
    """Rows that are divided among all source words, the end token included."""
    is_source_NS = np.arange(pairs.source.shape[1]) < pairs.source_length[:, None]
    rows_NS = (is_source_NS / pairs.source_length[:, None]).astype(np.float32)
    return np.repeat(rows_NS[:, None], pairs.target.shape[1], axis=1)


@pytest.fixture(scope="module")
def of_gold(corpus, known):
    """What is measured of a translator whose second map is the gold links and whose first is uniform."""
    maps = [uniform_weights(known[0]), to_weights(*known)]
    oracle = make_oracle(maps, known[1], known[0], corpus.tokenizer.vocab_size)
    return measure_translator(SimpleNamespace(beam_size=1), corpus, oracle, {})


@pytest.fixture(scope="module")
def of_uniform(corpus, known):
    oracle = make_oracle([uniform_weights(known[0])], known[1], known[0], corpus.tokenizer.vocab_size)
    return measure_translator(SimpleNamespace(beam_size=1), corpus, oracle, {})


def test_attention_to_the_gold_links_has_no_error_and_its_numbers_are_those_of_the_links(corpus, of_gold):
    gold = corpus.gold["test"]
    assert of_gold["map"] == 1  # that which aligns best
    assert of_gold["alignment_error_rate"] == of_gold["alignment_error_rates"][0] == 0
    assert of_gold["alignment_error_rates"][1] > 0.7
    assert of_gold["largest_sum_error"] < 1e-6
    assert of_gold["padding_weight"] == 0
    for number in (1, 2):
        rows_NT = gold.links.sum(-1) == number
        assert rows_NT.any()
        np.testing.assert_allclose(np.exp(of_gold["row_entropy"][rows_NT]), number, rtol=1e-6)
        np.testing.assert_allclose(of_gold["effective_number"][rows_NT], number, rtol=1e-6)
        np.testing.assert_allclose(of_gold["largest_weight"][rows_NT], 1 / number, rtol=1e-6)


def test_predictions_by_the_gold_links_lose_nothing_with_them_and_all_words_without(corpus, of_gold):
    test = corpus.pairs["test"]
    np.testing.assert_array_equal(of_gold["correct"], is_word(test))
    assert of_gold["accuracy_of_own"] == of_gold["accuracy_of_gold"] == 1
    # Of uniform rows the oracle predicts the end token alone, which has no links.
    assert of_gold["accuracy_of_uniform"] == pytest.approx(test.number / test.target_length.sum())


def test_right_translations_are_exact_and_score_a_hundred(corpus, of_gold):
    assert of_gold["exact"].tolist() == [True] * SMALL["test_pairs"]
    assert of_gold["exact_match"] == 1
    assert of_gold["bleu"] == pytest.approx(100)
    assert of_gold["chrf"] == pytest.approx(100)
    assert "tok:13a" in of_gold["bleu_signature"]
    assert read_translations(corpus, of_gold["translations"]) == ([target for _, target in corpus.text["test"]],) * 2
    files = write_test_set(corpus, of_gold)
    assert files["translations.txt"] == files["references.txt"]
    assert files["sources.txt"].decode().splitlines() == [source for source, _ in corpus.text["test"]]


def test_uniform_attention_aligns_worse_than_the_diagonal_and_its_rows_are_all_words(corpus, of_uniform):
    test, gold = corpus.pairs["test"], corpus.gold["test"]
    is_word_NT = np.asarray(is_word(test))
    words_NT = np.broadcast_to(test.source_length[:, None], is_word_NT.shape)[is_word_NT]
    np.testing.assert_allclose(np.exp(of_uniform["row_entropy"][is_word_NT]), words_NT, rtol=1e-5)
    np.testing.assert_allclose(of_uniform["largest_weight"][is_word_NT], 1 / words_NT, rtol=1e-5)
    T, S = gold.links.shape[1:]
    diagonal = diagonal_links(test.source_length - 1, test.target_length - 1, S, T)
    assert of_uniform["diagonal_error_rate"] == alignment_error_rate(diagonal, gold.links)
    assert of_uniform["alignment_error_rate"] > of_uniform["diagonal_error_rate"] > 0.4
    lost = of_uniform["correct"].sum() / test.target_length.sum() - of_uniform["accuracy_of_uniform"]
    assert lost == pytest.approx(0)


def measure_maps(corpus, known, *maps):
    """What `measure_attention` makes of a translator with these maps."""
    oracle = make_oracle(maps, known[1], known[0], corpus.tokenizer.vocab_size)
    reading = read_attention(oracle, corpus.end, {}, corpus.pairs["test"], context_length=corpus.context_length)
    return measure_attention(corpus, oracle, {}, reading)


def test_attention_one_step_late_is_found_at_the_other_shift(corpus, known):
    pairs, links_NTS = known
    late_NTS = shift_rows(to_weights(pairs, links_NTS), -1)  # step t attends to what word t - 1 comes from
    late_NTS[:, 0, 0] = 1
    measured = measure_maps(corpus, known, late_NTS)
    assert measured["alignment_error_rate"] == measured["alignment_error_rates"][1] == 0
    assert measured["alignment_error_rates"][0] > 0.7


def test_rows_that_do_not_sum_to_one_and_weight_on_padding_are_seen_in_whichever_map(corpus, known):
    pairs, links_NTS = known
    wrong_NTS = uniform_weights(pairs)
    wrong_NTS[-1, 0] *= 1.25
    is_padding_NS = np.arange(pairs.source.shape[1]) >= pairs.source_length[:, None]
    wrong_NTS[:, 1] = np.where(is_padding_NS, 0.125, wrong_NTS[:, 1])
    measured = measure_maps(corpus, known, wrong_NTS, to_weights(pairs, links_NTS))
    assert measured["map"] == 1
    assert measured["padding_weight"] == 0.125
    assert measured["largest_sum_error"] >= 0.25 - 1e-6


def test_the_map_is_chosen_on_validation_pairs_alone(corpus, known):
    pairs, links_NTS = known
    gold_NTS, uniform_NTS = to_weights(pairs, links_NTS), uniform_weights(pairs)
    is_validation_N11 = (np.arange(pairs.number) < SMALL["validation_pairs"])[:, None, None]
    maps = [np.where(is_validation_N11, uniform_NTS, gold_NTS), np.where(is_validation_N11, gold_NTS, uniform_NTS)]
    oracle = make_oracle(maps, links_NTS, pairs, corpus.tokenizer.vocab_size)
    assert choose_map(corpus, oracle, {}, 2) == 1


def test_a_translation_is_read_up_to_its_end_and_whole_where_it_has_none(corpus):
    a, b = corpus.tokenizer.encode(" ".join(corpus.text["test"][0][0].split()[:2])).tolist()
    first, second = (corpus.tokenizer.piece(id) for id in (a, b))
    outputs, _ = read_translations(corpus, np.array([[a, b, a], [b, corpus.end, a], [corpus.end] * 3] * 4))
    assert outputs == [f"{first} {second} {first}", second, ""] * 4


def stub_corpus(lengths, kinds=None):
    """The part of a corpus that says which pairs are drawn; one of length 0 is empty."""
    test = Pairs(np.zeros((len(lengths), 1)), np.array(lengths) + 1, None, np.array(lengths))
    gold = {} if kinds is None else {"test": SimpleNamespace(kinds=np.array(kinds))}
    return SimpleNamespace(alignable={"test": test}, gold=gold)


def test_pairs_of_middle_length_with_most_kinds_of_words_are_drawn():
    lengths = [5, 6, 7, 14, 15, 8, 9]
    kinds = [[0, 1, 2, 3], [0, 0, -1, -1], [0, 1, -1, -1], [0, 2, 3, -1], [0, 1, 2, 3], [1, 0, 1, 0], [2, 2, 2, 2]]
    assert choose_drawn(stub_corpus(lengths, kinds)).tolist() == [3, 2, 5, 1]
    assert choose_drawn(stub_corpus(lengths)).tolist() == [1, 2, 3, 5]  # of real text kinds are not known
    assert choose_drawn(stub_corpus([20, 0, 3, 8])).tolist() == [3, 0, 2]


def test_drawn_weights_are_those_of_the_drawn_pairs(corpus, known, of_gold):
    test_NTS = to_weights(*known)[SMALL["validation_pairs"] :]
    drawn_NTS = of_gold["drawn_weights"]
    assert len(of_gold["drawn_pairs"]) == len(drawn_NTS) == 4
    _, T, S = drawn_NTS.shape
    np.testing.assert_array_equal(drawn_NTS, test_NTS[of_gold["drawn_pairs"], :T, :S])


WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
TRANSLATIONS = dict(zip(WORDS, ["un", "deux", "trois", "quatre", "cinq", "sis", "sept", "huit"], strict=True))


@pytest.fixture(scope="module")
def reversed_text(tmp_path_factory):
    """A corpus of files, whose target words are those of the source from the last to the first."""
    folder, rng = tmp_path_factory.mktemp("reversed"), np.random.default_rng(0)
    for split, size in (("train", 300), ("val", 10), ("test", 20)):
        sources = [rng.permutation(WORDS)[: rng.integers(3, 7)].tolist() for _ in range(size)]
        targets = [[TRANSLATIONS[word] for word in source[::-1]] for source in sources]
        for side, lines in (("source", sources), ("target", targets)):
            (folder / f"{split}.{side}").write_text("".join(f"{' '.join(line)}\n" for line in lines))
    files = {"source": str(folder / "train.source"), "target": str(folder / "train.target")}
    return read_corpus(override(EXPERIMENT.config, SMALL | files | {"vocab_size": 80}))


def test_the_aligner_finds_that_words_are_reversed_and_attention_agrees_if_it_does_too(reversed_text):
    test = reversed_text.pairs["test"]
    assert (test.source_length[:5] - 1).tolist() == [len(s.split()) for s, _ in reversed_text.text["test"][:5]]
    mirror_NTS = np.zeros((*test.target.shape, test.source.shape[1]), np.float32)
    for n, length in enumerate(test.source_length - 1):
        mirror_NTS[n, np.arange(length), np.arange(length)[::-1]] = 1
    links_NTS = align_by_hmm(reversed_text, "test")
    assert (links_NTS & (mirror_NTS > 0)).sum() / mirror_NTS.sum() > 0.95
    measured = compare_with_aligner(reversed_text, mirror_NTS)
    assert measured["aligner_agreement"] > 0.95
    assert measured["diagonal_agreement"] < 0.4
    uniform_NTS = uniform_weights(test)
    assert compare_with_aligner(reversed_text, uniform_NTS)["aligner_agreement"] < 0.4
    late_NTS = shift_rows(mirror_NTS, -1)  # step t attends to what word t - 1 comes from
    late = compare_with_aligner(reversed_text, late_NTS)
    assert late["aligner_agreement"] == late["aligner_agreements"][1] > 0.95
    assert late["aligner_agreements"][0] < 0.4


def test_of_real_text_the_map_is_that_which_agrees_with_the_aligner(reversed_text):
    pairs = join_pairs(reversed_text.pairs["validation"], reversed_text.pairs["test"])
    links_NTS = np.zeros((*pairs.target.shape, pairs.source.shape[1]), bool)
    for n, length in enumerate(pairs.source_length - 1):
        links_NTS[n, np.arange(length), np.arange(length)[::-1]] = True
    maps = [uniform_weights(pairs), to_weights(pairs, links_NTS), uniform_weights(pairs)]
    measured = measure_maps(reversed_text, (pairs, links_NTS), *maps)
    assert measured["map"] == 1
    assert measured["aligner_agreement"] > 0.95
    assert "alignment_error_rate" not in measured


def test_where_the_aligner_links_nothing_agreement_has_no_value(reversed_text):
    known = reversed_text.pairs["test"]
    length = known.target_length[:1]
    unknown = np.array([[0] * (length[0] - 1) + [reversed_text.end]])
    test = Pairs(unknown, length, known.target[:1], length)
    corpus = replace(reversed_text, alignable=reversed_text.alignable | {"test": test})
    assert not align_by_hmm(corpus, "test").any()
    measured = compare_with_aligner(corpus, uniform_weights(test))
    assert np.isnan([measured["aligner_agreement"], measured["diagonal_agreement"]]).all()


def test_pairs_longer_than_the_context_change_nothing_that_is_measured_of_the_attention_to_others(corpus, known):
    """The first map is uniform for pairs that fit, the gold links for longer ones; the second the other way round."""
    pairs, links_NTS = known
    short = read_corpus(override(EXPERIMENT.config, SMALL | {"train_pairs": 40, "context_length": 14}))
    fits_N, test = pairs.fit(14), short.alignable["test"]
    gold_NTS, uniform_NTS = to_weights(pairs, links_NTS), uniform_weights(pairs)
    for split, number in short.facts["too_long_to_align"].items():
        assert 0 < number < SMALL[f"{split}_pairs"]
    maps = [np.where(is_gold_N[:, None, None], gold_NTS, uniform_NTS) for is_gold_N in (~fits_N, fits_N)]
    oracle = make_oracle(maps, links_NTS, pairs, corpus.tokenizer.vocab_size)
    measured = measure_translator(SimpleNamespace(beam_size=1), short, oracle, {})
    assert measured["map"] == 1
    assert measured["alignment_error_rate"] == 0
    assert measured["row_entropy"].shape == test.target.shape
    assert measured["correct"].shape == short.pairs["test"].target.shape
    assert measured["largest_sum_error"] < 1e-6
    assert (test.target_length[measured["drawn_pairs"]] > 0).all()
    assert measured["exact"].all()  # longer ones are translated, too
    # Of longer pairs the oracle predicts the end token alone.
    fits_N, length_N = fits_N[SMALL["validation_pairs"] :], short.pairs["test"].target_length
    right = length_N[fits_N].sum() + (~fits_N).sum()
    assert measured["test_accuracy"] == pytest.approx(right / length_N.sum())
    assert measured["accuracy_of_own"] == measured["accuracy_of_gold"] == 1
    assert measured["accuracy_of_uniform"] == pytest.approx(fits_N.sum() / length_N[fits_N].sum())


def test_of_real_text_longer_pairs_have_no_links_and_change_no_agreement(reversed_text):
    short = replace(reversed_text, alignable={"test": keep_short(reversed_text.pairs["test"], 4)})
    links_NTS = align_by_hmm(short, "test")
    is_empty_N = short.alignable["test"].target_length == 0
    assert 0 < is_empty_N.sum() < len(is_empty_N)
    assert not links_NTS[is_empty_N].any()
    T, S = links_NTS.shape[1:]
    np.testing.assert_array_equal(links_NTS[~is_empty_N], align_by_hmm(reversed_text, "test")[~is_empty_N, :T, :S])
    assert compare_with_aligner(short, links_NTS.astype(float))["aligner_agreements"][0] == 1


def keep_short(pairs, longest):
    """The pairs with those of more tokens made empty, and not cut."""
    fits_N = pairs.fit(longest)
    return pairs._replace(
        source_length=np.where(fits_N, pairs.source_length, 1), target_length=np.where(fits_N, pairs.target_length, 0)
    )


def test_the_score_is_printed_with_its_signature(corpus, known, capsys):
    oracle = make_oracle([uniform_weights(known[0])], known[1], known[0], corpus.tokenizer.vocab_size)
    measure_translator(SimpleNamespace(beam_size=1), corpus, oracle, {})
    line = capsys.readouterr().err
    assert re.fullmatch(r"BLEU 100\.0 \(nrefs:1\|\S+tok:13a\S+\), chrF 100\.0 \(nrefs:1\|\S+nc:6\S+\)\n", line)


def test_the_aligner_learns_from_the_first_training_pairs_alone(reversed_text, monkeypatch):
    monkeypatch.setattr(measures, "ALIGNER_PAIRS", 30)
    few = Pairs(*(x[:30] for x in reversed_text.pairs["train"]))
    first = measures.train_aligner(replace(reversed_text))  # a copy, so that none that is kept is given
    second = measures.train_aligner(replace(reversed_text, pairs={"train": few}))
    np.testing.assert_array_equal(first.table.probabilities_U, second.table.probabilities_U)
