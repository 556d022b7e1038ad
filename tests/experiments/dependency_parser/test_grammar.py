"""The generated treebank: its trees, its probabilities against closed forms and frequencies, and what it is like."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from data.treebanks import Sentence, is_projective
from experiments.dependency_parser.automata import START, STOP
from experiments.dependency_parser.grammar import (
    LONGEST,
    Sampler,
    find_kinds,
    generate,
    grammar,
    log_probability,
    write_out,
)
from experiments.dependency_parser.preferences import PREPOSITIONS

NUM_SENTENCES, STANDARD_ERRORS = 3000, 5


@pytest.fixture(scope="module")
def sentences():
    return generate(NUM_SENTENCES, seed=3)


@pytest.fixture(scope="module")
def unselected():
    """Sentences of any length, so that frequencies are those of the grammar."""
    sampler = Sampler(grammar(), seed=5)
    return [write_out(sampler.draw_sentence(longest=300)) for _ in range(NUM_SENTENCES)]


def test_every_tree_is_projective_with_one_root(sentences):
    for sentence in sentences:
        assert len(set(map(len, sentence[:4]))) == 1
        assert 1 <= len(sentence.forms) <= LONGEST
        assert sentence.heads.count(0) == sentence.labels.count("root") == 1
        assert sentence.labels[sentence.heads.index(0)] == "root"
        assert is_projective(sentence.heads)


def test_the_same_seed_gives_the_same_first_sentences(sentences):
    assert generate(50, seed=3) == sentences[:50]
    assert generate(50, seed=4) != sentences[:50]
    assert generate(0, seed=3) == ()
    with pytest.raises(ValueError, match="num_sentences=-1 must not be negative"):
        generate(-1, seed=3)


def test_every_distribution_sums_to_one():
    rules = grammar()
    distributions = [rules.root, *rules.lexicon.values()]
    for category in rules.categories.values():
        for name in (category.left, category.right):
            automaton = rules.automata[name]
            distributions += [given for kind in automaton.next.values() for given in kind.values() if given]
            distributions += [given for slot in automaton.slots.values() for given in slot.fillers.values()]
            assert set(automaton.next) == {START, *automaton.slots}
    for given in distributions:
        assert sum(given.values()) == pytest.approx(1)
        assert min(given.values()) > 0


def test_every_reachable_choice_leads_on():
    """No kind of head gets stuck: from each slot that it can fill it fills another or stops, with a known filler."""
    rules = grammar()
    for category in rules.categories.values():
        for kind in (kind for tag, kind in rules.lexicon if tag == category.tag):
            for name in (category.left, category.right):
                automaton, reached, new = rules.automata[name], set(), [START]
                if kind not in automaton.next[START]:
                    continue  # no slot takes this category with this kind
                while new:
                    state = new.pop()
                    reached.add(state)
                    assert automaton.next[state][kind], (name, state, kind)
                    if state != START:
                        assert automaton.slots[state].fillers[kind]
                    new += [slot for slot in automaton.next[state][kind] if slot not in reached | {STOP}]
    slots = [slot for automaton in rules.automata.values() for slot in automaton.slots.values()]
    for category, kind in {key for slot in slots for given in slot.fillers.values() for key in given}:
        assert (rules.categories[category].tag, kind) in rules.lexicon
        assert kind in rules.automata[rules.categories[category].left].next[START]
        assert kind in rules.automata[rules.categories[category].right].next[START]


def test_a_word_has_one_kind_a_tag_and_many_have_several_tags():
    kinds, tags = defaultdict(set), defaultdict(set)
    for (tag, kind), forms in grammar().lexicon.items():
        for form in forms:
            kinds[form, tag].add(kind)
            tags[form].add(tag)
    assert max(map(len, kinds.values())) == 1
    assert tags["walk"] >= {"NOUN", "VERB"}
    assert tags["that"] == {"SCONJ", "PRON", "DET"}
    assert sum(len(found) > 1 for found in tags.values()) > 0.2 * len(tags)


def assert_frequencies(counts, probabilities):
    """That counts are as likely ones, each within STANDARD_ERRORS of what the probabilities make it."""
    total = sum(counts.values())
    assert set(counts) <= set(probabilities)
    for key, p in probabilities.items():
        assert abs(counts[key] - total * p) <= STANDARD_ERRORS * math.sqrt(total * p * (1 - p)) + 1, key


def test_words_and_roots_come_as_often_as_the_grammar_says(unselected):
    rules, words, roots = grammar(), defaultdict(Counter), Counter()
    for sentence in unselected:
        kinds, _ = find_kinds(sentence.forms, sentence.tags)
        for form, tag, kind in zip(sentence.forms, sentence.tags, kinds, strict=True):
            words[tag, kind][form] += 1
        root = sentence.heads.index(0)
        roots[sentence.tags[root], kinds[root]] += 1
    for key, probabilities in rules.lexicon.items():
        assert_frequencies(words[key], probabilities)
    expected = Counter()
    for (category, kind), probability in rules.root.items():
        expected[rules.categories[category].tag, kind] += probability
    assert_frequencies(roots, expected)


def test_dependents_come_as_often_as_the_grammar_says(unselected):
    """The slot next to a sentence's verb on its right; and its objects and phrases, by tag and kind."""
    automaton = grammar().automata["VERB.main right"]
    nearest, objects = defaultdict(Counter), defaultdict(Counter)
    for sentence in unselected:
        kinds, _ = find_kinds(sentence.forms, sentence.tags)
        root = sentence.heads.index(0)
        if sentence.tags[root] != "VERB":
            continue
        on_the_right = [m for m in range(root + 1, len(kinds)) if sentence.heads[m] == root + 1]
        nearest[kinds[root]][sentence.labels[on_the_right[0]] if on_the_right else STOP] += 1
        for m in on_the_right:
            if sentence.labels[m] == "obj":
                objects[kinds[root]][sentence.tags[m], kinds[m]] += 1
    for kind, counts in nearest.items():
        assert_frequencies(counts, automaton.next[START][kind])
    for kind, counts in objects.items():
        fillers = automaton.slots["obj"].fillers[kind]
        assert_frequencies(counts, {(category.split(".")[0], other): p for (category, other), p in fillers.items()})


def test_sentences_of_one_word_come_as_often_as_their_probabilities_sum_to(unselected):
    total = sum(
        math.exp(log_probability(Sentence((form,), (tag,), (0,), ("root",))))
        for (tag, _), forms in grammar().lexicon.items()
        for form in forms
    )
    assert 0.0005 < total < 0.01
    assert_frequencies(Counter(len(sentence.forms) == 1 for sentence in unselected), {True: total, False: 1 - total})


def test_the_probability_of_a_sentence_is_the_product_of_its_choices():
    rules = grammar()
    sentence = Sentence(("she", "sleep"), ("PRON", "VERB"), (2, 0), ("nsubj", "root"))
    left, right = rules.automata["VERB.main left"], rules.automata["VERB.main right"]
    choices = (
        rules.root["VERB.main", "rest"],
        rules.lexicon["VERB", "rest"]["sleep"],
        left.next[START]["rest"]["nsubj"],
        left.slots["nsubj"].fillers["rest"]["PRON", "subject"],
        rules.lexicon["PRON", "subject"]["she"],
        left.next["nsubj"]["rest"][STOP],
        right.next[START]["rest"][STOP],
    )
    assert log_probability(sentence) == pytest.approx(math.log(math.prod(choices)))


def test_what_cannot_be_drawn_has_no_probability(sentences):
    forms, tags = ("she", "sleep", "today"), ("PRON", "VERB", "ADV")
    assert log_probability(Sentence(forms, tags, (2, 0, 2), ("nsubj", "root", "advmod"))) > -math.inf
    for heads, labels in [
        ((2, 0, 2), ("obj", "root", "advmod")),
        ((2, 0, 2), ("nsubj", "ccomp", "advmod")),
        ((0, 0, 2), ("root", "root", "advmod")),
        ((2, 0, 1), ("nsubj", "root", "advmod")),  # arcs that cross
        ((3, 0, 1), ("nsubj", "root", "advmod")),  # a cycle
    ]:
        assert log_probability(Sentence(forms, tags, heads, labels)) == -math.inf
    with pytest.raises(ValueError, match="has no word sleep/ADJ"):
        log_probability(Sentence(forms, ("PRON", "ADJ", "ADV"), (2, 0, 2), ("nsubj", "root", "advmod")))
    assert all(log_probability(sentence) > -math.inf for sentence in sentences[:300])


def prepositional_phrases():
    """For each kind of head and slot of phrases: {preposition: {(category, kind) of what follows: probability}}."""
    for automaton in grammar().automata.values():
        for slot in automaton.slots.values():
            if slot.label not in ("obl", "nmod"):
                continue
            for fillers in slot.fillers.values():
                found = defaultdict(dict)
                for (category, kind), probability in fillers.items():
                    found[category.split(".")[1]][category, kind] = probability
                yield found


def test_what_follows_a_preposition_does_not_depend_on_the_head():
    expected = {}
    for phrases in prepositional_phrases():
        for preposition, given in phrases.items():
            shares = {key: probability / sum(given.values()) for key, probability in given.items()}
            assert shares == pytest.approx(expected.setdefault(preposition, shares))
    assert set(expected) == set(PREPOSITIONS)


def test_heads_insist_on_their_prepositions():
    """With most kinds of head the likeliest two prepositions begin more than 0.6 of the phrases."""
    sums = [sorted(sum(given.values()) for given in phrases.values()) for phrases in prepositional_phrases()]
    assert np.mean([sum(found[-2:]) > 0.6 for found in sums]) > 0.8


def test_the_treebank_is_what_it_was_designed_to_be(sentences):
    """Length, arcs of many lengths, constructions, forms of several tags, and words that training does not have."""
    lengths = np.array([len(sentence.forms) for sentence in sentences])
    assert 11 <= lengths.mean() <= 14.5
    assert lengths.min() == 1
    arcs = Counter(min(abs(h - m), 10) for s in sentences for m, h in enumerate(s.heads, 1) if h)
    assert min(arcs[length] for length in range(1, 11)) > 100
    labels = {label for sentence in sentences for label in sentence.labels}
    assert labels >= {"nsubj", "obj", "iobj", "obl", "nmod", "conj", "acl", "advcl", "ccomp", "xcomp", "mark", "cop"}
    seen = defaultdict(set)
    for sentence in sentences[:-500]:
        for form, tag in zip(sentence.forms, sentence.tags, strict=True):
            seen[form].add(tag)
    held_out = [form for sentence in sentences[-500:] for form in sentence.forms]
    assert 0.005 < np.mean([form not in seen for form in held_out]) < 0.05
    assert 0.1 < np.mean([len(seen[form]) > 1 for form in held_out]) < 0.4
