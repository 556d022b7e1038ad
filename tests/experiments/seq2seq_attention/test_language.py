"""The generated language: each rule in a sentence made by hand, what a target word depends on, what is drawn."""

import itertools
from collections import Counter

import numpy as np
import pytest

from experiments.seq2seq_attention import language
from experiments.seq2seq_attention.language import generate, translate, words

ONE, TWO, PHRASAL, AGREEMENT = language.KINDS
DEMONSTRATIVES = ("this", "both", "these")
MAX_SOURCE_LENGTH = 42  # an adverb, a conjunction and two clauses of 20 words


def read(sentence):
    return translate(sentence.split())


def target(sentence):
    return read(sentence).target


@pytest.fixture(scope="module")
def examples():
    return generate(4000, seed=0)


# --- The rules.


def test_the_verb_goes_last_and_articles_and_demonstratives_are_dropped():
    example = read("this sheep chased the salmon")
    assert example.links == ((1,), (4,), (0, 2))
    assert example.kinds == (ONE, ONE, AGREEMENT)
    assert example.target[0] == target("this sheep watched the deer")[0]


def test_an_adjective_follows_its_noun():
    example = read("this old sheep chased the red salmon")
    assert example.links == ((2,), (1,), (6,), (5,), (0, 3))
    assert example.target[1] == target("this deer chased the old salmon")[2]


def test_both_words_of_a_compound_noun_are_linked_to_it():
    example = read("this big aircraft feared the sheep")
    assert example.links == ((2,), (2,), (1,), (5,), (0, 3))
    assert example.kinds == (TWO, TWO, ONE, ONE, AGREEMENT)
    assert example.target[:2] == target("this sheep feared the aircraft")[1:3]


def test_the_number_of_a_subject_shows_in_its_plain_verb_and_nowhere_else():
    for noun in language.SIMPLE_NOUNS + language.COMPOUND_NOUNS:
        targets = [target(f"{first} old {noun} chased the deer") for first in DEMONSTRATIVES]
        assert len({words[:-1] for words in targets}) == 1
        assert len({words[-1] for words in targets}) == 3


def test_a_plain_verb_agrees_with_its_subject_at_a_distance_and_depends_on_no_noun():
    sentence = "{} {} chased the {} near the {}"
    nouns = ("sheep", "deer")
    verbs = {
        (first, *others): target(sentence.format(first, *others))[-1]
        for first in DEMONSTRATIVES
        for others in itertools.product(nouns, repeat=3)
    }
    assert len(set(verbs.values())) == 3
    assert all(verbs[first, *others] == verbs[first, "sheep", "sheep", "sheep"] for first, *others in verbs)
    assert read("these big sheep chased the deer near the sheep").links[-1] == (0, 3)


def test_each_of_two_verbs_agrees_with_the_subject_of_its_own_clause():
    verbs = {
        firsts: np.array(target("{} sheep chased the cod and {} deer feared the cod".format(*firsts)))[[2, 6]].tolist()
        for firsts in itertools.product(DEMONSTRATIVES, repeat=2)
    }
    alone = {first: target(f"{first} sheep chased the cod")[-1] for first in DEMONSTRATIVES}
    alone_second = {first: target(f"{first} deer feared the cod")[-1] for first in DEMONSTRATIVES}
    assert verbs == {firsts: [alone[firsts[0]], alone_second[firsts[1]]] for firsts in verbs}
    assert read("this sheep chased the cod and these deer feared the cod").links[-1] == (6, 8)


def test_a_phrasal_verb_and_its_particle_apart_give_one_word_without_number():
    example = read("these sheep picked the red salmon up in the headquarters")
    assert example.links == ((1,), (5,), (4,), (7,), (9,), (9,), (2, 6))
    assert example.kinds == (ONE, ONE, ONE, ONE, TWO, TWO, PHRASAL)
    assert example.target == target("this sheep picked the red salmon up in the headquarters")
    assert example.target[-1] == target("this deer picked the cod up")[-1]


def test_every_pair_of_phrasal_verb_and_particle_is_a_word_of_its_own():
    pairs = [(verb, particle) for verb in language.PHRASAL_VERBS for particle in language.PARTICLES]
    assert len({target(f"this sheep {verb} the cod {particle}")[-1] for verb, particle in pairs}) == 32


def test_places_stay_in_order_before_the_verb():
    example = read("this sheep chased the cod in the moose near the old aircraft with the deer")
    assert example.links == ((1,), (4,), (5,), (7,), (8,), (11,), (11,), (10,), (12,), (14,), (0, 2))


def test_an_adverb_stays_first_and_each_of_two_clauses_ends_with_its_verb():
    example = read("often this sheep chased the cod because these deer picked the tuna off")
    assert example.links == ((0,), (2,), (5,), (1, 3), (6,), (8,), (11,), (9, 12))
    assert example.kinds == (ONE, ONE, ONE, AGREEMENT, ONE, ONE, ONE, PHRASAL)


LONGEST_CLAUSE = "this old sheep picked the red cod up" + " in the big moose" * 3


def test_the_longest_sentence_is_of_the_language():
    sentence = f"often {LONGEST_CLAUSE} and {LONGEST_CLAUSE}"
    assert len(read(sentence).source) == MAX_SOURCE_LENGTH
    with pytest.raises(ValueError, match=r'no "near" \(word 43\) after ".*in the big moose": write the end there'):
        read(f"{sentence} near the sheep")


# --- What is not of the language.


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("", 'ends at its start: the grammar goes on with an adverb or "this" or "both" or "these"'),
        ("this shepe chased the cod", r'"shepe" \(word 2\) is not of .* nearest are .*sheep'),
        ("these sheeps chased the cod", r'"sheeps" \(word 2\) is not of .* nearest are sheep'),
        ("This sheep chased the cod", r'"This" \(word 1\) is not of'),
        ("sheep chased the cod", r'no "sheep" \(word 1\) at its start: write an adverb or "this" or "both" or "these"'),
        (
            "the sheep chased the cod",
            r'no "the" \(word 1\) at its start: write an adverb or "this" or "both" or "these"',
        ),
        (
            "often the sheep chased the cod",
            r'no "the" \(word 2\) after "often": write "this" or "both" or "these" there',
        ),
        ("this chased", r'no "chased" \(word 2\) after "this": write an adjective or a noun there'),
        ("this old the", "write a noun there"),
        ("this sheep the cod", r'no "the" \(word 3\) after "this sheep": write a plain verb or a phrasal verb'),
        ("this sheep chased", 'ends after "this sheep chased": the grammar goes on with "the"'),
        ("this sheep chased these cod", r'no "these" \(word 4\) after "this sheep chased": write "the" there'),
        ("this sheep chased the cod in this moose", r'no "this" \(word 7\) after .*: write "the" there'),
        ("this sheep picked up the cod", r'no "up" \(word 4\)'),
        ("this sheep picked the cod", 'ends after "this sheep picked the cod": .* with a particle'),
        ("this sheep chased the cod up", r'no "up" \(word 6\) .*: write a preposition or a conjunction or the end'),
        ("this sheep chased the cod and", 'ends after "sheep chased the cod and": .* with "this" or "both" or "these"'),
        ("this sheep chased the cod and often this sheep chased the cod", r'no "often" \(word 7\)'),
        ("this sheep chased the cod" + " and this sheep chased the cod" * 2, r'no "and" \(word 12\)'),
        ("this sheep chased the cod" + " in the moose" * 4, r'no "in" \(word 15\) .*: write a conjunction or the end'),
    ],
)
def test_a_sentence_outside_the_language_is_refused_at_its_first_wrong_word(sentence, message):
    with pytest.raises(ValueError, match=message):
        read(sentence)


# --- What follows from what.


def test_words_are_different_and_the_two_languages_share_none():
    source, invented = words()
    assert len(set(source)) == len(source)
    assert len(set(invented)) == len(invented)
    assert not set(source) & set(invented)
    # Counted by hand; in the target a simple noun is 1 word, a compound 2, and a plain verb has 3 forms.
    assert len(source) == 1 + 3 + 22 + 6 + 12 + 6 + 6 + 3 + 16 + 8 + 4
    assert len(invented) == 22 + 2 * 6 + 12 + 6 + 6 + 3 + 3 * 16 + 32


def test_every_target_word_means_one_thing(examples):
    meanings = {}
    for example in examples:
        compound_words = Counter()
        for word, sources, kind in zip(example.target, example.links, example.kinds, strict=True):
            meaning = tuple(example.source[position] for position in sources)
            if kind == TWO:
                compound_words[sources] += 1
                meaning = (*meaning, compound_words[sources])  # its first or its second word
            meanings.setdefault(word, set()).add((kind, meaning))
    assert all(len(meaning) == 1 for meaning in meanings.values())
    assert set(meanings) == set(words()[1])


def test_links_are_in_range_and_as_many_as_the_kind_says(examples):
    for example in examples:
        assert len(example.target) == len(example.links) == len(example.kinds)
        for positions, kind in zip(example.links, example.kinds, strict=True):
            assert positions == tuple(sorted(set(positions)))
            assert 0 <= positions[0] <= positions[-1] < len(example.source)
            assert len(positions) == (1 if kind in (ONE, TWO) else 2)


def test_only_articles_and_the_demonstratives_of_phrasal_verbs_are_not_linked(examples):
    for example in examples:
        linked = {position for positions in example.links for position in positions}
        unlinked = set()
        next_verb = None
        for position, word in reversed(list(enumerate(example.source))):
            if word in language.PLAIN_VERBS + language.PHRASAL_VERBS:
                next_verb = word
            if word == "the" or (word in DEMONSTRATIVES and next_verb in language.PHRASAL_VERBS):
                unlinked.add(position)
        assert set(range(len(example.source))) - linked == unlinked


def classmates(word):
    """The other words that can stand in the place of a word, and give as many target words."""
    classes = [language.DEMONSTRATIVES, language.SIMPLE_NOUNS, language.COMPOUND_NOUNS, language.ADJECTIVES]
    classes += [language.PREPOSITIONS, language.ADVERBS, language.CONJUNCTIONS]
    classes += [language.PLAIN_VERBS, language.PHRASAL_VERBS, language.PARTICLES, ("the",)]
    (members,) = [members for members in classes if word in members]
    return [other for other in members if other != word]


def test_a_target_word_depends_on_each_of_its_linked_words_and_on_no_other(examples):
    """Each source word is replaced by each other of its class: target words change if and only if linked to it."""
    for example in examples[:25]:
        for position, word in enumerate(example.source):
            is_linked = [position in positions for positions in example.links]
            for other in classmates(word):
                replaced = translate([*example.source[:position], other, *example.source[position + 1 :]])
                assert replaced.links == example.links
                assert [a != b for a, b in zip(example.target, replaced.target, strict=True)] == is_linked


# --- Drawn sentences.


def test_generated_examples_are_translations_of_their_sources(examples):
    assert all(translate(example.source) == example for example in examples[:300])


def test_a_seed_gives_its_examples_and_another_seed_others(examples):
    assert generate(50, seed=0) == examples[:50]
    others = {example.source for example in generate(4000, seed=1)}
    assert sum(example.source in others for example in examples) < 20


def test_sentences_hardly_repeat(examples):
    assert len({example.source for example in examples}) > 0.995 * len(examples)


def test_half_the_sentences_have_7_to_16_words_and_one_in_twenty_more_than_23(examples):
    lengths = np.array([len(example.source) for example in examples])
    assert lengths.min() == 5
    assert lengths.max() <= MAX_SOURCE_LENGTH
    for quantile, expected in zip(np.quantile(lengths, (0.25, 0.5, 0.75, 0.95)), (7, 11, 16, 23), strict=True):
        assert abs(quantile - expected) <= 1
    counts = Counter(lengths.tolist())
    assert min(counts[length] for length in range(5, 21)) > 0.02 * len(lengths)


def test_a_number_is_drawn_for_every_choice_of_the_longest_sentence():
    """The longest sentence takes the most numbers, in the order of their drawing, and `generate` draws just as many."""
    phrase = [0.0] * 4  # its first word, to have an adjective, the adjective, the noun
    place = [0.0, *phrase]
    clause = [0.0, 0.0, *phrase, *phrase, 0.0, 0.99, *place * 3]  # phrasal, the verb, ..., a particle, three places
    uniform = [0.0, 0.0, *clause, 0.0, 0.0, *clause]  # to have an adverb, the adverb, ..., a second clause, ...
    assert len(uniform) == language._MAX_CHOICES
    remaining = iter(uniform)
    assert len(language._draw_source(remaining)) == MAX_SOURCE_LENGTH
    assert next(remaining, None) is None


def test_nouns_are_equally_frequent_and_so_are_demonstratives(examples):
    counts = Counter(word for example in examples for word in example.source)
    for members in (language.SIMPLE_NOUNS + language.COMPOUND_NOUNS, DEMONSTRATIVES):
        count_by_word = np.array([counts[word] for word in members])
        assert np.abs(count_by_word - count_by_word.mean()).max() < 5 * np.sqrt(count_by_word.mean())


@pytest.mark.parametrize(
    ("words_before_verb", "members", "bound"),
    [(0, language.PLAIN_VERBS, 62), (1, language.SIMPLE_NOUNS + language.COMPOUND_NOUNS, 95)],
    ids=["verb", "noun"],
)
def test_neither_the_verb_nor_its_subjects_noun_tells_the_number(examples, words_before_verb, members, bound):
    """Chi-square statistics of words against numbers, 30 or 54 degrees of freedom: above bound in 1 of 2000 tables."""
    table = np.zeros((len(members), 3))
    for example in examples:
        for positions, kind in zip(example.links, example.kinds, strict=True):
            if kind == AGREEMENT:
                demonstrative, verb = positions
                word = example.source[verb - words_before_verb]
                table[members.index(word), DEMONSTRATIVES.index(example.source[demonstrative])] += 1
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    assert table.sum() > 2000
    assert ((table - expected) ** 2 / expected).sum() < bound
