"""Statistical word aligners, trained on sentence pairs by EM: IBM Model 1 and the HMM alignment model.

Both say how a target sentence arises from a source sentence, each target word from one source word or from the empty
word NULL. They need no translator, so they are a reference for what attention aligns on real text.

    IBM Model 1  every source word and NULL are equally likely origins, whatever the order of words
                 (Brown et al. 1993, "The mathematics of statistical machine translation", section 4.2)
    HMM          the origin of a word is near that of the word before: its distance has a distribution of its own
                 (Vogel, Ney and Tillmann 1996, "HMM-based word alignment in statistical translation"), and NULL has a
                 fixed probability and keeps the position (Och and Ney 2003, "A systematic comparison of various
                 statistical alignment models", section 2.1)

A sentence is an array of token ids. All pairs of a target word and a source word that occur in the same sentence pair
share one sparse table. The cells of all sentence pairs lie in one flat array; those of a group of sentence pairs with
equal lengths are a slice of it, which is an array [N, T, S + 1] with NULL last.

Axes: N sentence pairs, T target position, S source position, P positions that the HMM may stand at: the place before
the first source word, then the source words (S + 1 in all), C cells, U distinct word pairs, W jump widths.
"""

from typing import NamedTuple

import numpy as np

NULL = -1  # the empty word, as a source word
UNSEEN = 1e-7  # least probability, in alignments, of a word pair or jump that training did not see
JUMP_STEPS = 5  # updates of the jump widths in one iteration
GROUP_CELLS = 2**18  # most cells of a group: what a core's cache holds
ID_BITS = 32


class TranslationTable(NamedTuple):
    """The probability of a target word given a source word, for all pairs that were seen together."""

    keys_U: np.ndarray  # (source id + 1) * 2^32 + target id, ascending; the source id of NULL is -1
    probabilities_U: np.ndarray
    log_likelihoods: tuple[float, ...]  # of the training text, in nats, before each iteration


class HMM(NamedTuple):
    """An HMM alignment model."""

    table: TranslationTable  # trained with the jumps; its log likelihoods are the HMM's
    jumps_W: np.ndarray  # weights of jump widths -(W - 1) / 2 ... (W - 1) / 2; a sentence normalises those it can make
    empty_probability: float


class Group(NamedTuple):
    """Sentence pairs of equal lengths."""

    number_N: np.ndarray  # which sentence pairs
    cells: slice  # their part of the flat array
    shape: tuple[int, int, int]  # of that part: N, T, S + 1


# --- Training.


def train_ibm1(source, target, num_iterations=5):
    """Trains IBM Model 1 by EM, from equal probabilities.

    Args:
      source, target: lists of arrays of token ids, pair by pair.
      num_iterations: of EM.

    Raises:
      ValueError: the lists differ in length or have no words, or ids are negative or no integers.
    """
    groups, key_U, pair_C, row_U = index_pairs(source, target)
    num_target_words = np.unique(key_U & (2**ID_BITS - 1)).size
    probabilities_U = np.full(key_U.size, 1 / num_target_words)
    log_likelihoods = []
    for _ in range(num_iterations):
        probability_C = probabilities_U[pair_C]
        posterior_C = np.empty_like(probability_C)
        log_likelihood = 0.0
        for group in groups:
            posterior_NTS, sum_of_logs = ibm1_posteriors(probability_C[group.cells].reshape(group.shape))
            posterior_C[group.cells] = posterior_NTS.ravel()
            log_likelihood += sum_of_logs
        probabilities_U = normalise_rows(np.bincount(pair_C, posterior_C, key_U.size), row_U)
        log_likelihoods.append(log_likelihood)
    return TranslationTable(key_U, probabilities_U, tuple(log_likelihoods))


def train_hmm(source, target, ibm1, num_iterations=5, empty_probability=0.2):
    """Trains the HMM alignment model by EM, from the table of IBM Model 1 and equal weights for all jump widths.

    A jump is the position of a word's origin less that of the last word before it whose origin is not NULL; a sentence
    begins at the place before its first word. All sentences share the weights of jump widths. A sentence can make only
    some of the jumps, and divides by the sum of their weights. So expected counts are not the best weights, and
    ``estimate_jumps`` goes towards the best ones: the likelihood never falls.

    Args:
      source, target: lists of arrays of token ids, as ``ibm1`` was trained on.
      ibm1: what ``train_ibm1`` returned.
      num_iterations: of EM.
      empty_probability: that a target word comes from NULL; Och and Ney take 0.2.

    Raises:
      ValueError: the empty probability is not between 0 and 1, or the text is one that ``train_ibm1`` refuses.
    """
    if not 0 < empty_probability < 1:
        raise ValueError(f"the empty word has probability {empty_probability}: give one between 0 and 1")
    groups, key_U, pair_C, row_U = index_pairs(source, target)
    probabilities_U = look_up(ibm1, key_U)
    longest = max(group.shape[2] - 1 for group in groups)
    jumps_W = np.full(2 * longest + 1, 1 / (2 * longest + 1))
    log_likelihoods = []
    for _ in range(num_iterations):
        probability_C = probabilities_U[pair_C]
        posterior_C = np.empty_like(probability_C)
        log_likelihood, expected = 0.0, {}
        for group in groups:
            probability_NTS = probability_C[group.cells].reshape(group.shape)
            num_source = group.shape[2] - 1
            jump_PS = jump_probabilities(jumps_W[jump_index(num_source, longest)])
            posterior_NTS, expected_PS, sum_of_logs = hmm_posteriors(probability_NTS, jump_PS, empty_probability)
            posterior_C[group.cells] = posterior_NTS.ravel()
            expected[num_source] = expected.get(num_source, 0.0) + expected_PS
            log_likelihood += sum_of_logs
        probabilities_U = normalise_rows(np.bincount(pair_C, posterior_C, key_U.size), row_U)
        jumps_W = estimate_jumps(jumps_W, expected)
        log_likelihoods.append(log_likelihood)
    return HMM(TranslationTable(key_U, probabilities_U, tuple(log_likelihoods)), jumps_W, empty_probability)


# --- Alignment, of any sentence pairs.


def link_probabilities(model, source, target):
    """How probable each source word is as the origin of each target word, given both sentences.

    Word pairs and jumps that training did not see, or all but ruled out, have the probability ``UNSEEN``.

    Args:
      model: a ``TranslationTable`` (IBM Model 1) or an ``HMM``.
      source, target: lists of arrays of token ids, pair by pair.

    Returns:
      A list of arrays [T, S]; what a row lacks to 1 is the probability of NULL.
    """
    groups, key_C = make_cells(source, target)
    is_hmm = isinstance(model, HMM)
    probability_C = np.maximum(look_up(model.table if is_hmm else model, key_C), UNSEEN)
    links = [None] * len(source)
    for group in groups:
        probability_NTS = probability_C[group.cells].reshape(group.shape)
        if is_hmm:
            jump_PS = jump_probabilities(floored_jumps(model.jumps_W, group.shape[2] - 1))
            posterior_NTS, _, _ = hmm_posteriors(probability_NTS, jump_PS, model.empty_probability)
        else:
            posterior_NTS, _ = ibm1_posteriors(probability_NTS)
        for number, posterior_TS in zip(group.number_N, posterior_NTS, strict=True):
            links[number] = posterior_TS[:, :-1]
    return links


def align(model, source, target):
    """The most probable origin of each target word, as bool [T, S] for each sentence pair.

    A row has one link, or none where NULL is more probable than any source word; the first of equal ones is taken.
    Arguments are those of ``link_probabilities``.
    """
    links = []
    for probability_TS in link_probabilities(model, source, target):
        with_null = np.concatenate([probability_TS, 1 - probability_TS.sum(1, keepdims=True)], axis=1)
        links.append(with_null.argmax(1)[:, None] == np.arange(probability_TS.shape[1]))
    return links


def translation_probabilities(table, source_ids, target_ids):
    """p(target word | source word) of arrays of ids; ``NULL`` is a source id too, and pairs never seen have 0."""
    return look_up(table, keys(np.asarray(source_ids), np.asarray(target_ids)), unseen=0.0)


# --- The expectation step, for sentence pairs of equal lengths.


def ibm1_posteriors(probability_NTS):
    """The posterior [N, T, S + 1] of each origin, NULL last, and the log likelihood, from p(target | origin)."""
    sum_NT1 = probability_NTS.sum(-1, keepdims=True)
    num_origins = probability_NTS.shape[-1]
    return probability_NTS / sum_NT1, float(np.log(sum_NT1 / num_origins).sum())


def hmm_posteriors(probability_NTS, jump_PS, empty_probability):
    """The posterior [N, T, S + 1] of each origin, NULL last, the expected jumps [P, S], and the log likelihood.

    Forward and backward passes run over positions, of which the future alone depends: whether NULL or the word at that
    position wrote the last target word makes no difference to it. Both passes divide by each word's likelihood given
    the words before it, so nothing underflows.

    Args:
      probability_NTS: p(target word | origin) [N, T, S + 1], NULL last.
      jump_PS: p(next position | position).
      empty_probability: that the next origin is NULL.
    """
    num_sentences, num_target, num_positions = probability_NTS.shape
    jump_PS = (1 - empty_probability) * jump_PS
    word_TNS = np.ascontiguousarray(probability_NTS[:, :, :-1].swapaxes(0, 1))
    null_TN1 = empty_probability * probability_NTS[:, :, -1:].swapaxes(0, 1)
    before_TNP = np.zeros((num_target + 1, num_sentences, num_positions))  # where a sentence stands before each word
    before_TNP[0, :, 0] = 1
    likelihood_TN1 = np.empty((num_target, num_sentences, 1))
    posterior_TNS = np.empty((num_target, num_sentences, num_positions))
    arrival_TNS = np.empty_like(word_TNS)  # what a jump to a position is worth to this word and those after it
    for t in range(num_target):
        aligned_NS = (before_TNP[t] @ jump_PS) * word_TNS[t]
        position_NP = before_TNP[t] * null_TN1[t]
        position_NP[:, 1:] += aligned_NS
        likelihood_TN1[t] = position_NP.sum(1, keepdims=True)
        before_TNP[t + 1] = position_NP / likelihood_TN1[t]
        posterior_TNS[t, :, :-1] = aligned_NS / likelihood_TN1[t]
    after_NP = np.ones((num_sentences, num_positions))
    for t in reversed(range(num_target)):
        null_N1 = null_TN1[t] / likelihood_TN1[t]
        posterior_TNS[t, :, :-1] *= after_NP[:, 1:]
        posterior_TNS[t, :, -1] = null_N1[:, 0] * (before_TNP[t] * after_NP).sum(1)
        arrival_TNS[t] = word_TNS[t] * after_NP[:, 1:] / likelihood_TN1[t]
        after_NP = arrival_TNS[t] @ jump_PS.T + null_N1 * after_NP
    expected_PS = jump_PS * np.einsum("tnp,tns->ps", before_TNP[:-1], arrival_TNS, optimize=True)
    return posterior_TNS.swapaxes(0, 1), expected_PS, float(np.log(likelihood_TN1).sum())


# --- The maximisation step.


def normalise_rows(count_U, row_U):
    """Counts over the sum of the counts of their source word, where there are any."""
    total_U = np.bincount(row_U, count_U)[row_U]
    return np.divide(count_U, total_U, out=np.zeros_like(count_U), where=total_U > 0)


def estimate_jumps(jumps_W, expected):
    """The weights of jump widths after some updates that never lower the expected log likelihood of jumps.

    A jump of width d from a position has the weight of d over the sum of the weights of all widths possible there. The
    update divides the count of d by the sum, over all jumps from where d was possible, of one over that sum of weights
    (Hunter 2004, "MM algorithms for generalized Bradley-Terry models", section 5, for choices among several).

    Args:
      jumps_W: weights from which to go on.
      expected: by the source sentence's length, the expected number of jumps [P, S] from each position to each.
    """
    longest = len(jumps_W) // 2
    indices = {num_source: jump_index(num_source, longest) for num_source in expected}
    count_W = sum(
        np.bincount(indices[n].ravel(), expected_PS.ravel(), len(jumps_W)) for n, expected_PS in expected.items()
    )
    for _ in range(JUMP_STEPS):
        exposure_W = np.zeros_like(jumps_W)
        for num_source, expected_PS in expected.items():
            index_PS, jumped_P = indices[num_source], expected_PS.sum(1)
            sum_P = jumps_W[index_PS].sum(1)
            ratio_P = np.divide(jumped_P, sum_P, out=np.zeros_like(sum_P), where=sum_P > 0)
            exposure_W += np.bincount(index_PS.ravel(), np.repeat(ratio_P, num_source), len(jumps_W))
        jumps_W = np.divide(count_W, exposure_W, out=np.zeros_like(exposure_W), where=exposure_W > 0)
        jumps_W = jumps_W / max(jumps_W.sum(), np.finfo(float).tiny)
    return jumps_W


# --- Jumps.


def jump_widths(num_source):
    """The width [P, S] of the jump from each position, the place before the first word included, to each word."""
    return np.arange(num_source) - np.arange(-1, num_source)[:, None]


def jump_index(num_source, longest):
    """Where in the weights of jump widths each jump of a sentence lies [P, S]."""
    return jump_widths(num_source) + longest


def jump_probabilities(weight_PS):
    """p(next position | position) from the weights of jumps."""
    sum_P1 = weight_PS.sum(1, keepdims=True)
    return np.divide(weight_PS, sum_P1, out=np.zeros_like(weight_PS), where=sum_P1 > 0)


def floored_jumps(jumps_W, num_source):
    """The weights [P, S] of a sentence's jumps, at least ``UNSEEN``, whatever its length."""
    longest = len(jumps_W) // 2
    padded_W = np.pad(np.maximum(jumps_W, UNSEEN), max(num_source - longest, 0), constant_values=UNSEEN)
    return padded_W[jump_index(num_source, len(padded_W) // 2)]


# --- Word pairs.


def keys(source_ids, target_ids):
    """One integer for each pair of a source and a target word."""
    return (source_ids.astype(np.int64) + 1 << ID_BITS) + target_ids


def look_up(table, keys_of_pairs, unseen=UNSEEN):
    """The probabilities of word pairs, ``unseen`` for those that are not in the table."""
    place = np.minimum(np.searchsorted(table.keys_U, keys_of_pairs), len(table.keys_U) - 1)
    return np.where(table.keys_U[place] == keys_of_pairs, table.probabilities_U[place], unseen)


def index_pairs(source, target):
    """The groups of ``make_cells``, all word pairs, the pair in each cell, and the number of each one's source word."""
    groups, key_C = make_cells(source, target)
    key_U, pair_C = np.unique(key_C, return_inverse=True)
    _, row_U = np.unique(key_U >> ID_BITS, return_inverse=True)
    return groups, key_U, pair_C, row_U


def make_cells(source, target):
    """The groups of sentence pairs of equal lengths, and the key of the word pair in each cell."""
    if len(source) != len(target):
        raise ValueError(f"{len(source)} source and {len(target)} target sentences: an aligner needs pairs")
    source_ids, source_start_N, source_length_N = joined(source, "source")
    target_ids, target_start_N, target_length_N = joined(target, "target")
    if not target_ids.size:
        raise ValueError("the target sentences have no words: there is nothing to align")
    order_N = np.lexsort((target_length_N, source_length_N))
    lengths_N2 = np.stack([target_length_N, source_length_N], axis=1)[order_N]
    borders = np.flatnonzero(np.diff(lengths_N2, axis=0).any(axis=1)) + 1
    groups, parts, start = [], [], 0
    for same_N in np.split(order_N, borders):
        T, S = target_length_N[same_N[0]], source_length_N[same_N[0]]
        most = max(1, GROUP_CELLS // max(1, T * (S + 1)))
        for number_N in np.split(same_N, range(most, len(same_N), most)):
            source_NS = source_ids[source_start_N[number_N, None] + np.arange(S)]
            source_NS = np.pad(source_NS, ((0, 0), (0, 1)), constant_values=NULL)
            target_NT = target_ids[target_start_N[number_N, None] + np.arange(T)]
            part_NTS = keys(source_NS[:, None, :], target_NT[:, :, None])
            groups.append(Group(number_N, slice(start, start + part_NTS.size), part_NTS.shape))
            parts.append(part_NTS.ravel())
            start += part_NTS.size
    return groups, np.concatenate(parts)


def joined(sentences, side):
    """All ids of all sentences in one array, where each sentence starts there, and its length."""
    length_N = np.array([len(sentence) for sentence in sentences], np.int64)
    ids = np.concatenate([np.asarray(sentence) for sentence in sentences if len(sentence)] or [np.zeros(0, np.int64)])
    if not np.issubdtype(ids.dtype, np.integer) or (ids.size and (ids.min() < 0 or ids.max() >= 2 ** (ID_BITS - 1))):
        raise ValueError(f"{side} sentences must be token ids: integers from 0 to {2 ** (ID_BITS - 1) - 1}")
    return ids.astype(np.int64), np.cumsum(length_N) - length_N, length_N
