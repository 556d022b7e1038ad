"""The sentences of an arm: a treebank, its tags and vocabulary, and its splits as arrays."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import Any

from data import treebanks
from data.treebanks import SPLITS, TAG_COLUMNS, Sentence, Treebank, is_projective
from experiments.dependency_parser import grammar, tagger
from experiments.dependency_parser.arrays import ALIGNMENT, SHORTEST_ROW, Split, make_split
from experiments.dependency_parser.vocabulary import Vocabulary, build_vocabulary

GENERATED = "generated"
TAG_SOURCES = ("gold", "predicted")
ONLY_LABEL = "dep"  # of every arc, where arcs have no labels
SPLIT_SEEDS = {split: seed for seed, split in enumerate(SPLITS)}  # of the generated treebank, whatever the run's seed
NUM_FOLDS = 5  # in which training sentences are tagged by a tagger that has not seen them


@dataclass(frozen=True, eq=False)  # so that a corpus can be a key of a cache
class Corpus:
    """What an arm trains on and is tested on.

    treebank:  the sentences with gold tags
    train, validation, test: the sentences with the tags that the parser sees; of train, the projective ones
    validation_split, test_split: those sentences as arrays
    tag_accuracy: share of the test words whose tag is gold's
    has_predicted_tags: whether the parser sees the tags of a tagger
    tag_columns: what a word's tag is, as ``data.treebanks.load`` takes it
    make_tagger: () -> the file of a tagger for sentences without tags; it is trained by the first call
    facts:     which treebank it is, for config.json
    """

    treebank: Treebank
    train: tuple[Sentence, ...]
    validation: tuple[Sentence, ...]
    test: tuple[Sentence, ...]
    validation_split: Split
    test_split: Split
    vocabulary: Vocabulary
    tag_accuracy: float
    has_predicted_tags: bool
    tag_columns: str
    make_tagger: Callable[[], bytes]
    facts: Mapping[str, Any]

    @property
    def is_generated(self):
        """Whether the true model is known."""
        return self.treebank.name == GENERATED

    @property
    def row_length(self):
        """Positions that hold any sentence of the treebank with its ROOT, at least SHORTEST_ROW."""
        longest = 1 + max(len(s.forms) for split in SPLITS for s in self.treebank[split])
        return max(SHORTEST_ROW, -(-longest // ALIGNMENT) * ALIGNMENT)

    @property
    def num_labels(self):
        """Number of relations, NULL not counted."""
        return len(self.vocabulary.labels) - 1


def read_treebank(config):
    """The Treebank of a config, with gold tags and all its sentences.

    Raises:
      ValueError: a treebank that there is not or that cannot be read, and sizes or tag columns that there are not.
    """
    if config.tag_columns not in TAG_COLUMNS:
        raise ValueError(f"tag_columns={config.tag_columns} must be one of: {', '.join(TAG_COLUMNS)}")
    sizes = tuple(getattr(config, f"{split}_sentences") for split in SPLIT_SEEDS)
    return _read(config.treebank, config.tag_columns, config.labelled, sizes)


@lru_cache(maxsize=2)
def _read(name, tag_columns, labelled, sizes):
    treebank = _generate(sizes) if name == GENERATED else _load(name, tag_columns)
    if labelled:
        return treebank

    def without_labels(sentences):
        return tuple(sentence._replace(labels=(ONLY_LABEL,) * len(sentence.forms)) for sentence in sentences)

    splits = {split: without_labels(getattr(treebank, split)) for split in SPLIT_SEEDS}
    return replace(treebank, **splits)


def _load(name, tag_columns):
    try:
        return treebanks.load(name, tag_columns=tag_columns)
    except ValueError as error:
        guess = f"; did you mean {GENERATED}?" if get_close_matches(name, [GENERATED]) else ""
        raise ValueError(f"{error}{guess}") from error


def _generate(sizes):
    for split, size in zip(SPLIT_SEEDS, sizes, strict=True):
        if size < 1:
            raise ValueError(f"{split}_sentences={size} must be at least 1")
    splits = {
        split: grammar.generate(size, seed) for (split, seed), size in zip(SPLIT_SEEDS.items(), sizes, strict=True)
    }
    sha256 = hashlib.sha256(repr(splits).encode()).hexdigest()
    return Treebank(GENERATED, sha256=sha256, **splits)


def read_corpus(config):
    """The Corpus of a config; the last two are kept.

    Raises:
      ValueError: what `read_treebank` raises, and for an unknown source of tags.
    """
    if config.tags not in TAG_SOURCES:
        raise ValueError(f"tags={config.tags!r} is not one of {', '.join(TAG_SOURCES)}")
    return _prepare(read_treebank(config), config.tags, config.min_count, config.tag_columns)


@lru_cache(maxsize=2)
def _prepare(treebank, tag_source, min_count, tag_columns):
    if tag_source == "predicted":
        if len(treebank.train) < NUM_FOLDS:
            few = f"treebank={treebank.name} has {len(treebank.train)}"
            raise ValueError(
                f"tags=predicted needs at least {NUM_FOLDS} training sentences to predict in turn, and {few}"
            )
        tagged, tagger_file, tag_accuracy = tagger.predict_tags(treebank, NUM_FOLDS)
    else:
        tagged, tagger_file, tag_accuracy = treebank, None, 1.0

    @cache
    def make_tagger():
        return tagger_file or tagger.train_tagger(treebank.train)

    train = tuple(sentence for sentence in tagged.train if is_projective(sentence.heads))
    if not train:
        raise ValueError(f"treebank={treebank.name} has no projective training sentence to learn from")
    vocabulary = build_vocabulary(train, min_count)
    facts = {
        "treebank": treebank.name,
        "sha256": treebank.sha256,
        "sentences": {split: len(treebank[split]) for split in SPLITS},
        "non_projective_training_sentences": len(tagged.train) - len(train),
        "words": len(vocabulary.words),
        "tags": len(vocabulary.tags),
        "labels": len(vocabulary.labels),
    }
    return Corpus(
        treebank=treebank,
        train=train,
        validation=tagged.validation,
        test=tagged.test,
        validation_split=make_split(tagged.validation, vocabulary),
        test_split=make_split(tagged.test, vocabulary),
        vocabulary=vocabulary,
        tag_accuracy=tag_accuracy,
        has_predicted_tags=tag_source == "predicted",
        tag_columns=tag_columns,
        make_tagger=make_tagger,
        facts=facts,
    )
