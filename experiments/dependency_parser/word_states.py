"""The grammar of the generated treebank as arrays, and what each word of a sentence may be: what a chart is made from.

Axes: U categories a word may have, Q states of its automata on one side.
"""

from functools import cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from experiments.dependency_parser.automata import START, STOP
from experiments.dependency_parser.grammar import grammar

SIDES = ("left", "right")


class Tables(NamedTuple):
    """The grammar as arrays. A filler is a (category, kind) that some slot takes, a state an automaton's START or slot.

    ``kinds`` are {(tag, kind): row of its tag's kinds}; ``fillers`` are {tag: {kind: [ids]}}; ``states`` are
    {automaton: [ids]}, START first. The last state and the last filler stand for none, and have probability 0.
    """

    kinds: dict
    fillers: dict
    categories: list  # name of the category of each filler
    states: dict
    labels: list  # of each state: the label of its slot, None of START
    log_fill: np.ndarray  # [states, kinds of a tag, fillers]: of a slot's dependent, by the kind of the head
    log_root: np.ndarray  # [fillers]


class WordStates(NamedTuple):
    """What a word of some kind may be: its fillers [U], and for each side its states [Q] and their probabilities."""

    fillers_U: np.ndarray
    states_Q: tuple
    log_next_QQ: tuple
    log_stop_QU: tuple  # of stopping in a state of the category's automaton; -inf in another automaton's


@cache
def tables():
    """The ``Tables`` of the grammar."""
    rules = grammar()
    kinds, count = {}, {}
    for tag, kind in rules.lexicon:
        kinds[tag, kind] = count[tag] = count.get(tag, -1) + 1
    slots = [slot for automaton in rules.automata.values() for slot in automaton.slots.values()]
    keys = dict.fromkeys(key for slot in slots for weights in slot.fillers.values() for key in weights) | rules.root
    ids = {key: number for number, key in enumerate(keys)}
    fillers = {}
    for (category, kind), number in ids.items():
        fillers.setdefault(rules.categories[category].tag, {}).setdefault(kind, []).append(number)
    states, labels = {}, []
    for name, automaton in rules.automata.items():
        states[name] = range(len(labels), len(labels) + 1 + len(automaton.slots))
        labels += [None, *(slot.label for slot in automaton.slots.values())]
    log_fill = np.full((len(labels) + 1, max(count.values()) + 1, len(ids) + 1), -np.inf)
    for category in rules.categories.values():
        for name in (category.left, category.right):
            for state, slot in zip(states[name][1:], rules.automata[name].slots.values(), strict=True):
                for kind, probabilities in slot.fillers.items():
                    if (category.tag, kind) in kinds:
                        row = log_fill[state, kinds[category.tag, kind]]
                        row[[ids[key] for key in probabilities]] = np.log(list(probabilities.values()))
    log_root = np.full(len(ids) + 1, -np.inf)
    log_root[[ids[key] for key in rules.root]] = np.log(list(rules.root.values()))
    return Tables(kinds, fillers, [category for category, _ in ids], states, labels, log_fill, log_root)


# --- What each word may be.


@cache
def required_words(automaton_name, tag, kind):
    """For each slot that a head of this kind must fill: the set of the (tag, kind) of the words that can fill it."""
    rules = grammar()
    automaton = rules.automata[automaton_name]

    def stops_without(avoided):
        reached, new = set(), [START]
        while new:
            state = new.pop()
            reached.add(state)
            new += [slot for slot in automaton.next.get(state, {}).get(kind, {}) if slot not in reached | {avoided}]
        return STOP in reached

    return [
        frozenset((rules.categories[category].tag, other) for category, other in slot.fillers.get(kind, {}))
        for name, slot in automaton.slots.items()
        if not stops_without(name)
    ]


@cache
def possible_fillers(tag, kind):
    """[(filler, words required on its left, words required on its right)] of a word of that kind."""
    rules, table = grammar(), tables()
    possible = []
    for filler in table.fillers[tag].get(kind, ()):
        category = rules.categories[table.categories[filler]]
        possible.append((filler, *(required_words(name, tag, kind) for name in (category.left, category.right))))
    return possible


def prune(words):
    """The fillers that each word (tag, kind) of a sentence may be, given which words are on each side: a tuple a word.

    It leaves out only what has no tree: a noun "with" something needs the word "with" on its left.
    """
    before = [frozenset(), *accumulate((frozenset([word]) for word in words), frozenset.union)]
    after = [frozenset(), *accumulate((frozenset([word]) for word in reversed(words)), frozenset.union)][::-1]
    return [
        tuple(
            filler
            for filler, left, right in possible_fillers(*word)
            if not any(map(before[n].isdisjoint, left)) and not any(map(after[n + 1].isdisjoint, right))
        )
        for n, word in enumerate(words)
    ]


@cache
def word_states(tag, kind, fillers):
    """The ``WordStates`` of a word that may be any of the fillers."""
    rules, table = grammar(), tables()
    categories = [rules.categories[table.categories[filler]] for filler in fillers]
    sides = []
    for side in SIDES:
        names = [getattr(category, side) for category in categories]
        states, log_next, log_stop = [], np.zeros((0, 0)), np.zeros((0, len(fillers)))
        for name in dict.fromkeys(names):
            own = [START, *rules.automata[name].slots]
            next_slots = [rules.automata[name].next[state].get(kind, {}) for state in own]
            old = len(states)
            states += table.states[name]
            block = np.array([[weights.get(slot, 0) for slot in own] for weights in next_slots])
            stop = np.array([[weights.get(STOP, 0) * (name == other) for other in names] for weights in next_slots])
            both = np.zeros((len(states), len(states)))
            both[:old, :old], both[old:, old:] = log_next, block
            log_next, log_stop = both, np.concatenate([log_stop, stop])
        with np.errstate(divide="ignore"):
            sides.append((np.array(states, int), np.log(log_next), np.log(log_stop)))
    return WordStates(np.array(fillers, int), *zip(*sides, strict=True))
