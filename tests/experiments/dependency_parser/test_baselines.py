"""Baselines against hand-made sentences and a slow reference."""

from collections import Counter

import numpy as np
import pytest

from data.treebanks import Sentence
from experiments.dependency_parser import baselines
from experiments.dependency_parser.scores import attachment

NAMES = ("", "root", "det", "nsubj", "obj")


def sentence(tags, heads, labels):
    return Sentence(tuple(tags.lower().split()), tuple(tags.split()), tuple(heads), tuple(labels.split()))


SHORT = sentence("DET NOUN VERB", (2, 3, 0), "det nsubj root")
LONG = sentence("DET NOUN VERB DET NOUN", (2, 3, 0, 5, 3), "det nsubj root det obj")


def random_sentences(num_sentences, rng):
    """Sentences of random tags, heads and labels."""
    sentences = []
    for length in rng.integers(1, 12, num_sentences):
        heads = [int(rng.choice([p for p in range(length + 1) if p != word])) for word in range(1, length + 1)]
        tags = tuple("ABC"[i] for i in rng.integers(0, 3, length))
        labels = tuple(NAMES[1 + i] for i in rng.integers(0, 4, length))
        sentences.append(Sentence(tags, tags, tuple(heads), labels))
    return sentences


def clipped(distance):
    return max(-5, min(5, distance))


def test_branching_trees_are_chains_from_either_end():
    np.testing.assert_array_equal(baselines.right_branching([SHORT, LONG], 7)[0], [-1, 0, 1, 2, -1, -1, -1])
    np.testing.assert_array_equal(baselines.left_branching([SHORT, LONG], 7)[0], [-1, 2, 3, 0, -1, -1, -1])
    np.testing.assert_array_equal(baselines.left_branching([SHORT, LONG], 7)[1], [-1, 2, 3, 4, 5, 0, -1])
    assert attachment([SHORT], baselines.left_branching([SHORT], 4), np.ones((1, 4)), NAMES)[0] == 1.0
    assert attachment([SHORT], baselines.right_branching([SHORT], 4), np.ones((1, 4)), NAMES)[0] == 0.0


def test_tags_that_decide_the_tree_are_learnt():
    measured = baselines.measure_baselines([SHORT] * 5 + [LONG] * 5, [LONG, SHORT], NAMES)
    assert measured["tag_pair_uas"] == measured["tag_pair_las"] == 1.0
    np.testing.assert_array_equal(measured["tag_pair_heads"][1], [-1, 2, 3, 0, -1, -1])
    assert measured["right_branching_uas"] == 0.0
    assert measured["left_branching_uas"] == 6 / 8  # all but the long sentence's verb and object


def test_shares_heads_and_labels_equal_the_slow_reference():
    rng = np.random.default_rng(0)
    train, test = random_sentences(60, rng), random_sentences(20, rng)
    pairs, arcs, labels = Counter(), Counter(), Counter()
    for s in train:
        tags = ("ROOT", *s.tags)
        for word in range(1, len(tags)):
            for head in range(len(tags)):
                if head != word:
                    key = tags[word], tags[head], clipped(head - word)
                    pairs[key] += 1
                    arcs[key] += s.heads[word - 1] == head
            head = s.heads[word - 1]
            labels[tags[word], tags[head], head < word, s.labels[word - 1]] += 1
    tag_pairs = baselines.count_tag_pairs(train)
    heads = baselines.commonest_heads(tag_pairs, test, 14)
    predicted = baselines.commonest_labels(tag_pairs, test, heads, NAMES)
    for n, s in enumerate(test):
        tags = ("ROOT", *s.tags)
        for word in range(1, len(tags)):

            def badness(head, word=word, tags=tags):
                key = tags[word], tags[head], clipped(head - word)
                return -arcs[key] / (pairs[key] + 1), abs(head - word), head - word

            best = min((head for head in range(len(tags)) if head != word), key=badness)
            assert heads[n, word] == best
            seen = {name: labels[tags[word], tags[best], best < word, name] for name in NAMES[1:]}
            if max(seen.values()):
                assert seen[NAMES[predicted[n, word]]] == max(seen.values())
        assert (heads[n, len(tags) :] == -1).all()


def test_unknown_tags_and_unseen_pairs_take_the_nearest_head_and_the_commonest_label():
    tag_pairs = baselines.count_tag_pairs([LONG])
    strange = sentence("X X X", (0, 1, 1), "root obj obj")
    heads = baselines.commonest_heads(tag_pairs, [strange], 4)
    np.testing.assert_array_equal(heads, [[-1, 0, 1, 2]])
    np.testing.assert_array_equal(baselines.commonest_labels(tag_pairs, [strange], heads, NAMES), [[-1, 2, 2, 2]])


def test_a_sentence_of_one_word_hangs_from_root():
    one = sentence("VERB", (0,), "root")
    measured = baselines.measure_baselines([one, LONG], [one], NAMES, num_positions=4)
    for name in ("right_branching", "left_branching", "tag_pair"):
        np.testing.assert_array_equal(measured[f"{name}_heads"], [[-1, 0, -1, -1]])
        assert measured[f"{name}_las"] == 1.0


def test_a_label_without_an_id_is_never_right():
    tag_pairs = baselines.count_tag_pairs([LONG])
    labels = baselines.commonest_labels(tag_pairs, [SHORT], np.array([[-1, 2, 3, 0]]), ("", "root", "det", "obj"))
    np.testing.assert_array_equal(labels, [[-1, 2, -1, 1]])


def test_no_training_sentences_are_refused():
    with pytest.raises(ValueError, match="there are none"):
        baselines.count_tag_pairs([])
