"""A generated language pair: a little English, and an invented language whose every word is known to follow from it.

Source (| separates choices, [ ] is optional, * is none to three times), and what becomes of it:

    sentence: [adverb] clause [conjunction clause]       the same order
    clause:   subject plain phrase place*                subject, object (the phrase), places, verb: the verb goes last
            | subject phrasal phrase particle place*     the same, the verb and its particle as one word
    subject:  demonstrative [adjective] noun             noun [adjective]; "this", "both" or "these" is dropped
    phrase:   the [adjective] noun                       noun [adjective]; "the" is dropped
    place:    preposition phrase                         the same order

Target words are of four kinds, after the source words that they depend on, their links:

    one_to_one  nouns, adjectives, prepositions, adverbs, conjunctions: one word each
    one_to_two  compound nouns: two words, both of the one noun
    two_to_one  a phrasal verb and its particle, apart in the source ("picked the salmon up"): one word
    agreement   a plain verb and the demonstrative of its clause's subject: one word, the verb, whose form shows the
                subject's number, one, two or more. No other word of either language shows number: each noun is such as
                "sheep", the same in singular and plural

A target word is a function of its linked source words alone, and each of them matters. Nothing is linked to "the", nor
to the demonstrative of a clause with a phrasal verb. Each source word is drawn uniformly from its class, whatever
the others are, so that none can be guessed from the others.

Axes: N sentences, C choices of a sentence.
"""

import bisect
import difflib
import itertools
from typing import NamedTuple

import numpy as np

KINDS = ("one_to_one", "one_to_two", "two_to_one", "agreement")


class Example(NamedTuple):
    """A sentence, its translation, and which words follow from which."""

    source: tuple[str, ...]  # words
    target: tuple[str, ...]
    links: tuple[tuple[int, ...], ...]  # for each target word, the source positions that it depends on, ascending
    kinds: tuple[str, ...]  # for each target word, one of KINDS


# --- Words.


def _split(text):
    return tuple(text.split())


ARTICLE = "the"
DEMONSTRATIVES = SINGULAR, DUAL, PLURAL = ("this", "both", "these")
# Nouns, all with a plural that is the same word as the singular.
SIMPLE_NOUNS = _split(
    "sheep deer moose bison elk swine reindeer buffalo fish salmon trout cod carp pike tuna herring mackerel perch "
    "squid shrimp grouse quail"
)
COMPOUND_NOUNS = _split("aircraft spacecraft hovercraft watercraft crossroads headquarters")
ADJECTIVES = _split("old young red blue green big small quiet clever heavy golden strange")
PREPOSITIONS = _split("in near behind under beside with")
ADVERBS = _split("yesterday today often suddenly finally perhaps")
CONJUNCTIONS = _split("and because while")
PLAIN_VERBS = _split(
    "chased watched followed painted helped visited admired feared carried cleaned discovered praised touched ignored "
    "rescued measured"
)
PHRASAL_VERBS = _split("picked turned pulled pushed knocked handed passed tipped")
PARTICLES = _split("up off down over")

MAX_PLACES = 3  # of a clause

# Shares in generated sentences: half of these have from 7 to 16 words, one in twenty has more than 23; 42 are possible.
SECOND_CLAUSE_SHARE = 0.35
ADVERB_SHARE = 0.3
ADJECTIVE_SHARE = 0.3
PHRASAL_SHARE = 0.4
PLACES_SHARES = (0.5, 0.3, 0.15, 0.05)  # of clauses with 0, 1, 2, 3 places


def _invent_words(count):
    """The first `count` invented words: two open syllables each ("pusi"), all different, in a scattered order."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aiou"]
    total = len(syllables) ** 2
    numbers = [(953 * number + 2001) % total for number in range(count)]  # no factor in common: none comes twice
    return [syllables[number // len(syllables)] + syllables[number % len(syllables)] for number in numbers]


def _make_dictionary():
    """{word: its target words}, {(plain verb, demonstrative): target word}, {(phrasal verb, particle): target word}."""
    simple = ADJECTIVES + PREPOSITIONS + ADVERBS + CONJUNCTIONS
    pairs = [(verb, particle) for verb in PHRASAL_VERBS for particle in PARTICLES]
    count = len(simple) + len(SIMPLE_NOUNS) + 2 * len(COMPOUND_NOUNS) + len(PLAIN_VERBS) + len(pairs)
    invented = iter(_invent_words(count))
    dictionary = {word: (next(invented),) for word in simple}
    for noun in SIMPLE_NOUNS:
        dictionary[noun] = (next(invented),)
    for noun in COMPOUND_NOUNS:
        dictionary[noun] = (next(invented), next(invented))
    agreeing = {}
    for verb in PLAIN_VERBS:
        stem = next(invented)
        agreeing |= {(verb, SINGULAR): stem, (verb, DUAL): stem + "s", (verb, PLURAL): stem + "n"}
    return dictionary, agreeing, dict(zip(pairs, invented, strict=True))


_WORDS, _AGREEING, _PHRASAL = _make_dictionary()
_NOUNS = SIMPLE_NOUNS + COMPOUND_NOUNS
_CLASSES = {
    "article": (ARTICLE,),
    "demonstrative": DEMONSTRATIVES,
    "noun": _NOUNS,
    "adjective": ADJECTIVES,
    "preposition": PREPOSITIONS,
    "adverb": ADVERBS,
    "conjunction": CONJUNCTIONS,
    "plain verb": PLAIN_VERBS,
    "phrasal verb": PHRASAL_VERBS,
    "particle": PARTICLES,
}
_CLASS = {word: name for name, members in _CLASSES.items() for word in members}
_NAMED = {name: f"an {name}" if name[0] == "a" else f"a {name}" for name in _CLASSES}  # in messages
_NAMED |= {
    "article": f'"{ARTICLE}"',
    "demonstrative": " or ".join(f'"{word}"' for word in DEMONSTRATIVES),
    None: "the end",
}


def words():
    """All source words, and all target words, each once."""
    translations = [word for target in _WORDS.values() for word in target]
    return tuple(_CLASS), tuple(dict.fromkeys([*translations, *_AGREEING.values(), *_PHRASAL.values()]))


# --- Translation.


def _require(source, position, *classes):
    """The class of the word at a position, None for the end, which has to be one of `classes`."""
    name = _CLASS[source[position]] if position < len(source) else None
    if name in classes:
        return name
    wanted = " or ".join(_NAMED[name] for name in classes)
    where = f'after "{" ".join(source[:position][-5:])}"' if position else "at its start"
    if position < len(source):
        raise ValueError(
            f'The grammar has no "{source[position]}" (word {position + 1}) {where}: write {wanted} there.'
        )
    raise ValueError(f"The sentence ends {where}: the grammar goes on with {wanted}.")


def _translate_word(source, position):
    """[(target word, links, kind)] of a word that has its translation alone."""
    target = _WORDS[source[position]]
    kind = "one_to_one" if len(target) == 1 else "one_to_two"
    return [(word, (position,), kind) for word in target]


def _translate_phrase(source, position, first_class="article"):
    """What the phrase, or subject, that starts at a position becomes, and the position of its last word, the noun."""
    _require(source, position, first_class)
    if _require(source, position + 1, "adjective", "noun") == "noun":
        return _translate_word(source, position + 1), position + 1
    _require(source, position + 2, "noun")
    return _translate_word(source, position + 2) + _translate_word(source, position + 1), position + 2


def _translate_clause(source, position, *followers):
    """What the clause that starts at a position becomes, and the position behind it, where one of `followers` is."""
    target, last = _translate_phrase(source, position, "demonstrative")
    verb = last + 1
    verb_class = _require(source, verb, "plain verb", "phrasal verb")
    rows, last = _translate_phrase(source, verb + 1)
    target += rows
    if verb_class == "phrasal verb":
        last += 1
        _require(source, last, "particle")
        verb_row = (_PHRASAL[source[verb], source[last]], (verb, last), "two_to_one")
    else:
        verb_row = (_AGREEING[source[verb], source[position]], (position, verb), "agreement")
    for _ in range(MAX_PLACES):
        if _require(source, last + 1, "preposition", *followers) != "preposition":
            break
        target += _translate_word(source, last + 1)
        rows, last = _translate_phrase(source, last + 2)
        target += rows
    _require(source, last + 1, *followers)
    return [*target, verb_row], last + 1


def translate(source_words):
    """The `Example` of a sentence of the language.

    Raises:
      ValueError: a word is not of the language, or the sentence is not of its grammar; the message says where.
    """
    source = tuple(source_words)
    for position, word in enumerate(source):
        if word not in _CLASS:
            nearest = ", ".join(difflib.get_close_matches(word, _CLASS, n=3, cutoff=0))
            raise ValueError(f'"{word}" (word {position + 1}) is not of the generated language: nearest are {nearest}.')
    starts_with_adverb = _require(source, 0, "adverb", "demonstrative") == "adverb"
    target = _translate_word(source, 0) if starts_with_adverb else []
    clause, end = _translate_clause(source, int(starts_with_adverb), "conjunction", None)
    target += clause
    if end < len(source):
        clause, _ = _translate_clause(source, end + 1, None)
        target += _translate_word(source, end) + clause
    return Example(source, *zip(*target, strict=True))


# --- Sentences. `uniform` is an iterator of numbers uniform in [0, 1); each choice takes the next one.


def _choose(members, uniform):
    return members[int(next(uniform) * len(members))]


def _draw_phrase(uniform, first_words=(ARTICLE,)):
    first = _choose(first_words, uniform)
    adjective = [_choose(ADJECTIVES, uniform)] if next(uniform) < ADJECTIVE_SHARE else []
    return [first, *adjective, _choose(_NOUNS, uniform)]


def _draw_clause(uniform):
    is_phrasal = next(uniform) < PHRASAL_SHARE
    verb = _choose(PHRASAL_VERBS if is_phrasal else PLAIN_VERBS, uniform)
    clause = [*_draw_phrase(uniform, DEMONSTRATIVES), verb, *_draw_phrase(uniform)]
    if is_phrasal:
        clause.append(_choose(PARTICLES, uniform))
    for _ in range(bisect.bisect(_PLACES_BOUNDS, next(uniform))):
        clause += [_choose(PREPOSITIONS, uniform), *_draw_phrase(uniform)]
    return clause


def _draw_source(uniform):
    source = [_choose(ADVERBS, uniform)] if next(uniform) < ADVERB_SHARE else []
    source += _draw_clause(uniform)
    if next(uniform) < SECOND_CLAUSE_SHARE:
        source += [_choose(CONJUNCTIONS, uniform), *_draw_clause(uniform)]
    return source


_PLACES_BOUNDS = list(itertools.accumulate(PLACES_SHARES[:-1]))
_MAX_CHOICES = 4 + 2 * (12 + 5 * MAX_PLACES)  # of a sentence at most: 4, and for each clause 12 and 5 for each place


def generate(num_examples, seed):
    """Random sentences with their translations, a tuple of `Example`; n of a seed are the first n of more."""
    uniform_NC = np.random.default_rng(seed).random((num_examples, _MAX_CHOICES))
    return tuple(translate(_draw_source(iter(uniform_C))) for uniform_C in uniform_NC.tolist())
