"""The rules of the generated treebank: the automata of each tag, its categories, and what a sentence's root is.

An automaton is written as {name of a slot: (label, fillers)} and {slot filled last: {next slot or STOP: weight}}, from
the head outward; the kinds of the head shift the weights (preferences.py).
"""

from experiments.dependency_parser import preferences as prefer
from experiments.dependency_parser.automata import (
    OBJECT_PRONOUNS,
    START,
    STOP,
    Category,
    build_automaton,
    conjuncts,
    mix,
    nominals,
    phrases,
    relative_clauses,
    subjects,
    verbs,
)
from experiments.dependency_parser.lexicon import WORDS
from experiments.dependency_parser.preferences import NOUN_KINDS, PREPOSITIONS, VERB_KINDS

FINAL_PUNCTUATION = 0.85  # the probability that a sentence ends with it
NOUN_FACTORS = {
    kind: {"nmod": prefer.NOUN_PHRASE_FACTORS.get(kind, 1), "acl": prefer.RELATIVE_CLAUSE_FACTORS.get(kind, 1)}
    for kind in NOUN_KINDS
}
VERB_FACTORS = {kind: {"iobj": 0, "obj": 0, "ccomp": 0, "xcomp": 0, **prefer.FRAMES[kind]} for kind in VERB_KINDS}

# Slots that stand in several automata: (label, fillers).
COMMA = ("punct", {("PUNCT", "comma"): 1})
CONJUNCTION = ("cc", {("CCONJ", "conjunction"): 1})
THAT = ("mark", {("SCONJ", "that"): 1})
NOT = ("advmod", {("PART", "not"): 1})
DEGREE = ("advmod", {("ADV.degree", "degree"): 1})
MANNER = ("advmod", {("ADV", "manner"): 1})
PERIOD = ("punct", {("PUNCT", "period"): 1})
RELATIVE_PRONOUN = {("PRON.relative", "relative"): 1}
CLAUSES = mix((0.9, verbs("VERB.clause")), (0.1, {("ADJ.clause", "quality"): 1, ("ADJ.clause", "feeling"): 1}))

ADVERBIALS = mix((0.6, verbs("VERB.adverbial")), (0.4, verbs("VERB.infinitive")))


def case(preposition):
    """The slot of a preposition."""
    return "case", {("ADP", preposition): 1}


def same_or_other_verbs(kind):
    """The verbs that are joined to a verb: often of its kind."""
    return mix((0.6, {("VERB.coordinate", kind): 1}), (0.4, verbs("VERB.coordinate")))


def verb_subjects(kind):
    """The subjects of a verb."""
    return subjects(prefer.SUBJECTS[kind])


def verb_phrases(kind):
    """The prepositional phrases of a verb."""
    return phrases(prefer.VERB_PREPOSITIONS[kind])


def adjective_subjects(kind):
    """The subjects of an adjective."""
    kinds = {"person": 8, "animal": 1} if kind == "feeling" else dict.fromkeys(NOUN_KINDS, 1)
    return subjects(kinds)


def adjective_phrases(kind):
    """The prepositional phrases of an adjective."""
    return phrases(prefer.ADJECTIVE_PREPOSITIONS[kind])


def noun_phrases(kind):
    """The prepositional phrases of a noun or name."""
    return phrases(prefer.NOUN_PREPOSITIONS[kind])


def recipients(kind):
    """The indirect objects of a verb; none of one that has no recipient."""
    return nominals(prefer.RECIPIENTS.get(kind, {}), "", OBJECT_PRONOUNS)


def objects(kind):
    """The objects of a verb; none of an intransitive one."""
    return nominals(prefer.OBJECTS.get(kind, {}), "", OBJECT_PRONOUNS)


def compounds(kind):
    """The nouns that stand before a noun as its compound."""
    return {("NOUN.bare", other): weight for other, weight in prefer.COMPOUNDS[kind].items()}


def list_members(kind):
    """The nouns and names of a list, each after its comma."""
    return conjuncts(kind, ".list")


def coordinate_nominals(kind):
    """The nouns and names after a conjunction."""
    return conjuncts(kind, ".and")


# --- The left side of predicates: adverb or negation, auxiliary, subject, and the end, which begins the clause.

VERB_LEFT_SLOTS = {
    "advmod": MANNER,
    "not": NOT,
    "aux": ("aux", {("AUX", "modal"): 1}),
    "nsubj": ("nsubj", verb_subjects),
    "obl": ("obl", verb_phrases),
}
ADJECTIVE_LEFT_SLOTS = {
    "degree": DEGREE,
    "not": NOT,
    "cop": ("cop", {("AUX", "be"): 1}),
    "nsubj": ("nsubj", adjective_subjects),
    "obl": ("obl", adjective_phrases),
}
END_SLOTS = {
    "comma": COMMA,
    "fronted": MANNER,
    "advcl": ("advcl", verbs("VERB.adverbial")),
    "that": THAT,
    "mark": ("mark", {("SCONJ", "adverbial"): 1}),
    "to": ("mark", {("PART", "to"): 1}),
    "object": ("obj", RELATIVE_PRONOUN),
    "cc": CONJUNCTION,
}
# Of each kind of clause: {state: {slot or STOP: weight}} from the subject on, and what may come in its place.
ENDS = {
    "main": (
        {
            "nsubj": {STOP: 1, "comma": 0.1, "fronted": 0.04, "cc": 0.04},
            "comma": {"advcl": 0.5, "obl": 0.4, "fronted": 0.1},
            "advcl": {STOP: 1},
            "obl": {STOP: 1},
            "fronted": {STOP: 1},
            "cc": {STOP: 1},
        },
        {STOP: 0.04},
    ),
    "clause": ({"nsubj": {"that": 0.5, STOP: 0.5}, "that": {STOP: 1}}, {}),
    "adverbial": ({"nsubj": {"mark": 1}, "mark": {STOP: 1}}, {}),
    "infinitive": ({"to": {STOP: 1, "not": 0.05}, "not": {STOP: 1}}, {"to": 1}),
    "subject_relative": ({"nsubj": {STOP: 1}}, {}),
    "object_relative": ({"nsubj": {"object": 0.6, STOP: 0.4}, "object": {STOP: 1}}, {}),
    "coordinate": ({"nsubj": {"cc": 1}, "cc": {STOP: 1}}, {"cc": 1.5}),
}


def predicate_left(tag, clause):
    """The left automaton of a verb, or of an adjective with its copula, in a clause."""
    end, instead = ENDS[clause]
    if tag == "VERB":
        slots, kinds, subject = VERB_LEFT_SLOTS | END_SLOTS, VERB_KINDS, {"nsubj": 1} | instead
        order = {START: {"advmod": 0.12, "not": 0.05, "aux": 0.25} | subject, "advmod": {"aux": 0.25} | subject}
        order |= {"not": {"aux": 1}, "aux": subject}
    else:
        slots, kinds = ADJECTIVE_LEFT_SLOTS | END_SLOTS, WORDS["ADJ"]
        order = {START: {"degree": 0.25, "not": 0.06, "cop": 1}, "degree": {"cop": 1}, "not": {"cop": 1}}
        order |= {"cop": {"nsubj": 1}}
    if clause == "infinitive":
        order = {START: {"advmod": 0.06} | instead, "advmod": instead}
    if clause == "subject_relative":
        slots = slots | {"nsubj": ("nsubj", RELATIVE_PRONOUN)}
    return build(slots, order | end, kinds)


def build(slots, order, kinds, factors=None):
    """``build_automaton`` with those of the slots that the order names."""
    names = {slot for weights in order.values() for slot in weights}
    return build_automaton({name: slot for name, slot in slots.items() if name in names}, order, kinds, factors)


# --- The right side of predicates.

VERB_RIGHT_SLOTS = {
    "iobj": ("iobj", recipients),
    "obj": ("obj", objects),
    "advmod": MANNER,
    "obl": ("obl", verb_phrases),
    "xcomp": ("xcomp", verbs("VERB.infinitive")),
    "ccomp": ("ccomp", CLAUSES),
    "advcl": ("advcl", ADVERBIALS),
    "conj": ("conj", same_or_other_verbs),
    "punct": PERIOD,
}
VERB_RIGHT_ORDER = {
    START: {
        "iobj": 1,
        "obj": 1,
        "xcomp": 1,
        "ccomp": 1,
        "advmod": 0.2,
        "obl": 1,
        "advcl": 0.07,
        "conj": 0.08,
        STOP: 0.4,
    },
    "iobj": {"obj": 1, STOP: 0.3},
    "obj": {"advmod": 0.2, "obl": 1.3, "ccomp": 0.5, "advcl": 0.07, "conj": 0.08, STOP: 0.7},
    "advmod": {"obl": 0.3, "advcl": 0.07, "conj": 0.05, STOP: 1},
    "obl": {"obl": 0.35, "advmod": 0.15, "advcl": 0.07, "conj": 0.07, STOP: 1},
    "xcomp": {"advcl": 0.03, "conj": 0.03, STOP: 1},
    "ccomp": {"advcl": 0.03, "conj": 0.03, STOP: 1},
    "advcl": {"conj": 0.03, STOP: 1},
    "conj": {STOP: 1},
}
ADJECTIVE_RIGHT_SLOTS = {
    "obl": ("obl", adjective_phrases),
    "advcl": ("advcl", ADVERBIALS),
    "punct": PERIOD,
}
ADJECTIVE_RIGHT_ORDER = {
    START: {"obl": 0.7, "advcl": 0.1, STOP: 1},
    "obl": {"advcl": 0.1, STOP: 1},
    "advcl": {STOP: 1},
}


def drop_slots(order, *slots):
    """The order in which these slots are never filled."""
    return {
        state: {slot: weight for slot, weight in weights.items() if slot not in slots}
        for state, weights in order.items()
        if state not in slots
    }


def add_punctuation(order):
    """The order in which FINAL_PUNCTUATION of what stops has punctuation first."""
    share = FINAL_PUNCTUATION
    punctuated_order = {
        state: {slot: weight for slot, weight in weights.items() if slot != STOP}
        | ({"punct": share * weights[STOP], STOP: (1 - share) * weights[STOP]} if STOP in weights else {})
        for state, weights in order.items()
    }
    return punctuated_order | {"punct": {STOP: 1}}


# --- Nouns, names, pronouns and what stands before them.

NOUN_LEFT_SLOTS = {
    "compound": ("compound", compounds),
    "amod": ("amod", {("ADJ", "quality"): 4, ("ADJ", "feeling"): 1}),
    "nummod": ("nummod", {("NUM", "number"): 1}),
    "det": ("det", {("DET", "article"): 1}),
}
NOUN_RIGHT_SLOTS = {
    "acl": ("acl", relative_clauses),
    "nmod": ("nmod", noun_phrases),
    "list": ("conj", list_members),
    "conj": ("conj", coordinate_nominals),
    "punct": PERIOD,
}
NOUN_RIGHT_ORDER = {
    START: {"nmod": 0.8, "acl": 0.06, "list": 0.02, "conj": 0.1, STOP: 0.45},
    "nmod": {"nmod": 0.1, "acl": 0.02, "list": 0.01, "conj": 0.05, STOP: 0.8},
    "acl": {"conj": 0.03, STOP: 1},
    "list": {"list": 0.3, "conj": 0.7},
    "conj": {STOP: 1},
}
# Within a prepositional phrase others are rarer, so that sentences end.
PHRASE_RIGHT_ORDER = NOUN_RIGHT_ORDER | {START: {"nmod": 0.32, "acl": 0.03, "list": 0.01, "conj": 0.06, STOP: 0.8}}
SUBJECT_RIGHT_ORDER = NOUN_RIGHT_ORDER | {START: {"nmod": 0.1, "acl": 0.05, "list": 0.01, "conj": 0.08, STOP: 0.9}}
NAME_RIGHT_ORDER = NOUN_RIGHT_ORDER | {START: {"nmod": 0.06, "acl": 0.03, "list": 0.01, "conj": 0.08, STOP: 1}}
ADJECTIVE_SLOTS = {
    "degree": DEGREE,
    "cc": CONJUNCTION,
    "conj": ("conj", {("ADJ.and", "quality"): 4, ("ADJ.and", "feeling"): 1}),
}


def noun_left(end):
    """The left automaton of a noun whose phrase begins with the slot ``end``, or with no more."""
    last = "end" if end else STOP
    order = {
        START: {"compound": 0.05, "amod": 0.18, "nummod": 0.04, "det": 0.55, last: 0.35},
        "compound": {"amod": 0.25, "nummod": 0.04, "det": 0.55, last: 0.35},
        "amod": {"amod": 0.12, "nummod": 0.04, "det": 0.55, last: 0.35},
        "nummod": {"det": 0.3, last: 0.7},
        "det": {last: 1},
        "end": {STOP: 1},
    }
    slots = NOUN_LEFT_SLOTS | ({"end": end} if end else {})
    return build(slots, order if end else drop_slots(order, "end"), NOUN_KINDS)


def one_slot_automaton(slot, kinds):
    """The automaton that fills one slot and stops."""
    return build_automaton({"end": slot}, {START: {"end": 1}, "end": {STOP: 1}}, kinds)


def build_automata():
    """All automata by name; a side's name ends in " left" or " right"."""
    every_kind = [kind for kinds in WORDS.values() for kind in kinds]
    automata = {"nothing": build_automaton({}, {START: {STOP: 1}}, every_kind)}
    for clause in ENDS:
        automata[f"VERB.{clause} left"] = predicate_left("VERB", clause)
    for clause in ("main", "clause"):
        automata[f"ADJ.{clause} left"] = predicate_left("ADJ", clause)
    gap = drop_slots(VERB_RIGHT_ORDER, "obj", "conj")
    for name, order in {
        "VERB right": VERB_RIGHT_ORDER,
        "VERB.main right": add_punctuation(VERB_RIGHT_ORDER),
        "VERB.coordinate right": drop_slots(VERB_RIGHT_ORDER, "conj", "advcl"),
        "VERB.object_relative right": gap | {START: gap[START] | {"iobj": 0.1, STOP: 1}},
    }.items():
        automata[name] = build(VERB_RIGHT_SLOTS, order, VERB_KINDS, VERB_FACTORS)
    automata["ADJ right"] = build(ADJECTIVE_RIGHT_SLOTS, ADJECTIVE_RIGHT_ORDER, WORDS["ADJ"])
    automata["ADJ.main right"] = build(ADJECTIVE_RIGHT_SLOTS, add_punctuation(ADJECTIVE_RIGHT_ORDER), WORDS["ADJ"])

    automata["NOUN left"] = noun_left(None)
    for variant, slot in [("and", CONJUNCTION), ("list", COMMA), *((p, case(p)) for p in PREPOSITIONS)]:
        automata[f"NOUN.{variant} left"] = noun_left(slot)
        automata[f"end.{variant}"] = one_slot_automaton(slot, [*WORDS["PROPN"], "object"])
    for name, order in {
        "NOUN right": NOUN_RIGHT_ORDER,
        "NOUN.phrase right": PHRASE_RIGHT_ORDER,
        "NOUN.subject right": SUBJECT_RIGHT_ORDER,
        "NOUN.coordinate right": drop_slots(NOUN_RIGHT_ORDER, "conj", "list"),
        "NOUN.title right": add_punctuation(NOUN_RIGHT_ORDER),
    }.items():
        automata[name] = build(NOUN_RIGHT_SLOTS, order, NOUN_KINDS, NOUN_FACTORS)
    automata["PROPN right"] = build(NOUN_RIGHT_SLOTS, NAME_RIGHT_ORDER, WORDS["PROPN"])
    automata["PROPN.coordinate right"] = build(
        NOUN_RIGHT_SLOTS, drop_slots(NAME_RIGHT_ORDER, "conj", "list"), WORDS["PROPN"]
    )

    kinds = WORDS["ADJ"]
    degree = {START: {"degree": 0.12, STOP: 1}, "degree": {STOP: 1}}
    automata["ADJ left"] = build(ADJECTIVE_SLOTS, degree, kinds)
    automata["ADJ.attribute right"] = build(ADJECTIVE_SLOTS, {START: {"conj": 0.06, STOP: 1}, "conj": {STOP: 1}}, kinds)
    automata["ADJ.and left"] = one_slot_automaton(CONJUNCTION, kinds)
    automata["ADV left"] = build({"degree": DEGREE}, degree, ["manner"])
    automata["INTJ right"] = build({"punct": PERIOD}, add_punctuation({START: {STOP: 1}}), ["interjection"])
    return automata


def build_categories():
    """All categories by name."""
    categories = {
        "NOUN": Category("NOUN", "NOUN left", "NOUN right"),
        "NOUN.subject": Category("NOUN", "NOUN left", "NOUN.subject right"),
        "NOUN.title": Category("NOUN", "NOUN left", "NOUN.title right"),
        "PROPN": Category("PROPN", "nothing", "PROPN right"),
        "ADJ": Category("ADJ", "ADJ left", "ADJ.attribute right"),
        "ADJ.and": Category("ADJ", "ADJ.and left", "nothing"),
        "ADJ.main": Category("ADJ", "ADJ.main left", "ADJ.main right"),
        "ADJ.clause": Category("ADJ", "ADJ.clause left", "ADJ right"),
        "ADV": Category("ADV", "ADV left", "nothing"),
        "INTJ": Category("INTJ", "nothing", "INTJ right"),
    }
    own_right_side = ("main", "coordinate", "object_relative")
    for clause in ENDS:
        right = f"VERB.{clause} right" if clause in own_right_side else "VERB right"
        categories[f"VERB.{clause}"] = Category("VERB", f"VERB.{clause} left", right)
    for variant in ("and", "list"):
        categories[f"NOUN.{variant}"] = Category("NOUN", f"NOUN.{variant} left", "NOUN.coordinate right")
        categories[f"PROPN.{variant}"] = Category("PROPN", f"end.{variant}", "PROPN.coordinate right")
    for preposition in PREPOSITIONS:
        categories[f"NOUN.{preposition}"] = Category("NOUN", f"NOUN.{preposition} left", "NOUN.phrase right")
        categories[f"PROPN.{preposition}"] = Category("PROPN", f"end.{preposition}", "PROPN right")
        categories[f"PRON.{preposition}"] = Category("PRON", f"end.{preposition}", "nothing")
    leaves = ["NOUN.bare", "PRON", "PRON.relative", "ADV.degree", "DET", "NUM", "AUX", "ADP", "CCONJ", "SCONJ", "PART"]
    leaves.append("PUNCT")
    return categories | {name: Category(name.split(".")[0], "nothing", "nothing") for name in leaves}


def root_fillers():
    """{(category, kind): probability} of a sentence's root."""
    return mix(
        (0.86, verbs("VERB.main")),
        (0.08, {("ADJ.main", "quality"): 1, ("ADJ.main", "feeling"): 1}),
        (0.05, {("NOUN.title", kind): 1 for kind in NOUN_KINDS}),
        (0.01, {("INTJ", "interjection"): 1}),
    )
