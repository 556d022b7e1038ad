"""What is measured of a trained translator on the test set: its attention against known links, and its translations.

Attention is measured on the test pairs that fit the context, ``Corpus.alignable``.

Axes: N pairs, H attention maps, T target time, S source time, P pairs whose attention is drawn. T and S are of the
alignable pairs, but in predictions and translations.
"""

from functools import lru_cache

import numpy as np

from experiments.seq2seq_attention import translation_scores
from experiments.seq2seq_attention.evaluation import exact_matches, is_word, read_attention, translate_pairs
from probes.alignment import (
    agreement,
    alignment_error_rate,
    better_shift,
    diagonal_links,
    effective_number,
    largest_weight,
    padded_links,
    row_entropy,
    shift_rows,
)
from probes.word_aligners import align, train_hmm, train_ibm1
from training.progress import say

DRAWN_LENGTHS = (6, 14)  # source words of the sentences whose attention is drawn
NUM_DRAWN = 4
ALIGNER_PAIRS = 50_000  # training pairs that the aligner learns from, at most: it holds all their word pairs in memory


def measure_translator(config, corpus, translator, variables):
    """{name: array} of one seed's variables: what claims and figures read.

    correct:       bool [N, T], predictions of the test set's words, those before each known
    test_accuracy: share of these that are right, the end token included
    translations:  int [N, T], the translator's own
    exact:         bool [N], which of these are the reference to the last word
    exact_match:   share of these
    bleu, chrf, and their signatures
    and where there is attention, `measure_attention`
    """
    test, context_length = corpus.pairs["test"], corpus.context_length
    reading = read_attention(translator, corpus.end, variables, test, context_length=context_length)
    translations_NT = translate_pairs(translator, corpus.end, variables, test, config.beam_size, context_length)
    exact_N = exact_matches(translations_NT, test, corpus.end)
    scores = translation_scores.score(*read_translations(corpus, translations_NT))
    say(f"BLEU {scores.bleu:.1f} ({scores.bleu_signature}), chrF {scores.chrf:.1f} ({scores.chrf_signature})")
    measured = {
        "correct": reading.correct,
        "test_accuracy": reading.correct.sum() / test.target_length.sum(),
        "translations": translations_NT,
        "exact": exact_N,
        "exact_match": exact_N.mean(),
        **scores._asdict(),
    }
    if reading.weights.shape[1]:
        measured |= measure_attention(corpus, translator, variables, reading)
    return measured


def read_translations(corpus, translations_NT):
    """(translations, references) of the test set as text."""
    lengths_N = (translations_NT == corpus.end).argmax(1)
    lengths_N[(translations_NT != corpus.end).all(1)] = translations_NT.shape[1]
    outputs = [corpus.tokenizer.decode(ids[:length]) for ids, length in zip(translations_NT, lengths_N, strict=True)]
    return outputs, [target for _, target in corpus.text["test"]]


def write_test_set(corpus, examined):
    """{file name: bytes}: the test set's sources, references and translations, line by line."""
    outputs, references = read_translations(corpus, np.asarray(examined["translations"]))
    return translation_scores.write_translations([source for source, _ in corpus.text["test"]], references, outputs)


def measure_attention(corpus, translator, variables, reading):
    """{name: array} of the attention to the test set's sources, of the map that aligns best on the validation set.

    largest_sum_error:  greatest difference from 1 of a row's sum, over all maps
    padding_weight:     greatest weight of a padded source position, over all maps
    row_entropy, effective_number, largest_weight: [N, T], of each row
    drawn_pairs, drawn_weights:  [P], and [P, T, S] of these pairs
    map:                which of the maps
    and `compare_with_gold` or, of real text, `compare_with_aligner`
    """
    test = corpus.alignable["test"]
    is_word_NT = np.asarray(is_word(test))
    is_padding_NS = np.arange(test.source.shape[1]) >= test.source_length[:, None]
    sums_NHT = reading.weights.sum(-1, dtype=np.float64)
    number = choose_map(corpus, translator, variables, reading.weights.shape[1])
    weights_NTS = reading.weights[:, number]
    drawn_P = choose_drawn(corpus)
    measured = {
        "largest_sum_error": np.abs(np.where(is_word_NT[:, None], sums_NHT - 1, 0)).max(),
        "padding_weight": np.where(is_padding_NS[:, None, None], reading.weights, 0).max(),
        "row_entropy": row_entropy(weights_NTS).astype(np.float32),
        "effective_number": effective_number(weights_NTS).astype(np.float32),
        "largest_weight": largest_weight(weights_NTS).astype(np.float32),
        "drawn_pairs": drawn_P,
        "drawn_weights": weights_NTS[drawn_P],
        "map": number,
    }
    if corpus.gold:
        return measured | compare_with_gold(corpus, translator, variables, weights_NTS, reading.correct)
    return measured | compare_with_aligner(corpus, weights_NTS)


def choose_map(corpus, translator, variables, num_maps):
    """The map with the least alignment error on the validation set, or on real text the most agreement with the HMM."""
    if num_maps == 1:
        return 0
    validation = corpus.pairs["validation"]
    reading = read_attention(translator, corpus.end, variables, validation, context_length=corpus.context_length)
    weights_NHTS = reading.weights
    if corpus.gold:
        gold = corpus.gold["validation"]
        errors = [
            min(better_shift(weights_NHTS[:, h], gold.links, is_scored=gold.kinds >= 0).error_rates)
            for h in range(num_maps)
        ]
        return int(np.argmin(errors))
    links_NTS = align_by_hmm(corpus, "validation")
    return int(np.argmax([max(agree_at_shifts(weights_NHTS[:, h], links_NTS)) for h in range(num_maps)]))


def choose_drawn(corpus):
    """Which test pairs are drawn [P]: of middle length, those with words of the most kinds first."""
    test = corpus.alignable["test"]
    shortest, longest = DRAWN_LENGTHS
    words_N = test.source_length - 1
    fits_N = (words_N >= shortest) & (words_N <= longest)
    kinds_N = np.zeros(test.number)
    if corpus.gold:
        kinds_NT = corpus.gold["test"].kinds
        kinds_N = sum((kinds_NT == kind).any(1) for kind in np.unique(kinds_NT[kinds_NT >= 0]))
    order = np.lexsort((np.arange(test.number), -kinds_N, ~fits_N))
    return order[test.target_length[order] > 0][:NUM_DRAWN]


def compare_with_gold(corpus, translator, variables, weights_NTS, correct_NT):
    """{name: number} of attention to sources of which it is known what each target word depends on.

    alignment_error_rate:     at the better shift
    alignment_error_rates:    [2], at shift 0, where a step attends to what it predicts, and 1, to the word just read
    diagonal_error_rate:      of the diagonal
    accuracy_of_own, accuracy_of_uniform, accuracy_of_gold: share of right predictions in the alignable pairs, with the
                              rows as they are, uniform, or divided among the links

    Args:
      correct_NT: the predictions that are right with the rows as they are.
    """
    test, gold = corpus.alignable["test"], corpus.gold["test"]
    (N, S), T = test.source.shape, test.target.shape[1]
    is_scored_NT, is_word_NT = gold.kinds >= 0, np.asarray(is_word(test))

    def accuracy(correct_NT):
        return (correct_NT[:, :T] & is_word_NT).sum() / is_word_NT.sum()

    error_rates = better_shift(weights_NTS, gold.links, is_scored=is_scored_NT).error_rates
    # The end token, which both sentences have, is no word to be aligned.
    diagonal_NTS = diagonal_links(test.source_length - 1, test.target_length - 1, S, T)
    is_source_NS = np.arange(S) < test.source_length[:, None]
    uniform_NTS = np.broadcast_to((is_source_NS / test.source_length[:, None])[:, None], (N, T, S))
    gold_NTS = gold.links / np.maximum(gold.links.sum(-1, keepdims=True), 1)
    accuracies = {"accuracy_of_own": accuracy(correct_NT)}
    for name, rows_NTS, is_replaced_NT in (
        ("uniform", uniform_NTS, is_word_NT),
        ("gold", gold_NTS, is_scored_NT),
    ):
        replaced = rows_NTS.astype(np.float32), is_replaced_NT
        reading = read_attention(
            translator, corpus.end, variables, corpus.pairs["test"], replaced, corpus.context_length
        )
        accuracies[f"accuracy_of_{name}"] = accuracy(reading.correct)
    return accuracies | {
        "alignment_error_rate": min(error_rates),
        "alignment_error_rates": np.array(error_rates),
        "diagonal_error_rate": alignment_error_rate(diagonal_NTS, gold.links, is_scored=is_scored_NT),
    }


def compare_with_aligner(corpus, weights_NTS):
    """{name: number}: share of the target's tokens at which attention, and the diagonal, agree with the HMM aligner.

    aligner_agreement:  at the better shift
    aligner_agreements: [2], at shift 0, where a step attends to what it predicts, and 1, to the word just read
    diagonal_agreement: of the diagonal
    """
    test = corpus.alignable["test"]
    links_NTS = align_by_hmm(corpus, "test")
    T, S = weights_NTS.shape[1:]
    diagonal_NTS = diagonal_links(test.source_length - 1, test.target_length - 1, S, T)
    agreements = agree_at_shifts(weights_NTS, links_NTS)
    return {
        "aligner_agreement": max(agreements),
        "aligner_agreements": np.array(agreements),
        "diagonal_agreement": agree(diagonal_NTS, links_NTS),
    }


def agree_at_shifts(weights_NTS, links_NTS):
    """The agreement at shifts 0 and 1, on the same rows: those whose own step and whose next step have weights."""
    shifted = [shift_rows(weights_NTS, shift) for shift in (0, 1)]
    has_both_NT = shifted[0].any(-1) & shifted[1].any(-1)
    return [agree(rows_NTS, links_NTS & has_both_NT[..., None]) for rows_NTS in shifted]


def agree(weights_NTS, links_NTS):
    """Their agreement; NaN where the aligner links nothing, as it may in a few sentences of words never trained on."""
    return agreement(weights_NTS, links_NTS) if links_NTS.any() else np.nan


@lru_cache(maxsize=2)
def train_aligner(corpus):
    """The HMM aligner of a corpus's training pairs, the first ALIGNER_PAIRS of them, in tokens without the end."""
    source, target = (side[:ALIGNER_PAIRS] for side in _sentences(corpus.pairs["train"]))
    return train_hmm(source, target, train_ibm1(source, target))


@lru_cache(maxsize=4)
def align_by_hmm(corpus, split):
    """The links [N, T, S] that the aligner finds in the alignable pairs of a split."""
    pairs = corpus.alignable[split]
    links = align(train_aligner(corpus), *_sentences(pairs))
    return padded_links(links, pairs.target.shape[1], pairs.source.shape[1])


def _sentences(pairs):
    """(source, target): lists of token ids without the end; of an empty pair, none."""
    return tuple(
        [ids[: max(length - 1, 0)] for ids, length in zip(side, lengths, strict=True)]
        for side, lengths in ((pairs.source, pairs.source_length), (pairs.target, pairs.target_length))
    )
