"""What is measured beside training, with controls that must be found: the oracle, the bounds, and minibatches."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.treebanks import Sentence, is_projective
from experiments.dependency_parser import measures, worked_example
from experiments.dependency_parser.arrays import make_split
from experiments.dependency_parser.corpus import read_corpus
from experiments.dependency_parser.measures import (
    count_differences,
    count_oracle_errors,
    measure_bounds,
    measure_ceiling,
    measure_exact,
    measure_minibatches,
    non_projective_trees,
    one_sentence,
    random_tree,
)
from experiments.dependency_parser.parsers import classifier_parser
from experiments.dependency_parser.scores import attachment

CONFIG = SimpleNamespace(
    treebank="generated",
    tag_columns="upos",
    tags="gold",
    train_sentences=25,
    validation_sentences=4,
    test_sentences=7,
    min_count=1,
    labelled=True,
    d_embed=4,
    d_hidden=8,
    num_hidden=1,
    activation="relu",
    initializer="normal",
    dropout=0.0,
    use_words=True,
    use_tags=True,
    use_labels=True,
)
CROSSED = Sentence(("a", "b", "c", "d"), ("X",) * 4, (0, 4, 1, 1), ("root", "dep", "dep", "dep"))


@pytest.fixture(scope="module")
def corpus():
    return read_corpus(CONFIG)


def with_test(corpus, sentences):
    """The corpus with other test sentences."""
    treebank = replace(corpus.treebank, test=tuple(sentences))
    return replace(corpus, treebank=treebank, test_split=make_split(sentences, corpus.vocabulary))


def test_of_a_generated_treebank_all_that_must_be_exact_is(corpus):
    measured = measure_exact(corpus)
    assert {name: value for name, value in measured.items() if not name.startswith("non_projective")} == {
        "transition_excess": 0,
        "wrong_arcs": 0,
        "example_wrong_transitions": 0,
        "example_wrong_arcs": 0,
    }
    assert 0.3 < measured["non_projective_uas"] < measured["non_projective_ceiling"] < 1


@pytest.mark.parametrize(
    ("field", "at", "change", "excess", "wrong"),
    [
        ("transitions_BJ", (0, 3), lambda old: -1, 1, 0),  # one transition fewer than 2n
        ("heads_BT", (0, 2), lambda old: old + 1, 0, 1),
        ("labels_BT", (0, 2), lambda old: old + 1, 0, 1),
        ("heads_BT", (0, 0), lambda old: 7, 0, 0),  # ROOT is no word
    ],
)
def test_an_oracle_that_errs_is_found(corpus, monkeypatch, field, at, change, excess, wrong):
    follow = measures.follow_oracle_in_chunks
    assert count_oracle_errors(corpus, "test") == (0, 0)

    def err(rows, num_labels):
        made = jax.tree.map(np.array, follow(rows, num_labels))  # copies
        values = getattr(made, field)
        values[at] = change(values[at])
        return made

    monkeypatch.setattr(measures, "follow_oracle_in_chunks", err)
    assert count_oracle_errors(corpus, "test") == (excess, wrong)


def test_trees_that_are_not_projective_take_2n_transitions_and_are_not_expected_to_be_rebuilt(corpus):
    mixed = with_test(corpus, [*corpus.treebank.test[:3], CROSSED])
    assert count_oracle_errors(mixed, "test") == (0, 0)
    heads_NT, lengths_N = non_projective_trees(mixed)
    assert lengths_N.tolist() == [4]
    assert heads_NT[0, :5].tolist() == [-1, *CROSSED.heads]
    # By the rule the third word hangs on the fourth; no projective tree has all four arcs.
    assert measure_ceiling(heads_NT, lengths_N) == {"non_projective_uas": 0.75, "non_projective_ceiling": 0.75}


def test_a_label_unseen_in_training_is_no_error_of_the_oracles(corpus):
    first = corpus.treebank.test[0]
    unseen = first._replace(labels=("novel", *first.labels[1:]))
    assert count_oracle_errors(with_test(corpus, [unseen]), "test") == (0, 0)


def test_differences_are_counted_at_every_place():
    assert count_differences("abc", "abc") == 0
    assert count_differences("abc", "axc") == 1
    assert count_differences("ab", "xbcd") == 3
    assert count_differences((), "ab") == 2


def test_a_wrong_trace_of_the_courses_sentence_is_found(monkeypatch):
    steps = worked_example.trace()
    monkeypatch.setattr(worked_example, "trace", lambda: steps[:-1])
    assert measures.measure_worked_example() == {"example_wrong_transitions": 1, "example_wrong_arcs": 1}


def test_random_trees_are_trees_with_one_root_of_many_kinds():
    generator, shapes = np.random.default_rng(3), set()
    for _ in range(50):
        heads = random_tree(generator, 5)
        shapes.add(heads)
        assert heads.count(0) == 1
        for word in range(1, 6):
            steps, above = 0, word
            while above and steps <= 5:
                steps, above = steps + 1, heads[above - 1]
            assert above == 0
    assert len(shapes) > 20
    assert {is_projective(heads) for heads in shapes} == {True, False}


def test_nothing_is_better_than_the_true_models_trees_by_more_than_chance(corpus):
    measured = measure_bounds(corpus, labelled=True)
    shape = corpus.test_split.heads_NT.shape
    for name in ("optimum", "tag_pair", "right_branching", "left_branching"):
        heads_NT, labels_NT = measured[f"{name}_heads"], measured[f"{name}_labels"]
        assert heads_NT.shape == labels_NT.shape == shape
        scores = attachment(corpus.treebank.test, heads_NT, labels_NT, corpus.vocabulary.labels)
        assert scores == (measured[f"{name}_uas"], measured[f"{name}_las"])
        assert scores[0] <= measured["optimum_uas"] > 0.8
    real = replace(corpus, treebank=replace(corpus.treebank, name="folder"))
    assert not any(name.startswith("optimum") for name in measure_bounds(real, labelled=True))


def test_without_labels_the_bounds_have_no_las(corpus):
    labelled, unlabelled = (measure_bounds(corpus, labelled=labelled) for labelled in (True, False))
    assert set(labelled) - set(unlabelled) == {name for name in labelled if name.endswith("_las")}
    assert labelled["optimum_uas"] == unlabelled["optimum_uas"]
    assert len([name for name in labelled if name.endswith("_las")]) == 4


def test_parsers_without_learning_see_the_tags_that_the_parser_sees_and_the_true_model_gold_ones(corpus):
    def measure(name):
        """The bounds where a tagger says name(tag) instead of each tag."""
        tagged = {
            split: tuple(s._replace(tags=tuple(map(name, s.tags))) for s in getattr(corpus, split))
            for split in ("train", "test")
        }
        return measure_bounds(replace(corpus, **tagged), labelled=True)

    gold, same, renamed = measure_bounds(corpus, labelled=True), measure(lambda tag: "X"), measure("new {}".format)
    assert same["tag_pair_uas"] < gold["tag_pair_uas"] - 0.1
    assert renamed["tag_pair_uas"] == gold["tag_pair_uas"]
    np.testing.assert_array_equal(same["optimum_heads"], gold["optimum_heads"])


@pytest.fixture(scope="module")
def parser(corpus):
    """(parser, variables): one that has learnt nothing, and decides by all that it sees."""
    parser = classifier_parser(CONFIG, corpus.vocabulary)
    variables = parser.init(jax.random.key(1))
    return parser, jax.tree.map(lambda x: jax.random.normal(jax.random.key(x.size), x.shape), variables)


def test_minibatches_change_no_tree_and_a_parser_that_looks_at_its_neighbours_is_found(corpus, parser, monkeypatch):
    monkeypatch.setattr(measures, "ROUNDS", 1)
    monkeypatch.setattr(measures, "SENTENCES_BY_STEPS", 1)  # the first
    parser, variables = parser
    few = with_test(corpus, corpus.treebank.test[:3]).test_split

    def score_by_size(prepared, words_MT, tags_MT):
        sign = -1 if words_MT.shape[1] == few.rows.words_MT.shape[1] else 1
        return lambda state: sign * parser.score(prepared, words_MT, tags_MT)(state)

    measured = measure_minibatches(parser, variables, few)
    assert measured["differing_trees"] == measured["differing_trees_by_steps"] == 0
    assert all(measured[name] > 0 for name in ("sentences_per_second", "speedup_over_steps", "speedup_over_loops"))
    assert few.rows.words_MT.shape[1] != few.heads_NT.shape[1]
    measured = measure_minibatches(parser._replace(score=score_by_size), variables, few)
    assert measured["differing_trees"] == 3  # of all sentences
    assert measured["differing_trees_by_steps"] == 1  # of the sample


def test_one_sentence_of_a_split_is_what_its_arrays_alone_are(corpus):
    split = corpus.test_split
    for n, sentence in enumerate(corpus.test):
        words_1T, tags_1T, lengths_1 = one_sentence(split, n)
        size = len(sentence.forms) + 1
        assert words_1T.shape == tags_1T.shape == (1, split.heads_NT.shape[1])
        assert words_1T[0, 1:size].tolist() == corpus.vocabulary.word_ids(sentence.forms).tolist()
        assert tags_1T[0, 1:size].tolist() == corpus.vocabulary.tag_ids(sentence.tags).tolist()
        assert (words_1T[0, 0], lengths_1.tolist()) == (1, [size - 1])
        assert not words_1T[0, size:].any()


def test_the_fastest_round_counts_after_one_that_compiles(monkeypatch):
    times = iter([0.0, 5.0, 10.0, 12.0, 20.0, 29.0])
    monkeypatch.setattr(measures.time, "perf_counter", lambda: next(times))
    calls = []
    result, seconds = measures.time_fastest(lambda: calls.append(0) or jnp.float32(3))
    assert (result, seconds, len(calls)) == (3, 2.0, 1 + measures.ROUNDS)
