"""The generated treebank: sentences drawn, with their trees, from a grammar whose every probability is known.

The grammar is a split head automaton grammar over kinds of words: automata.py explains it, rules.py states it,
preferences.py and lexicon.py hold its numbers and words. Most attachments are decided by pairs of words: by the kind
of the head and the preposition, or the kind of the dependent. As the probabilities are known, so is the best parser
there can be: optimum.py.
"""

import math
import random
from bisect import bisect
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from data.treebanks import Sentence, is_projective
from experiments.dependency_parser.automata import START, STOP
from experiments.dependency_parser.lexicon import lexicon
from experiments.dependency_parser.rules import build_automata, build_categories, root_fillers

LONGEST = 40  # words; longer drawn sentences are left out, which changes no sentence's most probable tree
ROOT_LABEL = "root"


class Grammar(NamedTuple):
    """A split head automaton grammar.

    ``lexicon`` is {(tag, kind): {form: probability}}, ``categories`` and ``automata`` are by name, and ``root`` is
    {(category, kind): probability} of a sentence's root.
    """

    lexicon: dict
    categories: dict
    automata: dict
    root: dict


class Word(NamedTuple):
    """A drawn word with its dependents on each side, nearest first."""

    form: str
    tag: str
    label: str
    left: list
    right: list


@cache
def grammar():
    """The grammar of the generated treebank."""
    return Grammar(lexicon(), build_categories(), build_automata(), root_fillers())


def generate(num_sentences, seed):
    """The first ``num_sentences`` of an endless treebank, a tuple of ``Sentence``, the same for the same seed.

    Raises ValueError where the number is negative.
    """
    if num_sentences < 0:
        raise ValueError(f"num_sentences={num_sentences} must not be negative")
    sampler, sentences = Sampler(grammar(), seed), []
    while len(sentences) < num_sentences:
        root = sampler.draw_sentence()
        if root is not None:
            sentences.append(write_out(root))
    return tuple(sentences)


class Sampler:
    """Draws words and their dependents; random.Random, whose stream Python keeps for good, draws the numbers."""

    def __init__(self, grammar, seed):
        self.grammar = grammar
        self.random = random.Random(seed).random
        self.cumulative = {}  # by the identity of the distribution, which the grammar keeps alive
        self.num_words = 0

    def choose(self, probabilities):
        """A key of {key: probability}."""
        if id(probabilities) not in self.cumulative:
            self.cumulative[id(probabilities)] = (list(probabilities), list(accumulate(probabilities.values())))
        keys, sums = self.cumulative[id(probabilities)]
        return keys[min(bisect(sums, self.random() * sums[-1]), len(keys) - 1)]

    def draw_sentence(self, longest=LONGEST):
        """The root of a sentence as ``Word``, or None where the sentence would be longer than ``longest``."""
        self.num_words = 0
        try:
            return self.draw_word(ROOT_LABEL, *self.choose(self.grammar.root), longest)
        except OverflowError:
            return None

    def draw_word(self, label, category, kind, longest):
        """A ``Word`` of the category and kind, with all that depends on it."""
        self.num_words += 1
        if self.num_words > longest:
            raise OverflowError
        tag, left, right = self.grammar.categories[category]
        form = self.choose(self.grammar.lexicon[tag, kind])
        sides = [self.draw_dependents(self.grammar.automata[name], kind, longest) for name in (left, right)]
        return Word(form, tag, label, *sides)

    def draw_dependents(self, automaton, kind, longest):
        """The dependents that an automaton makes for a head of that kind, nearest first."""
        dependents, state = [], START
        while (state := self.choose(automaton.next[state][kind])) != STOP:
            label, fillers = automaton.slots[state]
            dependents.append(self.draw_word(label, *self.choose(fillers[kind]), longest))
        return dependents


def write_out(root):
    """The ``Sentence`` of a drawn root."""
    words, heads = [], []

    def visit(word):
        """Appends the words below, and returns the index of ``word``."""
        inner = [visit(dependent) for dependent in reversed(word.left)]
        index = len(words)
        words.append(word)
        heads.append(0)
        for dependent in inner + [visit(dependent) for dependent in word.right]:
            heads[dependent] = index + 1
        return index

    visit(root)
    return Sentence(
        tuple(word.form for word in words),
        tuple(word.tag for word in words),
        tuple(heads),
        tuple(word.label for word in words),
    )


# --- The probability of a tree.


def is_tree(heads):
    """Whether each word is below ROOT, and just one of them right below it."""
    reached, new = set(), {0}
    while new:
        reached |= new
        new = {word for word, head in enumerate(heads, 1) if head in new} - reached
    return len(reached) == len(heads) + 1 and heads.count(0) == 1


@cache
def kinds_of_words():
    """{(form, tag): (kind, log probability of the form in that tag and kind)} of all words of the grammar."""
    return {
        (form, tag): (kind, math.log(probability))
        for (tag, kind), forms in grammar().lexicon.items()
        for form, probability in forms.items()
    }


def find_kinds(forms, tags):
    """The kinds of a sentence's words, and the log probabilities of the words in them.

    Raises ValueError where the grammar does not have one of the words, or not under its tag.
    """
    known = kinds_of_words()
    unknown = [f"{form}/{tag}" for form, tag in zip(forms, tags, strict=True) if (form, tag) not in known]
    if unknown:
        raise ValueError(
            f"the grammar of the generated treebank has no word {unknown[0]}: give words that it generates"
        )
    return [[known[word][column] for word in zip(forms, tags, strict=True)] for column in range(2)]


def log_probability(sentence):
    """The natural logarithm of the probability of a tree with its words, tags and labels; -inf of what cannot be drawn.

    It is that of a draw before the longest sentences are left out. It sums over a tree's derivations: there is one.
    Raises ValueError where a word is unknown.
    """
    rules = grammar()
    kinds, log_words = find_kinds(sentence.forms, sentence.tags)
    dependents = [[[], []] for _ in range(len(kinds) + 1)]
    for position, head in enumerate(sentence.heads, 1):
        dependents[head][position > head].append(position)
    categories = {}
    for name, category in rules.categories.items():
        categories.setdefault(category.tag, []).append((name, category))

    def weigh_below(position):
        """{category: probability} of all that depends on a word, for each category that the word may have."""
        below = {dependent: weigh_below(dependent) for side in dependents[position] for dependent in side}
        nearest_first = dependents[position][0][::-1], dependents[position][1]
        probabilities = {}
        for name, category in categories[sentence.tags[position - 1]]:
            automata = rules.automata[category.left], rules.automata[category.right]
            weights = [
                weigh_side(automaton, position, side, below)
                for automaton, side in zip(automata, nearest_first, strict=True)
            ]
            if all(weights):
                probabilities[name] = math.prod(weights)
        return probabilities

    def weigh_side(automaton, position, side, below):
        """The probability of the dependents on one side of a word, and of what is below them."""
        kind = kinds[position - 1]
        states = {START: 1.0}  # {slot filled last: probability}
        for dependent in side:
            label = sentence.labels[dependent - 1]
            filled = {}
            for state, so_far in states.items():
                for slot, probability in automaton.next[state].get(kind, {}).items():
                    if slot == STOP or automaton.slots[slot].label != label:
                        continue
                    fillers = automaton.slots[slot].fillers[kind]
                    fit = sum(p * fillers.get((name, kinds[dependent - 1]), 0) for name, p in below[dependent].items())
                    filled[slot] = filled.get(slot, 0) + so_far * probability * fit
            states = filled
        return sum(p * automaton.next[state].get(kind, {}).get(STOP, 0) for state, p in states.items())

    roots = dependents[0][1]
    if not is_tree(sentence.heads) or not is_projective(sentence.heads) or sentence.labels[roots[0] - 1] != ROOT_LABEL:
        return -math.inf
    total = sum(p * rules.root.get((name, kinds[roots[0] - 1]), 0) for name, p in weigh_below(roots[0]).items())
    return math.log(total) + sum(log_words) if total else -math.inf
