"""What words of a kind go with, in the generated treebank: weights that decide where a phrase attaches.

All numbers are weights, which automata.py normalises; what is absent has the weight 0. A table is of the form
{kind of the head: {kind of the dependent: weight}}. A head has a say in the preposition of its prepositional phrase,
and the preposition alone in what follows it.
"""

NOUN_KINDS = ["person", "animal", "place", "time", "tool", "food", "text", "event", "object"]
VERB_KINDS = ["motion", "rest", "eat", "cut", "see", "put", "give", "say", "tell", "want", "talk", "write"]

# How much likelier than others a verb takes these dependents. Complements that are not named it never takes.
FRAMES = {
    "motion": {"obl": 3.0},
    "rest": {"obl": 2.0},
    "eat": {"obj": 3.0, "obl": 0.8},
    "cut": {"obj": 9.0, "obl": 1.2},
    "see": {"obj": 12.0, "obl": 0.6},
    "put": {"obj": 30.0, "obl": 3.0},
    "give": {"obj": 9.0, "iobj": 5.0, "obl": 1.2},
    "say": {"ccomp": 7.0, "obj": 0.5, "obl": 0.4},
    "tell": {"obj": 12.0, "ccomp": 2.5, "obl": 1.0},
    "want": {"xcomp": 7.0, "obj": 2.0, "obl": 0.3},
    "talk": {"obl": 4.0, "ccomp": 0.2},
    "write": {"obj": 12.0, "obl": 0.9},
}
SUBJECTS = {
    "motion": {"person": 6, "animal": 3, "object": 0.5},
    "rest": {"person": 6, "animal": 3},
    "eat": {"person": 6, "animal": 4},
    "cut": {"person": 8, "tool": 1, "event": 0.3},
    "see": {"person": 8, "animal": 2, "event": 0.3},
    "put": {"person": 9, "animal": 1},
    "give": {"person": 9, "place": 0.5},
    "say": {"person": 8, "text": 1.5},
    "tell": {"person": 9, "text": 1},
    "want": {"person": 8, "animal": 1.5},
    "talk": {"person": 9, "text": 0.5},
    "write": {"person": 9},
}
OBJECTS = {
    "eat": {"food": 12, "animal": 0.5},
    "cut": {"object": 6, "food": 2, "tool": 2, "place": 1},
    "see": {"person": 5, "animal": 4, "place": 2, "event": 2, "object": 1, "text": 0.5},
    "put": {"object": 5, "food": 3, "tool": 3, "text": 1, "animal": 1},
    "give": {"text": 3, "food": 3, "object": 3, "tool": 2, "animal": 1},
    "say": {"event": 3, "text": 2, "place": 0.5},
    "tell": {"person": 12},
    "want": {"food": 3, "object": 3, "event": 2, "tool": 1, "animal": 1},
    "write": {"text": 12, "event": 0.5},
}
RECIPIENTS = {"give": {"person": 9, "animal": 2}}

# What follows a preposition, whatever it depends on: {preposition: {kind of noun: weight}}.
PREPOSITION_OBJECTS = {
    "of": {"person": 5, "place": 2, "event": 1, "food": 1},
    "in": {"place": 8, "time": 1, "object": 1},
    "on": {"object": 4, "time": 4, "place": 1},
    "at": {"place": 4, "event": 3, "time": 4},
    "to": {"place": 8, "event": 2},
    "from": {"place": 8, "person": 1},
    "with": {"tool": 6, "person": 4},
    "for": {"person": 4, "time": 3, "event": 2},
    "about": {"event": 5, "person": 4, "animal": 1, "place": 1, "food": 1},
    "by": {"person": 5, "place": 1},
    "near": {"place": 5, "object": 3},
    "into": {"place": 7, "object": 3},
    "during": {"event": 7, "time": 3},
    "after": {"event": 6, "time": 3},
    "before": {"event": 6, "time": 3},
}
PREPOSITIONS = list(PREPOSITION_OBJECTS)

# Which prepositions a head takes: {kind of the head: {preposition: weight}}. Each insists on a few, so that most
# attachments are decided by two words, the head and the preposition, in pairs that training sentences can teach.
VERB_PREPOSITIONS = {
    "motion": {"to": 49, "into": 16, "from": 16, "with": 4, "in": 1, "near": 1, "after": 0.25, "during": 0.09},
    "rest": {"in": 25, "for": 9, "with": 4, "near": 4, "at": 4, "on": 4, "during": 4, "after": 0.25},
    "eat": {"with": 49, "at": 4, "in": 4, "before": 1, "after": 1, "during": 1, "on": 0.25},
    "cut": {"with": 196, "for": 1, "in": 1, "on": 0.25},
    "see": {"in": 9, "with": 9, "at": 4, "during": 4, "from": 1, "near": 1, "on": 1},
    "put": {"in": 36, "on": 64, "into": 36, "near": 9, "to": 9, "from": 1},
    "give": {"to": 144, "for": 4, "at": 1, "after": 1},
    "say": {"to": 16, "at": 1, "during": 4, "in": 1},
    "tell": {"about": 81, "at": 1, "during": 1, "after": 1},
    "want": {"for": 9, "at": 1, "in": 1, "before": 1},
    "talk": {"about": 81, "with": 36, "to": 16, "at": 1, "during": 1},
    "write": {"for": 25, "with": 9, "to": 4, "at": 1, "in": 1, "on": 1},
}
NOUN_PREPOSITIONS = {
    "person": {"with": 25, "from": 16, "of": 1, "in": 4, "at": 1},
    "animal": {"of": 16, "with": 4, "from": 4, "near": 1},
    "place": {"of": 25, "near": 9, "in": 4, "for": 4, "with": 4},
    "time": {"of": 25, "with": 4, "before": 1},
    "tool": {"of": 16, "for": 16, "from": 1},
    "food": {"with": 36, "from": 9, "for": 9, "of": 1},
    "text": {"about": 64, "by": 25, "from": 9, "of": 4, "on": 1},
    "event": {"with": 16, "of": 16, "in": 9, "about": 4, "near": 1, "on": 1, "for": 1},
    "object": {"of": 16, "with": 9, "from": 4, "on": 4, "for": 1},
    "name": {"from": 3, "with": 1},
    "city": {"in": 3},
}
ADJECTIVE_PREPOSITIONS = {
    "feeling": {"with": 4, "about": 4, "of": 2, "for": 1},
    "quality": {"for": 3, "in": 2},
}
# A share of the prepositional phrases has a preposition that does not depend on the head.
ANY_HEAD_SHARE = 0.1
ANY_HEAD_PREPOSITIONS = {
    "in": 6,
    "on": 4,
    "at": 3,
    "with": 6,
    "from": 4,
    "for": 4,
    "about": 2,
    "near": 3,
    "to": 2,
    "by": 1,
    "of": 1,
    "after": 1,
    "before": 1,
    "during": 1,
}
# How much likelier than others a noun takes a prepositional phrase.
NOUN_PHRASE_FACTORS = {"time": 0.7, "text": 2.0, "event": 1.5, "person": 0.8, "animal": 0.6}

# Which nouns stand before a noun as its compound, and which verbs a relative clause of a noun has.
COMPOUNDS = {
    "person": {"place": 4, "event": 2},
    "animal": {"place": 4, "person": 1},
    "place": {"food": 2, "object": 2, "animal": 2},
    "time": {"event": 4, "time": 1},
    "tool": {"place": 3, "food": 4},
    "food": {"food": 5, "animal": 2},
    "text": {"event": 3, "animal": 1, "time": 1},
    "event": {"time": 4, "food": 3, "place": 2},
    "object": {"food": 3, "place": 4},
}
SUBJECT_RELATIVES = {
    "person": {"motion": 2, "rest": 2, "see": 2, "say": 1, "want": 1, "give": 1, "write": 2, "talk": 1, "put": 1},
    "animal": {"motion": 3, "rest": 3, "eat": 4, "see": 1},
    "tool": {"cut": 5},
    "text": {"say": 5, "tell": 2, "talk": 2},
    "event": {"cut": 1, "see": 1},
    "object": {"motion": 2},
}
OBJECT_RELATIVES = {
    "person": {"see": 5, "tell": 1},
    "animal": {"see": 4, "give": 1},
    "place": {"see": 4, "cut": 1},
    "tool": {"put": 3, "give": 2, "want": 1},
    "food": {"eat": 6, "put": 2, "give": 2, "want": 1},
    "text": {"write": 6, "give": 2, "say": 1},
    "event": {"see": 3, "want": 2, "say": 1},
    "object": {"put": 3, "cut": 3, "give": 2, "want": 1},
}
NOUN_INFINITIVES = {
    "time": {"rest": 3, "eat": 3, "motion": 2},
    "tool": {"cut": 6, "eat": 2},
    "event": {"motion": 2, "see": 3, "write": 2, "give": 1},
    "place": {"rest": 4, "eat": 2},
}
RELATIVE_CLAUSE_FACTORS = {"person": 1.5, "animal": 1.3, "event": 2.0, "tool": 1.5, "time": 0.7}

SAME_KIND_OF_CONJUNCT = 0.8  # the probability that what is joined by "and" is of one kind
