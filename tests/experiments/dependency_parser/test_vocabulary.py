"""The vocabulary: any word has an id, rare words teach the classes of unseen ones, and the file is checked."""

import json

import numpy as np
import pytest

from data.treebanks import Sentence
from experiments.dependency_parser.vocabulary import (
    NULL,
    UNKNOWN_TAG,
    UNKNOWN_WORD,
    build_vocabulary,
    dumps,
    loads,
    word_shape,
)


def sentence(*forms, tag="N", label="x"):
    return Sentence(forms, (tag,) * len(forms), (0, *range(1, len(forms))), (label,) * len(forms))


# Words of no language: those that end in "zu" are rare, and "ka" and "ki" are frequent.
STEMS = [a + b for a in "bdfgk" for b in "aeiou"]
SENTENCES = [sentence(stem + "zu", "ka", "ki", tag="V") for stem in STEMS]
SENTENCES += [sentence(stem.capitalize() + "q", "ka", label="y") for stem in STEMS]
SENTENCES += [sentence(str(1000 + n), "!") for n in range(10)]


@pytest.fixture(scope="module")
def vocabulary():
    return build_vocabulary(SENTENCES)


def names(vocabulary, *forms):
    return [vocabulary.words[i] for i in vocabulary.word_ids(forms)]


def test_frequent_words_keep_their_own_id(vocabulary):
    first = 2 + vocabulary.num_classes
    assert vocabulary.words[first : first + 3] == ("ka", "ki", "!")  # by falling counts
    assert names(vocabulary, "ka", "ki", "Ka", "KI") == ["ka", "ki", "ka", "ki"]
    assert len(vocabulary.words) == first + 3


def test_unseen_words_get_the_class_of_the_rare_words_of_training(vocabulary):
    assert names(vocabulary, "pazu", "bazu") == ["<small-azu>"] * 2
    assert names(vocabulary, "pxzu") == ["<small-zu>"]
    assert names(vocabulary, "Pxq", "Paq") == ["<Capital-q>", "<Capital-aq>"]
    assert names(vocabulary, "xyx") == ["<small>"]
    assert names(vocabulary, "1009", "1234") == ["<digits>", "<digits>"]
    assert names(vocabulary, "?", "mIX", "A1", "") == [UNKNOWN_WORD] * 4  # nothing in training looks like these


def test_every_class_that_has_a_name_is_met_in_training(vocabulary):
    ids = np.concatenate([vocabulary.word_ids(s.forms) for s in SENTENCES])
    shapes = {"<small>", "<Capital>", UNKNOWN_WORD}  # all rare words that have these have an ending as well
    missed = {vocabulary.words[i] for i in range(2, 2 + vocabulary.num_classes)} - {vocabulary.words[i] for i in ids}
    assert {name for name in missed if "-" not in name} <= shapes
    rare_ids = vocabulary.word_ids([s.forms[0] for s in SENTENCES])
    assert rare_ids.max() < 2 + vocabulary.num_classes


def test_min_count_decides_who_is_rare():
    every_word = build_vocabulary(SENTENCES, min_count=1)
    assert every_word.num_classes == 1
    assert len(every_word.words) == 3 + 3 + 2 * len(STEMS) + 10
    assert build_vocabulary(SENTENCES, min_count=100).words[-1].startswith("<")
    with pytest.raises(ValueError, match="min_count=0 must be at least 1"):
        build_vocabulary(SENTENCES, min_count=0)
    with pytest.raises(ValueError, match="needs training sentences"):
        build_vocabulary([])


def test_words_that_look_like_special_names_are_words():
    names_in_text = ["<null>", "<root>", "<unknown>", "<small>"]
    vocabulary = build_vocabulary([sentence(*names_in_text), sentence(*names_in_text)])
    assert vocabulary.word_ids(names_in_text).min() >= 2 + vocabulary.num_classes
    assert loads(dumps(vocabulary)) == vocabulary


def test_tags_and_labels(vocabulary):
    assert vocabulary.tags == ("<null>", "<root>", "<unknown>", "N", "V")
    assert vocabulary.labels == ("<null>", "x", "y")
    assert vocabulary.tag_ids(["V", "N", "new", "<root>"]).tolist() == [4, 3, UNKNOWN_TAG, UNKNOWN_TAG]
    assert vocabulary.label_ids(["y", "x", "new", "<null>"]).tolist() == [2, 1, NULL, NULL]
    assert vocabulary.word_ids([]).shape == (0,)
    assert vocabulary.word_ids(["ka"]).dtype == np.int32


@pytest.mark.parametrize(
    ("form", "shape"),
    [
        ("a", "small"),
        ("don't", "small"),
        ("世界", "small"),
        ("Éa", "Capital"),
        ("É", "L"),
        ("EWT", "LARGE"),
        ("McD", "mIXed"),
        ("iPad", "mIXed"),
        ("1,5", "digits"),
        ("5th", "letters and digits"),
        ("...", "mark"),
        ("", "mark"),
    ],
)
def test_shapes(form, shape):
    assert word_shape(form) == shape


def test_the_file_gives_the_vocabulary_back(vocabulary):
    again = loads(dumps(vocabulary))
    assert again == vocabulary
    assert (again.word_ids(["bazu", "ka"]) == vocabulary.word_ids(["bazu", "ka"])).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields.pop("format"), "no file of format 1"),
        (lambda fields: fields.update(format=2), "no file of format 1"),
        (lambda fields: fields.pop("tags"), "tags is no list of strings"),
        (lambda fields: fields.update(labels=[1]), "labels is no list of strings"),
        (lambda fields: fields.update(words=[]), "words begin wrongly or repeat"),
        (lambda fields: fields["tags"].append("N"), "tags begin wrongly or repeat"),
        (lambda fields: fields["labels"].pop(0), "labels begin wrongly or repeat"),
        (lambda fields: fields.update(num_classes=10**6), "words begin wrongly or repeat"),
        (lambda fields: fields.update(num_classes="2"), "words begin wrongly or repeat"),
        (lambda fields: fields.update(num_classes=-1), "words begin wrongly or repeat"),
    ],
)
def test_damaged_files_are_refused(change, message, vocabulary):
    fields = json.loads(dumps(vocabulary))
    change(fields)
    with pytest.raises(ValueError, match=message):
        loads(json.dumps(fields))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"null"])
def test_files_of_something_else_are_refused(content):
    with pytest.raises(ValueError, match="the vocabulary is "):
        loads(content)
