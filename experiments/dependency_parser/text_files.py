"""Files that a parser writes: what it predicts of the test set, and the parse of any other text."""

import re
from pathlib import Path

import jax
import numpy as np

from data import tfds_builders
from data.treebanks import ENDINGS, parse_conllu, split_text, to_conllu
from experiments.dependency_parser import tagger, vocabulary
from experiments.dependency_parser.arrays import make_split
from experiments.dependency_parser.scores import attachment
from experiments.dependency_parser.tree_drawings import LEGEND, draw_tree
from experiments.dependency_parser.vocabulary import UNKNOWN_TAG
from training.experiment import Answer

VOCABULARY_FILE, TAGGER_FILE = "vocabulary.json", "tagger.msgpack"
PREDICTIONS_FILE, PARSE_FILE = "predictions.conllu", "parse.conllu"
MOST_DRAWN, LONGEST_DRAWN = 10, 40  # sentences, words
LONGEST_SENTENCE = 1000  # words; the charts of a graph parser grow with their square
WORD_LINE = re.compile(r"^\d+(-\d+|\.\d+)?\t", re.MULTILINE)  # what a CoNLL-U file has and a plain text has not


# --- What training leaves behind.


def write_tools(corpus):
    """{file name: bytes, or what makes them} of all that a trained parser needs to parse another file."""
    return {VOCABULARY_FILE: vocabulary.dumps(corpus.vocabulary), TAGGER_FILE: corpus.make_tagger}


def write_predictions(corpus, examined):
    """{file name: bytes} of the test set in CoNLL-U with the parser's trees and the tags that it read.

    Args:
      examined: "test_heads" and "test_labels" [N, T], of one seed.
    """
    label_names = corpus.vocabulary.labels
    parses = take_parses(corpus.test, examined["test_heads"], examined["test_labels"], label_names)
    return {PREDICTIONS_FILE: write_parses(corpus.test, parses, corpus.has_predicted_tags, corpus.tag_columns)}


def write_parses(sentences, parses, has_predicted_tags, tag_columns):
    """The content of a CoNLL-U file with the parses (heads, names of labels); gold tags stay as they were."""
    written = [
        to_conllu(s, heads, labels, s.tags if has_predicted_tags else None, tag_columns)
        for s, (heads, labels) in zip(sentences, parses, strict=True)
    ]
    return "".join(written).encode()


def take_parses(sentences, heads_NT, labels_NT, label_names):
    """(heads, names of labels), one a word, of each sentence."""
    for sentence, heads_T, labels_T in zip(sentences, heads_NT, labels_NT, strict=True):
        words = slice(1, 1 + len(sentence.forms))
        yield [int(head) for head in heads_T[words]], [label_names[max(label, 0)] for label in labels_T[words]]


# --- What eval.py asks.


def parse_text(trained, path, make_parser):
    """The Answer to --text=FILE: its parse in CoNLL-U, how right it is where the file has trees, and drawn trees.

    Args:
      trained: a ``training.experiment.Trained`` parser.
      make_parser: (config, vocabulary) -> ``parsers.Parser``.
    """
    names = vocabulary.loads(trained.files[VOCABULARY_FILE])
    sentences, has_trees, has_predicted_tags = read_sentences(trained, path, names)
    parser = make_parser(trained.config, names)
    heads_NT, labels_NT = parse_sentences(parser, trained.variables, sentences, names)
    parses = list(take_parses(sentences, heads_NT, labels_NT, names.labels))
    num_words = sum(len(s.forms) for s in sentences)
    lines = [f"{len(sentences):,} sentences of {num_words:,} words, parsed by {trained.arm}"]
    if has_trees:
        uas, las = attachment(sentences, heads_NT, labels_NT, names.labels)
        lines.append(f"UAS {uas:.4f}, LAS {las:.4f}" if trained.config.labelled else f"UAS {uas:.4f}")
    drawn = [
        (f"Sentence {number}", s, *parse)
        for number, (s, parse) in enumerate(zip(sentences, parses, strict=True), 1)
        if len(s.forms) <= LONGEST_DRAWN
    ]
    drawings = [draw_parse(*parsed, trained.config.labelled) for parsed in drawn[:MOST_DRAWN]]
    written = write_parses(sentences, parses, has_predicted_tags, trained.config.tag_columns)
    return Answer("\n".join(lines), {PARSE_FILE: written}, drawings)


def draw_parse(title, sentence, heads, labels, is_labelled):
    """The figure of a parse, its errors marked where the sentence has a tree."""
    if sentence.heads:
        return draw_tree(title, LEGEND, sentence, heads, labels if is_labelled else None)
    tree = sentence._replace(heads=heads, labels=labels if is_labelled else [""] * len(heads))
    return draw_tree(title, "The parser's tree.", tree)


def read_sentences(trained, path, names):
    """(a file's sentences with the tags that the parser reads, whether all have trees, whether a tagger tagged them).

    A file with lines of CoNLL-U, or of its name, is read as such, any other as plain text. Tags are those of the file
    where the parser was trained on gold tags and it knows most of the file's; else the tagger's. Raises ValueError for
    a file without a word, with wrong lines, or with a sentence too long to parse.
    """
    text, config = tfds_builders.read(Path(path)), trained.config
    if not text.strip():
        raise ValueError(f"{path} is empty: give a file of CoNLL-U, or of plain text")
    if str(path).endswith(ENDINGS) or WORD_LINE.search(text):
        sentences = parse_conllu(text, str(path), config.tag_columns, with_trees=False)
    else:
        sentences = split_text(text)
    has_trees = all(s.heads for s in sentences)
    longest = max(len(s.forms) for s in sentences)
    if longest > LONGEST_SENTENCE:
        raise ValueError(f"{path} has a sentence of {longest:,} words: at most {LONGEST_SENTENCE:,} can be parsed")
    tag_ids = np.concatenate([names.tag_ids(s.tags or ("",) * len(s.forms)) for s in sentences])
    is_tagged = config.tags == "predicted" or np.mean(tag_ids == UNKNOWN_TAG) > 0.5
    if is_tagged:
        sentences = tagger.tag_sentences(tagger.loads(trained.files[TAGGER_FILE]), sentences)
    return list(sentences), has_trees, is_tagged


def parse_sentences(parser, variables, sentences, names):
    """(heads, label ids), numpy [N, T], of the sentences in their order."""
    parses = jax.jit(parser.parse)(variables, make_split(sentences, names))
    return tuple(np.asarray(values_NT) for values_NT in parses)
