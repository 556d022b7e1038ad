"""Split head automata, which make the dependents of a word on each side, and what fills their slots.

The grammar is a split head automaton grammar (Eisner 1996; Eisner and Satta 1999), bilexical in the kinds of words. A
category is a tag with what the tag does not say: NOUN.with is a noun whose phrase begins with "with", VERB.infinitive
a verb that has its "to". On each side a word fills slots, one after the other, nearest first, until it stops; which
slot is next depends on the slot filled last, the automaton's state, and on the kind of the head. The dependent's
category and kind depend on the slot and on the kind of the head, its form on its own tag and kind. The analysis is
that of Universal Dependencies: prepositions are ``case`` dependents of their nouns, conjuncts depend on the first one.
No two slots of an automaton that can follow the same slot share a label and a category, and a dependent's label with
the words below it gives its category: a labelled tree has exactly one derivation.
"""

from typing import NamedTuple

from experiments.dependency_parser import preferences as prefer
from experiments.dependency_parser.preferences import NOUN_KINDS, VERB_KINDS

START, STOP = "start", "stop"
VERB_WEIGHTS = dict(zip(VERB_KINDS, (2, 1, 2.5, 3, 3, 3, 2, 2, 1.2, 1.2, 1.5, 3), strict=True))
SUBJECT_PRONOUNS, OBJECT_PRONOUNS = ("subject", 0.6), ("object", 0.12)  # a pronoun's kind, its share where persons are


class Slot(NamedTuple):
    """A place for one dependent: its relation, and {kind of the head: {(category, kind) of it: probability}}."""

    label: str
    fillers: dict


class Automaton(NamedTuple):
    """Slots by name, and {last slot or START: {kind of the head: {next slot or STOP: probability}}}."""

    slots: dict
    next: dict


class Category(NamedTuple):
    """A tag, and the names of the automata that make its dependents on each side."""

    tag: str
    left: str
    right: str


def normalize(weights):
    """{key: probability} in proportion to the weights, those of 0 left out."""
    total = sum(weights.values())
    return {key: weight / total for key, weight in weights.items() if weight}


def mix(*parts):
    """{key: weight} of several (share, {key: weight}), each normalised before it counts by its share."""
    mixed = {}
    for share, weights in parts:
        for key, probability in normalize(weights).items():
            mixed[key] = mixed.get(key, 0) + share * probability
    return mixed


def build_automaton(slots, order, kinds, factors=None):
    """An automaton of {name: (label, fillers)} and {state: {slot or STOP: weight}}, for heads of any of the kinds.

    ``fillers`` are weights, the same for every head or, in a function of its kind, none where the head takes no such
    dependent. ``factors`` {kind: {slot: factor}} multiply the weights of a head's slots.
    """
    fillers = {
        name: {kind: normalize(weights) for kind in kinds if (weights := fill(kind) if callable(fill) else fill)}
        for name, (_, fill) in slots.items()
    }

    def weigh(kind, slot, weight):
        if slot == STOP:
            return weight
        return weight * (factors or {}).get(kind, {}).get(slot, 1) if kind in fillers[slot] else 0

    return Automaton(
        {name: Slot(label, fillers[name]) for name, (label, _) in slots.items()},
        {
            state: {kind: normalize({slot: weigh(kind, slot, w) for slot, w in weights.items()}) for kind in kinds}
            for state, weights in order.items()
        },
    )


def nominals(kinds, variant="", pronouns=None):
    """{(category, kind): weight} of nouns, names and pronouns for {kind of noun: weight}.

    ``variant`` ends the category's name; ``pronouns`` are (a pronoun's kind, its share where persons are).
    """
    fillers = {}
    for kind, weight in kinds.items():
        name = {"person": "name", "place": "city"}.get(kind)
        pronoun, share = pronouns if pronouns and kind == "person" else (None, 0)
        fillers["NOUN" + variant, kind] = weight * (1 - share) * (0.75 if name else 1)
        if name:
            fillers["PROPN" + variant, name] = weight * (1 - share) * 0.25
        if pronoun:
            fillers["PRON" + variant, pronoun] = weight * share
    if kinds and pronouns and not variant:
        fillers["PRON", "neutral"] = 0.04 * sum(kinds.values())
    return fillers


def subjects(kinds):
    """{(category, kind): weight} of subjects of {kind of noun: weight}; their nouns take fewer phrases than others."""
    fillers = nominals(kinds, "", SUBJECT_PRONOUNS)
    return {("NOUN.subject" if category == "NOUN" else category, kind): w for (category, kind), w in fillers.items()}


def phrases(prepositions):
    """{(category, kind): weight} of the prepositional phrases of a head that takes {preposition: weight}.

    They are mixed with those that any head takes.
    """
    share = prefer.ANY_HEAD_SHARE
    return mix((1 - share, spread(prepositions)), (share, spread(prefer.ANY_HEAD_PREPOSITIONS)))


def spread(prepositions):
    """{(category, kind): weight} of phrases with {preposition: weight}, each with what follows the preposition."""
    objects = prefer.PREPOSITION_OBJECTS
    return mix(*((weight, nominals(objects[p], f".{p}", OBJECT_PRONOUNS)) for p, weight in prepositions.items()))


def conjuncts(kind, variant):
    """The nouns and names that are joined to a noun or name."""
    kind = {"name": "person", "city": "place"}.get(kind, kind)
    same = prefer.SAME_KIND_OF_CONJUNCT
    return nominals(mix((same, {kind: 1}), (1 - same, dict.fromkeys(NOUN_KINDS, 1))), variant)


def verbs(category, weights=VERB_WEIGHTS):
    """{(category, kind): weight} of verbs of that category."""
    return {(category, kind): weight for kind, weight in weights.items()}


def relative_clauses(kind):
    """The relative clauses of a noun, those that lack their subject and those that lack their object."""
    kind = {"name": "person", "city": "place"}.get(kind, kind)
    parts = []
    for category, table in (("subject", prefer.SUBJECT_RELATIVES), ("object", prefer.OBJECT_RELATIVES)):
        if kind in table:
            parts.append((1, verbs(f"VERB.{category}_relative", table[kind])))
    if kind in prefer.NOUN_INFINITIVES:
        parts.append((1.5, verbs("VERB.infinitive", prefer.NOUN_INFINITIVES[kind])))
    return mix(*parts)
