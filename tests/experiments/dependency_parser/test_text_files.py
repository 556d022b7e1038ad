"""Files that a parser reads and writes. tests/experiments/test_dependency_parser.py has them as users meet them."""

import gzip
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from data.treebanks import Sentence, parse_conllu
from experiments.dependency_parser import tagger, text_files, vocabulary
from experiments.dependency_parser.text_files import (
    draw_parse,
    parse_text,
    read_sentences,
    take_parses,
    write_predictions,
)
from experiments.dependency_parser.vocabulary import build_vocabulary

LINES = (
    "# sent_id = 1",
    "1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No",
    "1\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_",
    "2\tn't\tnot\tPART\tRB\t_\t1\tadvmod:neg\t1:advmod\t_",
    "2.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t1:dep\t_",
)
(SENTENCE,) = parse_conllu("\n".join(LINES), "test")
NAMES, XPOS_NAMES = (build_vocabulary(parse_conllu("\n".join(LINES), "test", tag), 1) for tag in ("upos", "xpos"))
LABELS = ("<null>", "advmod", "root")


@pytest.fixture
def tagged(monkeypatch):
    """The sentences that the tagger was asked to tag; it says TAG of every word."""
    asked = []

    def tag(given, sentences):
        assert given == "tagger"
        asked.extend(sentences)
        return tuple(s._replace(tags=("TAG",) * len(s.forms)) for s in sentences)

    monkeypatch.setattr(tagger, "loads", lambda content: content.decode())
    monkeypatch.setattr(tagger, "tag_sentences", tag)
    return asked


def trained(tags="gold", tag_columns="upos", labelled=True):
    config = SimpleNamespace(tags=tags, tag_columns=tag_columns, labelled=labelled)
    return SimpleNamespace(arm="parser", config=config, variables=(), files={"tagger.msgpack": b"tagger"})


def write(folder, name, text):
    (folder / name).write_text(text)
    return str(folder / name)


def test_conllu_with_tags_and_trees_is_read_as_it_is(tmp_path, tagged):
    path = write(tmp_path, "a.txt", "\n".join(LINES))  # whatever its name
    assert read_sentences(trained(), path, NAMES) == ([SENTENCE], True, False)
    (tmp_path / "a.conllu.gz").write_bytes(gzip.compress("\n".join(LINES).encode()))
    assert read_sentences(trained(), tmp_path / "a.conllu.gz", NAMES) == ([SENTENCE], True, False)
    assert read_sentences(trained(tag_columns="xpos"), path, XPOS_NAMES)[0][0].tags == ("VBP", "RB")
    assert not tagged


def test_tags_are_predicted_where_the_parser_learnt_them_so(tmp_path, tagged):
    read = read_sentences(trained("predicted"), write(tmp_path, "a", "\n".join(LINES)), NAMES)
    assert read == ([SENTENCE._replace(tags=("TAG", "TAG"))], True, True)
    assert tagged == [SENTENCE]


def test_tags_are_predicted_where_the_parser_does_not_know_most_of_the_files(tmp_path, tagged):
    half = "\n".join(LINES).replace("\tPART\tRB\t", "\t_\t_\t")
    sentences, _, is_tagged = read_sentences(trained(), write(tmp_path, "half", half), NAMES)
    assert (sentences[0].tags, is_tagged) == (("AUX", "_"), False)
    most = f"{half}\n\n1\tYes\t_\tNEW\t_\t_\t0\troot\t_\t_"  # two words of three, over all sentences
    sentences, has_trees, is_tagged = read_sentences(trained(), write(tmp_path, "most", most), NAMES)
    assert [s.tags for s in sentences] == [("TAG", "TAG"), ("TAG",)]
    assert has_trees
    assert is_tagged
    # The file has tags, of the column that the parser did not learn.
    other = "\n".join(LINES).replace("\tVBP\t", "\t_\t").replace("\tRB\t", "\t_\t")
    path = write(tmp_path, "other", other)
    assert read_sentences(trained(tag_columns="xpos"), path, XPOS_NAMES)[0][0].tags == ("TAG", "TAG")
    assert read_sentences(trained(), path, NAMES)[0][0].tags == ("AUX", "PART")


def test_any_other_text_is_plain(tmp_path, tagged):
    text = write(tmp_path, "plain", "1 may come. But when?\n")
    sentences, has_trees, is_tagged = read_sentences(trained(), text, NAMES)
    assert [s.forms for s in sentences] == [("1", "may", "come", "."), ("But", "when", "?")]
    assert not has_trees
    assert is_tagged
    assert [s.tags for s in sentences] == [("TAG",) * 4, ("TAG",) * 3]


def test_a_file_with_trees_of_some_sentences_alone_is_not_scored(tmp_path, tagged):
    text = "\n".join([*LINES, "", "1\tYes\t_\tINTJ\t_\t_\t_\t_\t_\t_", ""])
    sentences, has_trees, _ = read_sentences(trained(), write(tmp_path, "a", text), NAMES)
    assert [s.heads for s in sentences] == [(0, 1), ()]
    assert not has_trees


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", " \n\n", "a.txt is empty: give a file of CoNLL-U, or of plain text"),
        ("a.conllu", "1 Yes _ INTJ\n", "a.conllu, line 1: 1 columns, not 10 with tabs between"),
        ("a.txt", LINES[2].replace("\t0\t", "\t7\t"), "a.txt, line 1: HEAD '7' is no position in this sentence: 0"),
        ("a.txt", LINES[3], "a.txt, line 1: id '2' is out of order, 1 is next"),
        ("a.txt", "Yes.\n" + "so " * 1001, "a.txt has a sentence of 1,001 words: at most 1,000 can be parsed"),
        ("a.conllu.gz", "plain", "a.conllu.gz is damaged, or not gzipped"),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path, tagged, name, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read_sentences(trained(), write(tmp_path, name, content), NAMES)
    assert len(str(error.value).splitlines()) == 1


def test_the_longest_sentence_that_can_be_parsed_is_read(tmp_path, tagged):
    sentences, *_ = read_sentences(trained(), write(tmp_path, "a.txt", "Yes.\n" + "so " * 1000), NAMES)
    assert [len(s.forms) for s in sentences] == [2, 1000]


@pytest.mark.parametrize("has_predicted_tags", [False, True])
def test_predictions_are_the_test_set_with_other_trees_and_the_tags_that_were_predicted(has_predicted_tags):
    bare = Sentence(("Yes",), ("INTJ",), (0,), ("root",))
    corpus = SimpleNamespace(
        test=(SENTENCE._replace(tags=("X", "Y")), bare),
        vocabulary=NAMES,
        tag_columns="upos",
        has_predicted_tags=has_predicted_tags,
    )
    assert corpus.vocabulary.labels == LABELS
    examined = {
        "test_heads": np.array([[-1, 2, 0, -1, -1], [-1, 0, -1, -1, -1]]),
        "test_labels": np.array([[0, 1, 2, 0, 0], [0, 2, 0, 0, 0]]),
    }
    written = write_predictions(corpus, examined)["predictions.conllu"].decode()
    first, second = ("X", "Y") if has_predicted_tags else ("AUX", "PART")
    assert written.splitlines() == [
        *LINES[:2],
        f"1\tdo\tdo\t{first}\tVBP\t_\t2\tadvmod\t_\t_",
        f"2\tn't\tnot\t{second}\tRB\t_\t0\troot\t_\t_",
        LINES[4],
        "",
        "1\tYes\t_\tINTJ\t_\t_\t0\troot\t_\t_",
        "",
    ]
    assert written.endswith("\n\n")


def test_parses_are_taken_word_by_word():
    heads, labels = np.array([[-1, 2, 0, 5, 5]]), np.array([[0, 1, 2, 1, 1]])
    assert list(take_parses([SENTENCE], heads, labels, LABELS)) == [([2, 0], ["advmod", "root"])]


@pytest.mark.parametrize("labelled", [True, False])
def test_an_answer_has_the_las_of_labelled_arcs_alone_and_the_files_own_tags(tmp_path, tagged, labelled):
    def parse(variables, split):
        return split.heads_NT, jnp.where(split.labels_NT > 1, 1, split.labels_NT)  # all are the first relation

    run = trained(labelled=labelled)
    run.files["vocabulary.json"] = vocabulary.dumps(NAMES)
    path = write(tmp_path, "a.conllu", "\n".join([*LINES, "", *LINES]))
    answer = parse_text(run, path, lambda config, names: SimpleNamespace(parse=parse))
    scores = "UAS 1.0000, LAS 0.5000" if labelled else "UAS 1.0000"
    assert answer.text == f"2 sentences of 4 words, parsed by parser\n{scores}"
    written = [
        *LINES[:2],
        "1\tdo\tdo\tAUX\tVBP\t_\t0\tadvmod\t_\t_",
        "2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_",
        LINES[4],
        "",
    ]
    assert answer.files["parse.conllu"].decode().splitlines() == written * 2
    assert len(answer.figures) == 2


def test_a_tagged_texts_tags_are_written(tmp_path, tagged):
    run = trained()
    run.files["vocabulary.json"] = vocabulary.dumps(NAMES)
    parser = SimpleNamespace(parse=lambda variables, split: (split.heads_NT.at[:, 1].set(0), split.labels_NT))
    answer = parse_text(run, write(tmp_path, "a.txt", "Yes"), lambda config, names: parser)
    assert answer.files["parse.conllu"].decode().splitlines()[1].split("\t")[:5] == ["1", "Yes", "_", "TAG", "_"]


def test_errors_are_marked_where_the_tree_is_known_and_labels_alone_where_the_parser_has_them():
    wrong = draw_parse("t", SENTENCE, [2, 0], ["advmod", "root"], True)
    assert wrong.caption == text_files.LEGEND
    assert "stroke-dasharray" in wrong.markup
    right = draw_parse("t", SENTENCE, [0, 1], ["dep", "dep"], False)
    assert "dep" not in right.markup
    assert right.caption == text_files.LEGEND
    assert "\N{BALLOT X}" not in right.markup
    unknown = SENTENCE._replace(heads=(), labels=())
    labelled = draw_parse("t", unknown, [0, 1], ["root", "advmod"], True)
    assert labelled.caption == "The parser's tree."
    assert "advmod" in labelled.markup
    assert "\N{BALLOT X}" not in labelled.markup
    assert "advmod" not in draw_parse("t", unknown, [0, 1], ["root", "advmod"], False).markup
