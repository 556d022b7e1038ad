"""Copy, reverse and a fixed permutation: what each task's target is, and what is drawn."""

from collections import Counter

import numpy as np
import pytest

from experiments.seq2seq_attention.sequences import SYMBOLS, TASKS, generate, permutation


@pytest.mark.parametrize("task", TASKS)
def test_each_target_word_is_the_source_word_that_it_is_linked_to(task):
    for example in generate(task, 200, 3, 12, seed=0):
        assert example.target == tuple(example.source[position] for (position,) in example.links)
        assert sorted(position for (position,) in example.links) == list(range(len(example.source)))
        assert example.kinds == ("one_to_one",) * len(example.source)
        assert len(set(example.source)) == len(example.source)


def test_copy_keeps_the_order_and_reverse_turns_it_around():
    assert all(example.target == example.source for example in generate("copy", 100, 1, 9, seed=0))
    assert all(example.target == example.source[::-1] for example in generate("reverse", 100, 1, 9, seed=0))


def test_the_permutation_is_one_rule_for_all_lengths_and_seeds():
    order = permutation(12).tolist()
    assert sorted(order) == list(range(12))
    assert order not in (list(range(12)), list(range(12))[::-1])
    for seed in (0, 1):
        for example in generate("permutation", 100, 2, 12, seed):
            length = len(example.source)
            assert [position for (position,) in example.links] == [p for p in order if p < length]


def test_sentences_of_one_length_are_all_permuted_alike():
    order = permutation(8)
    for example in generate("permutation", 50, 8, 8, seed=3):
        assert example.target == tuple(np.array(example.source)[order])


def test_lengths_are_uniform_and_both_ends_occur():
    counts = Counter(len(example.source) for example in generate("copy", 9000, 4, 12, seed=0))
    assert sorted(counts) == list(range(4, 13))
    assert all(abs(count - 1000) < 5 * np.sqrt(1000) for count in counts.values())


def test_all_symbols_are_equally_frequent_at_the_first_and_the_last_position():
    examples = generate("copy", 36 * 250, 5, 5, seed=0)
    for position in (0, 4):
        counts = Counter(example.source[position] for example in examples)
        assert set(counts) == set(SYMBOLS)
        assert all(abs(count - 250) < 5 * np.sqrt(250) for count in counts.values())


def test_a_seed_gives_its_examples_and_the_tasks_share_their_sources():
    many = generate("copy", 100, 5, 10, seed=7)
    assert generate("copy", 20, 5, 10, seed=7) == many[:20]
    assert generate("copy", 100, 5, 10, seed=8) != many
    assert [e.source for e in generate("reverse", 100, 5, 10, seed=7)] == [e.source for e in many]


def test_a_sentence_may_hold_every_symbol():
    (example,) = generate("reverse", 1, len(SYMBOLS), len(SYMBOLS), seed=0)
    assert set(example.source) == set(SYMBOLS)
    assert len(SYMBOLS) >= 26


@pytest.mark.parametrize(("shortest", "longest"), [(0, 5), (6, 5), (5, 37)])
def test_lengths_that_no_sentence_has_are_refused(shortest, longest):
    with pytest.raises(ValueError, match=f"from {shortest} to {longest} do not fit: .* <= 36"):
        generate("copy", 1, shortest, longest, seed=0)


def test_an_unknown_task_is_refused_with_the_list_of_tasks():
    with pytest.raises(ValueError, match=r'"sort" is not a task .* copy, reverse, permutation'):
        generate("sort", 1, 1, 5, seed=0)
