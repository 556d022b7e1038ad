"""What is measured beside training: exact statements on the transitions, the bounds of any parser, and minibatches.

Axes: N sentences, T positions.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from data.treebanks import SPLITS, is_projective
from experiments.dependency_parser import worked_example
from experiments.dependency_parser.arrays import make_split, pack_rows
from experiments.dependency_parser.baselines import measure_baselines
from experiments.dependency_parser.optimum import most_probable_trees
from experiments.dependency_parser.parsers import unpack_rows
from experiments.dependency_parser.parsing import (
    best_transition,
    closest_projective,
    follow_oracle,
    follow_oracle_in_chunks,
    parse,
    parse_rows,
)
from experiments.dependency_parser.scores import attachment, gold_labels
from experiments.dependency_parser.transitions import advance, start
from experiments.dependency_parser.vocabulary import NULL

SENTENCES_BY_STEPS = 100  # of the test set, parsed with a call for each transition
ROUNDS = 3  # of timing, of which the fastest counts
RANDOM_TREES, RANDOM_TREE_SIZE = 500, 12


# --- Exact statements.


def measure_exact(corpus):
    """{name: number} of how the oracle fares on every sentence of every split, and on the course's sentence."""
    counts = [count_oracle_errors(corpus, split) for split in SPLITS]
    heads_NT, lengths_N = non_projective_trees(corpus)
    return {
        "transition_excess": max(excess for excess, _ in counts),
        "wrong_arcs": sum(wrong for _, wrong in counts),
        **measure_worked_example(),
        **measure_ceiling(heads_NT, lengths_N),
    }


def count_oracle_errors(corpus, split):
    """(the transitions by which a sentence is farthest from 2n, the words of projective trees with a wrong arc)."""
    sentences = corpus.treebank[split]
    projective = [s for s in sentences if is_projective(s.heads)]
    others = [s for s in sentences if not is_projective(s.heads)]
    excess = wrong = 0
    for group in filter(None, (projective, others)):
        rows = pack_rows(group, corpus.vocabulary, corpus.row_length)
        made = follow_oracle_in_chunks(rows, corpus.num_labels)
        # s1 is always in the sentence that is being parsed, ROOT if nothing else.
        first_MJ = np.maximum(made.positions_BJ18[..., 0], 0)
        sentence_MJ = np.take_along_axis(rows.segments_MT, first_MJ, axis=1)
        for number in range(rows.segments_MT.max() + 1):
            is_there_MT = rows.segments_MT == number
            words_M = np.maximum(is_there_MT.sum(1) - 1, 0)
            made_M = ((sentence_MJ == number) & (made.transitions_BJ >= 0)).sum(1)
            excess = max(excess, int(np.abs(made_M - 2 * words_M).max()))
        if group is projective:
            is_word_MT = rows.heads_MT >= 0
            # A relation that training lacks has the id 0, and counts as the nearest, 1.
            is_right_MT = (made.heads_BT == rows.heads_MT) & (made.labels_BT == np.maximum(rows.labels_MT, 1))
            wrong += int((is_word_MT & ~is_right_MT).sum())
    return excess, wrong


def measure_worked_example():
    """How many transitions and arcs of "I parsed this sentence correctly" differ from the course's."""
    steps = worked_example.trace()[1:]
    transitions = tuple(step.transition for step in steps)
    arcs = tuple(step.new_arc for step in steps if step.new_arc)
    return {
        "example_wrong_transitions": count_differences(transitions, worked_example.TRANSITIONS),
        "example_wrong_arcs": count_differences(arcs, worked_example.ARCS),
    }


def count_differences(values, wanted):
    """At how many places two sequences differ; where one is longer, its further places count."""
    return sum(a != b for a, b in zip(values, wanted, strict=False)) + abs(len(values) - len(wanted))


def non_projective_trees(corpus):
    """(heads [N, T], lengths [N]) of the treebank's non-projective sentences, or, where it has none, of random ones."""
    sentences = [s for split in SPLITS for s in corpus.treebank[split] if not is_projective(s.heads)]
    if sentences:
        split = make_split(sentences, corpus.vocabulary)
        return split.heads_NT, split.lengths_N
    generator, trees = np.random.default_rng(0), []
    while len(trees) < RANDOM_TREES:
        heads = random_tree(generator, RANDOM_TREE_SIZE)
        if not is_projective(heads):
            trees.append([-1, *heads])
    return np.array(trees, np.int32), np.full(RANDOM_TREES, RANDOM_TREE_SIZE, np.int32)


def random_tree(generator, size):
    """The heads of a random tree: in a random order of the words, each hangs on one before it, the first on ROOT."""
    order, heads = 1 + generator.permutation(size), np.zeros(size, int)
    for i in range(1, size):
        heads[order[i] - 1] = order[generator.integers(i)]
    return tuple(heads.tolist())


def measure_ceiling(heads_NT, lengths_N):
    """{name: UAS} of the oracle on trees that are not projective, by its rule and by the closest projective trees."""
    labels_NT = (heads_NT >= 0).astype(np.int32)
    is_word_NT = heads_NT >= 0

    def share_right(built_NT):
        return float(((np.asarray(built_NT) == heads_NT) & is_word_NT).sum() / is_word_NT.sum())

    by_rule_NT = follow_oracle(heads_NT, labels_NT, lengths_N, 1).heads_BT
    closest_NT = jax.jit(closest_projective)(jnp.asarray(heads_NT), jnp.asarray(lengths_N))
    return {"non_projective_uas": share_right(by_rule_NT), "non_projective_ceiling": share_right(closest_NT)}


# --- Bounds.


def measure_bounds(corpus, labelled):
    """Heads, labels [N, T] and scores of parsers without learning and, of a generated treebank, of the true model.

    Parsers without learning see the tags that the others see, the true model gold tags. Without labels there is no LAS.
    """
    test, label_names, T = corpus.treebank.test, corpus.vocabulary.labels, corpus.test_split.heads_NT.shape[1]
    measured = measure_baselines(corpus.train, corpus.test, label_names, T)
    if corpus.is_generated:
        best_NT, labels = most_probable_trees(test)
        heads_NT = np.pad(best_NT, ((0, 0), (0, T - best_NT.shape[1])), constant_values=-1)
        trees = [s._replace(labels=one) for s, one in zip(test, labels, strict=True)]
        labels_NT = gold_labels(trees, T, label_names)
        uas, las = attachment(test, heads_NT, labels_NT, label_names)
        measured |= {
            "optimum_heads": heads_NT,
            "optimum_labels": labels_NT,
            "optimum_uas": uas,
            "optimum_las": las,
        }
    return {name: value for name, value in measured.items() if labelled or not name.endswith("_las")}


# --- Minibatches.


def measure_minibatches(parser, variables, split):
    """How fast a test set is parsed at once and one by one, and how many trees differ between the two.

    One by one is measured twice: as a loop in Python that calls a compiled program for each transition, and as one call
    of a compiled loop for each sentence. All programs are compiled beforehand, all compute features and transitions,
    and what the classifier tabulates counts in the sentences a second and not in the ratios.
    """
    T = split.heads_NT.shape[1]
    prepare = jax.jit(parser.prepare)
    prepared = prepare(variables)
    rows = jax.device_put(split.rows)

    @jax.jit
    def parse_all(prepared, rows):
        return parse_rows(parser.score(prepared, rows.words_MT, rows.tags_MT), rows.segments_MT, parser.num_labels)

    @jax.jit
    def parse_sentence(prepared, words_1T, tags_1T, lengths_1):
        return parse(parser.score(prepared, words_1T, tags_1T), lengths_1, T, parser.num_labels)

    @jax.jit
    def take_transition(prepared, words_1T, tags_1T, state):
        logits_1K = parser.score(prepared, words_1T, tags_1T)(state)
        return advance(state, best_transition(logits_1K, state, parser.num_labels), parser.num_labels)

    def parse_stepwise(words_1T, tags_1T, lengths_1):
        state = start(lengths_1, T)
        for _ in range(2 * int(lengths_1[0])):
            state = take_transition(prepared, words_1T, tags_1T, state)
        return state.heads_BT, state.labels_BT

    num_sentences = len(split.lengths_N)
    _, preparation_seconds = time_fastest(lambda: prepare(variables))
    (heads_MT, labels_MT), seconds = time_fastest(lambda: parse_all(prepared, rows))
    heads_NT, labels_NT = (np.asarray(x) for x in unpack_rows(split, jnp.asarray(heads_MT), jnp.asarray(labels_MT)))
    sentences = jax.device_put([one_sentence(split, n) for n in range(num_sentences)])
    by_loop, loop_seconds = time_fastest(lambda: [parse_sentence(prepared, *sentence) for sentence in sentences])
    sample_N = np.arange(0, num_sentences, -(-num_sentences // SENTENCES_BY_STEPS))
    by_step, step_seconds = time_fastest(lambda: [parse_stepwise(*sentences[n]) for n in sample_N])

    def count_differing(parses, numbers):
        return sum(
            not (np.array_equal(heads_1T[0], heads_NT[n]) and np.array_equal(labels_1T[0], labels_NT[n]))
            for n, (heads_1T, labels_1T) in zip(numbers, parses, strict=True)
        )

    return {
        "sentences_per_second": num_sentences / (preparation_seconds + seconds),
        "differing_trees": count_differing(by_loop, range(num_sentences)),
        "differing_trees_by_steps": count_differing(by_step, sample_N),
        "speedup_over_steps": step_seconds / len(sample_N) / (seconds / num_sentences),
        "speedup_over_loops": loop_seconds / seconds,
    }


def one_sentence(split, n):
    """(ids of words [1, T], ids of tags [1, T], length [1]) of a sentence of a split, ROOT and NULL included."""
    T, row, first = split.heads_NT.shape[1], split.rows.row_N[n], split.rows.start_N[n]
    size = int(split.lengths_N[n]) + 1
    words_1T, tags_1T = (
        np.pad(ids_MT[row : row + 1, first : first + size], ((0, 0), (0, T - size)), constant_values=NULL)
        for ids_MT in (split.rows.words_MT, split.rows.tags_MT)
    )
    return words_1T, tags_1T, split.lengths_N[n : n + 1]


def time_fastest(call):
    """(what a call returns, the seconds of its fastest round after a first that compiles)."""
    result, seconds = jax.device_get(jax.block_until_ready(call())), []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)
