"""What words may be, before a chart says what they are."""

import numpy as np

from experiments.dependency_parser.grammar import find_kinds
from experiments.dependency_parser.word_states import SIDES, prune, tables, word_states


def categories(forms, tags):
    """The names of the categories that each word may have."""
    words = list(zip(tags, find_kinds(forms, tags)[0], strict=True))
    return [{tables().categories[filler] for filler in fillers} for fillers in prune(words)]


def test_a_word_may_be_only_what_the_words_around_it_allow():
    forms, tags = ("dog", "see", "cat", "with", "man"), ("NOUN", "VERB", "NOUN", "ADP", "NOUN")
    dog, see, cat, _, man = categories(forms, tags)
    plain = {"NOUN", "NOUN.bare", "NOUN.subject", "NOUN.title"}
    assert dog == cat == plain
    assert man == plain | {"NOUN.with"}
    # Nothing marks it as an infinitive, adverbial clause or conjunct, no pronoun as a relative clause with its subject.
    assert see == {"VERB.main", "VERB.clause", "VERB.object_relative"}


def test_the_states_of_a_word_are_those_of_its_categories_and_as_probable_as_the_grammar_says():
    table = tables()
    word = word_states("VERB", "see", tuple(table.fillers["VERB"]["see"]))
    for side in range(len(SIDES)):
        assert len(set(word.states_Q[side])) == len(word.states_Q[side])
        next_QQ, stop_QU = np.exp(word.log_next_QQ[side]), np.exp(word.log_stop_QU[side])
        total_Q = next_QQ.sum(1) + stop_QU.max(1)
        np.testing.assert_allclose(total_Q[total_Q > 0], 1)
        is_start_Q = np.array([table.labels[state] is None for state in word.states_Q[side]])
        assert (total_Q[is_start_Q] > 0).all()
        assert (next_QQ[:, is_start_Q] == 0).all()
        assert (stop_QU.max(0) > 0).all()


def test_fillers_of_a_slot_are_as_probable_as_the_grammar_says():
    table = tables()
    totals = np.exp(table.log_fill).sum(-1)
    assert set(np.round(totals, 9).ravel()) == {0, 1}
    assert (totals[-1] == 0).all()
    assert (np.exp(table.log_fill[..., -1]) == 0).all()
    np.testing.assert_allclose(np.exp(table.log_root).sum(), 1)
