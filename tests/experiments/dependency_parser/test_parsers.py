"""The three parsers: what they learn from, what it costs, and that a sentence's parse does not depend on the others."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arc_standard import SHIFT, Parse

from data.treebanks import Sentence
from experiments.dependency_parser import grammar
from experiments.dependency_parser.arrays import make_split, pack_rows
from experiments.dependency_parser.parsers import (
    biaffine_parser,
    bilstm_parser,
    classifier_parser,
    decisions,
    decisions_of_rows,
    trees_of_rows,
    unpack_rows,
)
from experiments.dependency_parser.transitions import advance, start
from experiments.dependency_parser.vocabulary import build_vocabulary

MAKERS = {"classifier": classifier_parser, "bilstm": bilstm_parser, "biaffine": biaffine_parser}
CONFIG = SimpleNamespace(
    d_embed=4,
    d_hidden=8,
    num_hidden=1,
    activation="relu",
    initializer="xavier",
    dropout=0.5,
    word_dropout=0.2,
    use_words=True,
    use_tags=True,
    use_labels=True,
)
GENERATED = [s for s in grammar.generate(40, 7) if len(s.forms) < 16]
ONE_WORD = Sentence(("Yes",), ("INTJ",), (0,), ("root",))
SENTENCES = (*GENERATED[:14], ONE_WORD)
ROW_LENGTH = 40
VOCABULARY = build_vocabulary(SENTENCES, 1)
NUM_LABELS = len(VOCABULARY.labels) - 1

each_parser = pytest.mark.parametrize("name", MAKERS)


def textbook_decisions(sentence):
    """[(positions, labels, legality, transition)] of a sentence by the textbook's parser."""
    parse, made = Parse(len(sentence.forms)), []
    heads, labels = (-1, *sentence.heads), (0, *VOCABULARY.label_ids(sentence.labels).tolist())
    while not parse.done():
        transition = parse.oracle(heads, labels, NUM_LABELS)
        made.append((*parse.features(), parse.legal(), transition))
        parse.take(transition, NUM_LABELS)
    return made


def in_rows(rows):
    """(row, where ROOT is, how many decisions come before it in its row, the sentence) in the order of rows."""
    for n in np.lexsort((rows.start_N, rows.row_N)):
        m, root = int(rows.row_N[n]), int(rows.start_N[n])
        yield m, root, 2 * (root - int(rows.segments_MT[m, root])), SENTENCES[n]


def make_random(name, seed=0):
    """(parser, random variables whose parses are no chains)."""
    parser = MAKERS[name](CONFIG, VOCABULARY)
    variables = parser.init(jax.random.key(seed))
    return parser, jax.tree.map(lambda x: 0.5 * jax.random.normal(jax.random.key(x.size), x.shape), variables)


def test_unpacked_rows_are_the_trees_that_were_packed():
    split = make_split(SENTENCES, VOCABULARY)
    heads_NT, labels_NT = unpack_rows(split, jnp.asarray(split.rows.heads_MT), jnp.asarray(split.rows.labels_MT))
    np.testing.assert_array_equal(heads_NT, split.heads_NT)
    np.testing.assert_array_equal(labels_NT, np.maximum(split.labels_NT, 0))
    assert len(split.rows.heads_MT) > 1
    for n, sentence in enumerate(SENTENCES):
        assert tuple(heads_NT[n, 1 : 1 + len(sentence.heads)].tolist()) == sentence.heads


@each_parser
def test_a_splits_parses_are_those_of_its_sentences_alone(name):
    parser, variables = make_random(name)
    parse = jax.jit(parser.parse)
    heads_NT, labels_NT = parse(variables, make_split(SENTENCES, VOCABULARY))
    assert heads_NT.dtype == labels_NT.dtype == jnp.int32
    chains = 0
    alone = [n for n, sentence in enumerate(SENTENCES) if 8 <= len(sentence.forms) < 16][:5]  # of one shape to compile
    for n in alone:
        sentence = SENTENCES[n]
        alone_heads_1T, alone_labels_1T = parse(variables, make_split([sentence], VOCABULARY))
        words = slice(1, 1 + len(sentence.forms))
        np.testing.assert_array_equal(heads_NT[n, words], alone_heads_1T[0, words])
        np.testing.assert_array_equal(labels_NT[n, words], alone_labels_1T[0, words])
        assert (np.asarray(heads_NT[n, words]) == 0).sum() == 1
        assert (np.asarray(labels_NT[n, words]) > 0).all()
        chains += len(set(heads_NT[n, words].tolist())) == len(sentence.forms)
    assert chains < len(alone) == 5
    is_word_NT = np.asarray(make_split(SENTENCES, VOCABULARY).heads_NT) >= 0
    assert (np.asarray(heads_NT)[~is_word_NT] == -1).all()
    assert (np.asarray(labels_NT)[~is_word_NT] == 0).all()


def test_the_classifiers_examples_are_the_oracles_decisions_one_by_one():
    examples = decisions(SENTENCES, VOCABULARY, ROW_LENGTH)
    rows, index = pack_rows(SENTENCES, VOCABULARY, ROW_LENGTH), 0
    for *_, sentence in in_rows(rows):
        words = np.array([1, *VOCABULARY.word_ids(sentence.forms)])  # ROOT first
        tags = np.array([1, *VOCABULARY.tag_ids(sentence.tags)])
        for positions, labels, legality, transition in textbook_decisions(sentence):
            at = np.array(positions)
            assert examples["words"][index].tolist() == np.where(at >= 0, words[at], 0).tolist()
            assert examples["tags"][index].tolist() == np.where(at >= 0, tags[at], 0).tolist()
            assert examples["labels"][index].tolist() == labels
            assert examples["legal"][index].tolist() == legality
            assert examples["transitions"][index] == transition
            index += 1
    assert {len(array) for array in examples.values()} == {index}
    assert index == 2 * sum(len(s.forms) for s in SENTENCES)


def test_the_classifier_reads_in_parsing_what_it_reads_in_training():
    parser, variables = make_random("classifier")
    examples = parser.examples(SENTENCES[:1], VOCABULARY, ROW_LENGTH)
    ids = (examples[group].astype(np.int32) for group in ("words", "tags", "labels"))
    rows = pack_rows(SENTENCES[:1], VOCABULARY, ROW_LENGTH)
    score = parser.score(parser.prepare(variables), jnp.asarray(rows.words_MT), jnp.asarray(rows.tags_MT))

    def step(state, transition):
        return advance(state, transition[None], NUM_LABELS), score(state)[0]

    first = start(np.array([len(SENTENCES[0].forms)]), ROW_LENGTH)
    _, logits_JK = jax.jit(lambda: jax.lax.scan(step, first, examples["transitions"].astype(np.int32)))()
    np.testing.assert_allclose(logits_JK, parser.model.apply(variables, *ids), rtol=1e-3, atol=1e-4)


def test_the_bilstms_places_are_those_of_the_stack_and_the_buffer_in_the_row():
    examples = decisions_of_rows(SENTENCES, VOCABULARY, ROW_LENGTH)
    rows = pack_rows(SENTENCES, VOCABULARY, ROW_LENGTH)
    num_decisions = 0
    for m, root, first, sentence in in_rows(rows):
        words = [1, *VOCABULARY.word_ids(sentence.forms).tolist()]
        for j, (positions, _, legality, transition) in enumerate(textbook_decisions(sentence), first):
            places = examples["places"][m, j]
            s1, s2, s3, b1 = positions[:4]
            assert places.tolist() == [root + p if p >= 0 else -1 for p in (s1, s2, s3, b1)]
            for place, position in zip(places, (s1, s2, s3, b1), strict=True):
                assert position < 0 or examples["words"][m, place] == words[position]
            assert examples["legal"][m, j].tolist() == legality
            assert examples["transitions"][m, j] == transition
            num_decisions += 1
    assert (examples["transitions"] >= 0).sum() == num_decisions


def test_the_biaffine_parsers_examples_are_packed_sentences():
    examples = trees_of_rows(SENTENCES, VOCABULARY, ROW_LENGTH)
    rows = pack_rows(SENTENCES, VOCABULARY, ROW_LENGTH)
    for name, array_MT in examples.items():
        np.testing.assert_array_equal(array_MT, getattr(rows, f"{name}_MT"))


@each_parser
def test_all_parsers_of_a_kind_make_their_examples_by_one_function(name):
    """So that they can share the examples, whatever their settings."""
    other = SimpleNamespace(**vars(CONFIG) | {"d_hidden": 9, "use_tags": False})
    assert MAKERS[name](other, VOCABULARY).examples is MAKERS[name](CONFIG, VOCABULARY).examples


@each_parser
def test_examples_may_be_made_while_jax_traces(name):
    """As a sweep does: what makes a task is traced there with its learning rate."""
    make = partial(MAKERS[name](CONFIG, VOCABULARY).examples, SENTENCES, VOCABULARY, ROW_LENGTH)
    traced = jax.jit(lambda: {key: jnp.asarray(array) for key, array in make().items()})()
    for key, array in make().items():
        np.testing.assert_array_equal(traced[key], array)


@each_parser
def test_whoever_knows_nothing_pays_for_each_choice_its_logarithm(name):
    """The classifier and the BiLSTM choose among legal transitions, the biaffine parser among heads, then labels."""
    parser = MAKERS[name](CONFIG, VOCABULARY)
    variables = jax.tree.map(jnp.zeros_like, parser.init(jax.random.key(0)))
    examples = parser.examples(SENTENCES, VOCABULARY, ROW_LENGTH)
    total, weight = jax.jit(parser.losses, static_argnums=2)(variables, examples, True, {})
    lengths = [len(s.forms) for s in SENTENCES]
    if name == "biaffine":
        wanted = [np.log(n) + np.log(NUM_LABELS) for n in lengths for _ in range(n)]
    else:
        wanted = [
            np.log(sum(count * is_legal for count, is_legal in zip((1, NUM_LABELS, NUM_LABELS), legality, strict=True)))
            for sentence in SENTENCES
            for _, _, legality, _ in textbook_decisions(sentence)
        ]
        assert textbook_decisions(SENTENCES[0])[0][3] == SHIFT
        assert wanted[0] == 0  # SHIFT alone is legal at first
    assert weight == len(wanted)
    np.testing.assert_allclose(total, sum(wanted), rtol=1e-5)


@each_parser
def test_dropout_is_on_in_training_alone(name):
    parser, variables = make_random(name)
    examples = {key: array[:3] for key, array in parser.examples(SENTENCES, VOCABULARY, ROW_LENGTH).items()}
    losses = jax.jit(parser.losses, static_argnums=2)
    same = [losses(variables, examples, True, {"dropout": jax.random.key(i)})[0] for i in range(2)]
    other = [losses(variables, examples, False, {"dropout": jax.random.key(i)})[0] for i in range(2)]
    assert same[0] == same[1]
    assert len({float(x) for x in (same[0], *other)}) == 3


def test_without_labels_there_are_three_transitions():
    vocabulary = build_vocabulary([s._replace(labels=("dep",) * len(s.forms)) for s in SENTENCES], 1)
    parser = classifier_parser(CONFIG, vocabulary)
    variables = parser.init(jax.random.key(0))
    assert variables["params"]["transitions"]["bias"].shape == (3,)
    assert set(parser.examples(SENTENCES[:3], vocabulary, ROW_LENGTH)["transitions"].tolist()) == {0, 1, 2}


@pytest.mark.parametrize("name", ["bilstm", "biaffine"])
@pytest.mark.parametrize("field", ["d_hidden", "num_hidden"])
def test_a_wrong_encoder_is_refused_by_the_configs_names(name, field):
    with pytest.raises(ValueError, match=f"{field}=0 must be at least 1"):
        MAKERS[name](SimpleNamespace(**vars(CONFIG) | {field: 0}), VOCABULARY)
