"""The most probable trees, against all trees of short sentences one by one, and by what decides an attachment."""

import math
from itertools import product

import numpy as np
import pytest

from data.treebanks import Sentence, is_projective
from experiments.dependency_parser.grammar import ROOT_LABEL, find_kinds, generate, grammar, is_tree, log_probability
from experiments.dependency_parser.optimum import log_probabilities, most_probable_tree, most_probable_trees

SHORT = [
    "she/PRON sleep/VERB ./PUNCT",
    "want/VERB to/PART walk/VERB",
    "he/PRON say/VERB she/PRON sleep/VERB often/ADV",
    "dog/NOUN see/VERB cat/NOUN with/ADP hammer/NOUN",
    "write/VERB poem/NOUN about/ADP Rome/PROPN today/ADV",
    "dog/NOUN and/CCONJ cat/NOUN sleep/VERB !/PUNCT",
    "give/VERB him/PRON garden/NOUN box/NOUN",
    "Anna/PROPN is/AUX very/ADV happy/ADJ",
    "song/NOUN he/PRON write/VERB",
    "see/VERB man/NOUN in/ADP park/NOUN with/ADP hammer/NOUN",
    "he/PRON say/VERB she/PRON sleep/VERB in/ADP park/NOUN with/ADP man/NOUN often/ADV",
]


@pytest.fixture(scope="module")
def sentences():
    return generate(80, seed=11)


@pytest.fixture(scope="module")
def best(sentences):
    heads_NT, labels = most_probable_trees(sentences)
    return [
        sentence._replace(heads=tuple(heads_T[1 : len(found) + 1].tolist()), labels=found)
        for sentence, heads_T, found in zip(sentences, heads_NT, labels, strict=True)
    ]


def read(text):
    """The forms and tags of "form/TAG form/TAG"."""
    return tuple(zip(*(word.rsplit("/", 1) for word in text.split()), strict=True))


def possible_labels(forms, tags):
    """{(head, dependent): labels} that the grammar has for the two words on these sides, whatever their categories."""
    rules, found = grammar(), {}
    kinds, _ = find_kinds(forms, tags)
    for head, dependent in product(range(len(forms)), repeat=2):
        word = tags[dependent], kinds[dependent]
        found[head + 1, dependent + 1] = {
            slot.label
            for category in rules.categories.values()
            if category.tag == tags[head]
            for slot in rules.automata[category.right if dependent > head else category.left].slots.values()
            if any((rules.categories[c].tag, kind) == word for c, kind in slot.fillers.get(kinds[head], ()))
        }
    return found


def all_trees(forms, tags):
    """Every labelled projective tree of a sentence that has a probability, with the logarithm of it."""
    labels, positions = possible_labels(forms, tags), range(1, len(forms) + 1)
    heads_of_words = [[0, *(h for h in positions if labels[h, m] and h != m)] for m in positions]
    for heads in product(*heads_of_words):
        if not is_tree(heads) or not is_projective(heads):
            continue
        choices = [{ROOT_LABEL} if head == 0 else labels[head, m] for m, head in enumerate(heads, 1)]
        for chosen in product(*choices):
            tree = Sentence(forms, tags, heads, chosen)
            if (logarithm := log_probability(tree)) > -math.inf:
                yield tree, logarithm


def test_the_chart_agrees_with_all_trees_of_short_sentences_one_by_one():
    """Its best tree is the best of all, and its sum over trees their sum; the sentences share one chart."""
    given = [Sentence(*read(text), (), ()) for text in SHORT]
    heads_NT, labels = most_probable_trees(given)
    totals_N, greatest_N = log_probabilities(given), log_probabilities(given, np.maximum)
    num_trees = []
    for n, sentence in enumerate(given):
        trees = list(all_trees(sentence.forms, sentence.tags))
        num_trees.append(len(trees))
        best, logarithm = max(trees, key=lambda found: found[1])
        assert tuple(heads_NT[n, 1 : len(sentence.forms) + 1]) == best.heads
        assert labels[n] == best.labels
        assert greatest_N[n] == pytest.approx(logarithm)
        assert totals_N[n] == pytest.approx(np.logaddexp.reduce([found for _, found in trees]))
    assert max(num_trees) >= 5


def test_generated_short_sentences_agree_with_all_their_trees():
    given = [sentence for sentence in generate(150, seed=2) if 4 <= len(sentence.forms) <= 5][:12]
    totals_N, greatest_N = log_probabilities(given), log_probabilities(given, np.maximum)
    for sentence, total, greatest in zip(given, totals_N, greatest_N, strict=True):
        logarithms = [found for _, found in all_trees(sentence.forms, sentence.tags)]
        assert greatest == pytest.approx(max(logarithms))
        assert total == pytest.approx(np.logaddexp.reduce(logarithms))


def test_the_best_tree_has_the_charts_best_probability_and_no_generated_tree_a_greater_one(sentences, best):
    """A tree has one derivation: else the sum over its derivations would exceed the chart's best one."""
    greatest_N = log_probabilities(sentences, np.maximum)
    of_best_N = np.array([log_probability(tree) for tree in best])
    of_drawn_N = np.array([log_probability(sentence) for sentence in sentences])
    np.testing.assert_allclose(of_best_N, greatest_N, rtol=1e-12)
    assert (of_drawn_N <= greatest_N + 1e-9).all()
    assert (log_probabilities(sentences[:20]) >= greatest_N[:20] - 1e-9).all()


def test_the_best_trees_are_trees_and_mostly_the_drawn_ones(sentences, best):
    for tree in best:
        assert is_tree(tree.heads)
        assert is_projective(tree.heads)
    pairs = list(zip(best, sentences, strict=True))
    right = np.concatenate([np.equal(tree.heads, drawn.heads) for tree, drawn in pairs])
    assert 0.95 < right.mean() < 0.995


def test_sentences_are_parsed_alike_alone_and_together(sentences, best):
    for n in (0, 1, int(np.argmax([len(sentence.forms) for sentence in sentences]))):
        assert most_probable_tree(sentences[n].forms, sentences[n].tags) == (best[n].heads, best[n].labels)


def test_what_is_beyond_a_sentence_has_no_head(sentences):
    heads_NT, _ = most_probable_trees(sentences[:20])
    longest = max(len(sentence.forms) for sentence in sentences[:20])
    assert heads_NT.shape == (20, longest + 1)
    for heads_T, sentence in zip(heads_NT, sentences, strict=False):
        assert heads_T[0] == -1
        assert (heads_T[1 : len(sentence.forms) + 1] >= 0).all()
        assert (heads_T[len(sentence.forms) + 1 :] == -1).all()
    heads_NT, labels = most_probable_trees([])
    assert heads_NT.shape == (0, 1)
    assert labels == []


@pytest.mark.parametrize(
    ("of_verb", "of_noun", "least_margin"),
    [
        ("she put the box on the table", "she see the box on the table", 1.6),
        ("she want the dog for the party", "she want the hammer for the party", 0.8),
        ("she write the letter for the teacher", "she write the letter by the teacher", 3),
        ("she tell the teacher about the dog", "she write the letter about the dog", 5),
    ],
    ids=["the verb", "the noun", "the preposition", "the verb and the noun"],
)
def test_words_alone_decide_where_a_prepositional_phrase_attaches(of_verb, of_noun, least_margin):
    """With the same tags; the better of the two trees is at least exp(least_margin) times as probable as the other."""
    tags = ("PRON", "VERB", "DET", "NOUN", "ADP", "DET", "NOUN")
    choices = [(2, "obl"), (4, "nmod")]
    for text, choice in zip((of_verb, of_noun), choices, strict=True):
        forms = tuple(text.split())
        heads, labels = most_probable_tree(forms, tags)
        assert (heads[6], labels[6]) == choice
        assert heads[:6] == (2, 0, 4, 2, 7, 7)
        best, other = (
            log_probability(Sentence(forms, tags, (*heads[:6], head), (*labels[:6], label)))
            for head, label in sorted(choices, key=lambda given: given != choice)
        )
        assert best - other > least_margin


@pytest.mark.parametrize(
    ("text", "head", "label"),
    [
        ("she cut the bread with the knife", "cut", "obl"),
        ("she see the teacher with the knife", "teacher", "nmod"),
    ],
)
def test_where_verb_and_noun_take_the_same_preposition_the_likelier_one_has_the_phrase(text, head, label):
    forms = tuple(text.split())
    heads, labels = most_probable_tree(forms, ("PRON", "VERB", "DET", "NOUN", "ADP", "DET", "NOUN"))
    assert (forms[heads[6] - 1], labels[6]) == (head, label)


def test_words_alone_decide_what_is_joined():
    for last, head in (("dog", "cat"), ("garden", "park")):
        forms = ("she", "see", "a", "cat", "in", "the", "park", "and", "a", last)
        heads, _ = most_probable_tree(
            forms, ("PRON", "VERB", "DET", "NOUN", "ADP", "DET", "NOUN", "CCONJ", "DET", "NOUN")
        )
        assert forms[heads[9] - 1] == head


def test_what_the_grammar_cannot_make_is_refused():
    with pytest.raises(ValueError, match="has no word telescopes/NOUN"):
        most_probable_tree(("telescopes",), ("NOUN",))
    with pytest.raises(ValueError, match="has no tree for: the of"):
        most_probable_tree(("the", "of"), ("DET", "ADP"))
    with pytest.raises(ValueError, match="has no words"):
        most_probable_tree((), ())
