"""What an arm trains on: which sentences, with which tags and labels, from the generated treebank and from files."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from experiments.dependency_parser import tagger
from experiments.dependency_parser.corpus import read_corpus, read_treebank

CONFIG = SimpleNamespace(
    treebank="generated",
    tag_columns="upos",
    tags="gold",
    train_sentences=30,
    validation_sentences=6,
    test_sentences=8,
    min_count=1,
    labelled=True,
    seed=0,
)
SPLITS = ("train", "validation", "test")
PROJECTIVE = ((("a", "DET", 2, "det"), ("b", "VERB", 0, "root"), (".", "PUNCT", 2, "punct")),)
CROSSED = ((("who", "PRON", 0, "root"), ("b", "X", 4, "odd"), ("c", "X", 1, "dep"), ("d", "X", 1, "dep")),)


def change(**values):
    return SimpleNamespace(**vars(CONFIG) | values)


def conllu(sentences):
    lines = []
    for words in sentences:
        for n, (form, tag, head, label) in enumerate(words, 1):
            lines.append(f"{n}\t{form}\t_\t{tag}\t_\t_\t{head}\t{label}\t_\t_")
        lines.append("")
    return "\n".join([*lines, ""])


def write_treebank(folder, **splits):
    for split in ("train", "dev", "test"):
        (folder / f"x-{split}.conllu").write_text(conllu(splits.get(split, PROJECTIVE)))
    return str(folder)


@pytest.fixture
def quick_tagger(monkeypatch):
    """A tagger that has hardly learnt: its tags differ from gold ones."""
    monkeypatch.setattr(tagger, "LEAST_STEPS", 3)
    monkeypatch.setattr(tagger, "EPOCHS", 0)


def test_generated_splits_depend_neither_on_each_others_sizes_nor_on_the_runs_seed():
    treebank = read_treebank(CONFIG)
    assert [len(treebank[split]) for split in SPLITS] == [30, 6, 8]
    other = read_treebank(change(train_sentences=7, validation_sentences=9, test_sentences=3, seed=5))
    assert other.train == treebank.train[:7]
    assert other.validation[:6] == treebank.validation
    assert other.test == treebank.test[:3]
    assert other.sha256 != treebank.sha256
    firsts = {treebank[split][:3] for split in SPLITS}
    assert len(firsts) == 3  # splits of their own
    assert read_treebank(change(seed=5)).sha256 == treebank.sha256


def test_arms_that_differ_in_the_model_alone_share_a_corpus():
    corpus = read_corpus(CONFIG)
    assert read_corpus(change(seed=3, use_words=False)) is corpus
    assert read_corpus(change(min_count=3)) is not corpus


def test_a_corpus_is_the_key_of_a_cache_and_equals_itself_alone():
    corpus = read_corpus(CONFIG)
    assert len({corpus, corpus, replace(corpus)}) == 2
    assert replace(corpus) != corpus


def test_sentences_that_are_not_projective_are_left_out_of_training_alone(tmp_path):
    both = PROJECTIVE + CROSSED
    corpus = read_corpus(change(treebank=write_treebank(tmp_path, train=both, dev=both, test=both)))
    assert [s.heads for s in corpus.train] == [(2, 0, 2)]
    for split in SPLITS:
        assert [s.heads for s in corpus.treebank[split]] == [(2, 0, 2), (0, 4, 1, 1)]
    assert [s.heads for s in corpus.validation] == [s.heads for s in corpus.test] == [(2, 0, 2), (0, 4, 1, 1)]
    assert corpus.test_split.heads_NT[1, :5].tolist() == [-1, 0, 4, 1, 1]
    assert corpus.facts["non_projective_training_sentences"] == 1
    assert corpus.facts["sentences"] == {"train": 2, "validation": 2, "test": 2}
    assert "who" not in corpus.vocabulary.words  # what it is not trained on, it does not know
    assert set(corpus.vocabulary.labels[1:]) == {"det", "root", "punct"}
    assert corpus.num_labels == 3
    assert not corpus.is_generated
    assert corpus.facts["sha256"] == corpus.treebank.sha256


def test_gold_tags_are_those_of_the_treebank_and_its_tagger_is_trained_when_it_is_asked_for(monkeypatch):
    trained = []
    monkeypatch.setattr(tagger, "train_tagger", lambda sentences: trained.append(sentences) or b"file")
    corpus = read_corpus(change(train_sentences=29))
    assert (corpus.train, corpus.validation, corpus.test) == tuple(corpus.treebank[s] for s in SPLITS)
    assert (corpus.tag_accuracy, corpus.has_predicted_tags, trained) == (1.0, False, [])
    assert (corpus.make_tagger(), corpus.make_tagger()) == (b"file", b"file")
    assert trained == [corpus.treebank.train]  # once


def test_predicted_tags_stand_in_every_split_and_the_tagger_that_made_them_is_kept(quick_tagger):
    corpus = read_corpus(change(tags="predicted"))
    assert corpus.has_predicted_tags
    gold = read_treebank(CONFIG)
    assert corpus.treebank == gold
    for split in SPLITS:
        sentences = getattr(corpus, split)
        assert [s._replace(tags=()) for s in sentences] == [s._replace(tags=()) for s in gold[split]]
        assert [s.tags for s in sentences] != [s.tags for s in gold[split]]
    final = tagger.loads(corpus.make_tagger())
    for split in ("validation", "test"):
        assert getattr(corpus, split) == tagger.tag_sentences(final, gold[split])
    assert corpus.train != tagger.tag_sentences(final, gold.train)  # by taggers that have not seen them
    pairs = [pair for a, b in zip(gold.test, corpus.test, strict=True) for pair in zip(a.tags, b.tags, strict=True)]
    assert corpus.tag_accuracy == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    assert 0 < corpus.tag_accuracy < 1
    tags = corpus.test_split.rows.tags_MT[corpus.test_split.rows.segments_MT >= 0]
    names = [corpus.vocabulary.tags[i] for i in tags if i > 1]
    assert sorted(names) == sorted(b if b in corpus.vocabulary.tags else "<unknown>" for _, b in pairs)


def test_without_labels_all_arcs_have_one():
    corpus = read_corpus(change(labelled=False))
    assert corpus.vocabulary.labels == ("<null>", "dep")
    assert corpus.num_labels == 1
    assert {label for s in (*corpus.train, *corpus.test) for label in s.labels} == {"dep"}
    assert [s.heads for s in corpus.test] == [s.heads for s in read_treebank(CONFIG).test]


def test_a_label_unseen_in_training_has_no_id_and_one_training_sentence_is_enough(tmp_path):
    new = ((("a", "NOVEL", 2, "odd"), ("zebra", "VERB", 0, "root")),)
    corpus = read_corpus(change(treebank=write_treebank(tmp_path, dev=new, test=new)))
    assert len(corpus.train) == 1
    assert corpus.test_split.labels_NT[0, 1:3].tolist() == [0, corpus.vocabulary.labels.index("root")]
    assert corpus.test[0].labels == ("odd", "root")


def test_rows_hold_any_sentence_of_the_treebank(tmp_path):
    long = (tuple(("w", "X", n, "dep" if n else "root") for n in range(100)),)
    corpus = read_corpus(change(treebank=write_treebank(tmp_path, test=long)))
    assert corpus.row_length == 104  # 100 words and ROOT, in multiples of 8
    assert read_corpus(CONFIG).row_length == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_sentences": 0}, "train_sentences=0 must be at least 1"),
        ({"test_sentences": -2}, "test_sentences=-2 must be at least 1"),
        ({"tags": "wrong"}, "tags='wrong' is not one of gold, predicted"),
        ({"tag_columns": "wrong"}, "tag_columns=wrong must be one of: upos, xpos"),
        ({"treebank": "generatd"}, "treebank=generatd: .*did you mean generated"),
        ({"treebank": "./absent"}, "treebank=./absent: there is no such file or folder; give one that exists$"),
        ({"tags": "predicted", "train_sentences": 4}, "tags=predicted needs at least 5 training sentences.* has 4$"),
        ({"min_count": 0}, "min_count=0 must be at least 1"),
    ],
)
def test_what_is_no_corpus_is_refused(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        read_corpus(change(**changes))
    assert len(str(error.value).splitlines()) == 1


def test_files_without_what_is_needed_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has no file for the train split, named"):
        read_corpus(change(treebank=str(tmp_path)))
    (tmp_path / "only.conllu").write_text("")
    with pytest.raises(ValueError, match=r"only.conllu, line 1: there is no sentence in this file"):
        read_corpus(change(treebank=str(tmp_path / "only.conllu")))
    folder = write_treebank(tmp_path, train=CROSSED)
    with pytest.raises(ValueError, match="has no projective training sentence to learn from"):
        read_corpus(change(treebank=folder))
