"""Ids of words, tags and labels, learnt from the training sentences; any word has an id.

A word that is rare or absent in training is replaced by a class of its shape and its last letters, such as
"<small-ing>" for "googling". The endings that have a class are those that are common among training's own rare words,
so nothing here belongs to one language.
"""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NULL, ROOT = 0, 1  # ids of words and tags: no word there, and the root
UNKNOWN_TAG = 2
SPECIAL_WORDS = ("<null>", "<root>")
SPECIAL_TAGS = ("<null>", "<root>", "<unknown>")
SPECIAL_LABELS = ("<null>",)
UNKNOWN_WORD = "<unknown>"  # the class of words whose shape no rare word of training has
LONGEST_ENDING = 4  # letters
ENDING_SHARE = 0.005  # of training's rare words; an ending that fewer have gets no class
MIN_CLASS_COUNT = 5  # rare words in training that a class needs, to be learnt at all
FORMAT = 1  # of the file


@dataclass(frozen=True)
class Vocabulary:
    """Names by id: words (NULL, ROOT, ``num_classes`` classes of unknown words, known words), tags and labels.

    Tags begin with NULL, ROOT and the unknown tag, labels with NULL (no label).
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    labels: tuple[str, ...]
    num_classes: int

    @cached_property
    def _class_ids(self):
        return {name: i for i, name in enumerate(self.words[: len(SPECIAL_WORDS) + self.num_classes])}

    @cached_property
    def _word_ids(self):
        first = len(SPECIAL_WORDS) + self.num_classes
        return {name: i for i, name in enumerate(self.words[first:], first)}

    @cached_property
    def _tag_ids(self):
        return {name: i for i, name in enumerate(self.tags) if i >= len(SPECIAL_TAGS)}

    @cached_property
    def _label_ids(self):
        return {name: i for i, name in enumerate(self.labels) if i}

    def word_ids(self, forms):
        """The id of each word [n], int32: its own, or that of the word in small letters, or that of its class."""
        known = self._word_ids
        ids = (known[form] if form in known else self._other_id(form) for form in forms)
        return np.fromiter(ids, np.int32, len(forms))

    def _other_id(self, form):
        small = form.lower()
        if small in self._word_ids:
            return self._word_ids[small]
        return next(self._class_ids[name] for name in _class_names(form) if name in self._class_ids)

    def tag_ids(self, tags):
        """The id of each tag [n], int32; UNKNOWN_TAG for a tag that training lacks."""
        return np.fromiter((self._tag_ids.get(tag, UNKNOWN_TAG) for tag in tags), np.int32, len(tags))

    def label_ids(self, labels):
        """The id of each label [n], int32; NULL, which no parser predicts, for a label that training lacks."""
        return np.fromiter((self._label_ids.get(label, NULL) for label in labels), np.int32, len(labels))


def word_shape(form):
    """What a word looks like: "mark" (without letters and digits), "digits", "letters and digits", or else the case.

    That is "small", "Capital" (the first letter alone is large), "LARGE", "L" (one large letter) or "mIXed". Letters
    of a script without case are small.
    """
    if not any(map(str.isalnum, form)):
        return "mark"
    if any(map(str.isdigit, form)):
        return "letters and digits" if any(map(str.isalpha, form)) else "digits"
    if form == form.lower():
        return "small"
    if form == form.upper():
        return "LARGE" if len(form) > 1 else "L"
    return "Capital" if form[1:] == form[1:].lower() else "mIXed"


def _class_names(form):
    """The names of classes that a word may have, from its longest ending to its shape alone, then UNKNOWN_WORD."""
    shape, small = word_shape(form), form.lower()
    for length in range(min(LONGEST_ENDING, len(form) - 1), 0, -1):
        yield f"<{shape}-{small[-length:]}>"
    yield f"<{shape}>"
    yield UNKNOWN_WORD


def build_vocabulary(sentences, min_count=2) -> Vocabulary:
    """The vocabulary of training sentences: words that occur at least ``min_count`` times, and all tags and labels.

    Words are in an order of falling counts. The rarer ones train the classes of unknown words: an ending has a class
    with a shape if at least ENDING_SHARE of the rare words, and MIN_CLASS_COUNT of them, have both. Where no word is
    rare, as with ``min_count=1``, nothing trains them. Raises ValueError without sentences or for a count below 1.
    """
    if not sentences:
        raise ValueError("a vocabulary needs training sentences, and there are none")
    if min_count < 1:
        raise ValueError(f"min_count={min_count} must be at least 1")
    counts = Counter(form for sentence in sentences for form in sentence.forms)
    known = {form for form, count in counts.items() if count >= min_count}
    rare = {form: count for form, count in counts.items() if form not in known and form.lower() not in known}
    votes = Counter()
    for form, count in rare.items():
        *endings, shape, _ = _class_names(form)
        votes.update(dict.fromkeys((*endings, shape), count))
    least = max(MIN_CLASS_COUNT, ENDING_SHARE * sum(rare.values()))
    classes = sorted(name for name, count in votes.items() if count >= (least if "-" in name else MIN_CLASS_COUNT))
    words = sorted(known, key=lambda form: (-counts[form], form))
    return Vocabulary(
        words=(*SPECIAL_WORDS, UNKNOWN_WORD, *classes, *words),
        tags=(*SPECIAL_TAGS, *sorted({tag for sentence in sentences for tag in sentence.tags})),
        labels=(*SPECIAL_LABELS, *sorted({label for sentence in sentences for label in sentence.labels})),
        num_classes=1 + len(classes),
    )


def dumps(vocabulary) -> bytes:
    """The content of a vocabulary's file, JSON."""
    fields = {
        "format": FORMAT,
        "words": vocabulary.words,
        "tags": vocabulary.tags,
        "labels": vocabulary.labels,
        "num_classes": vocabulary.num_classes,
    }
    return (json.dumps(fields, indent=0) + "\n").encode()


def loads(content) -> Vocabulary:
    """The vocabulary of a file's content; raises ValueError where it is damaged."""
    try:
        fields = json.loads(content)
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"the vocabulary is damaged ({error}): take it from another copy of the run") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ValueError(f"the vocabulary is no file of format {FORMAT}: train the parser again, or take another copy")
    num_classes = fields.get("num_classes")
    num_special = len(SPECIAL_WORDS) + num_classes if isinstance(num_classes, int) else 0
    for name, special in (
        ("words", (*SPECIAL_WORDS, UNKNOWN_WORD)),
        ("tags", SPECIAL_TAGS),
        ("labels", SPECIAL_LABELS),
    ):
        names = fields.get(name)
        if not isinstance(names, list) or not all(isinstance(entry, str) for entry in names):
            raise ValueError(f"the vocabulary is damaged: {name} is no list of strings; take another copy of the run")
        start = num_special if name == "words" else len(special)
        starts_well = tuple(names[: len(special)]) == special and len(special) <= start <= len(names)
        if not starts_well or len(set(names[start:])) != len(names[start:]):
            raise ValueError(f"the vocabulary is damaged: {name} begin wrongly or repeat; take another copy of the run")
    return Vocabulary(tuple(fields["words"]), tuple(fields["tags"]), tuple(fields["labels"]), num_classes)
