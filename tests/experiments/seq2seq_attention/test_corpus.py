"""The sentence pairs of an arm: splits, buckets, known links, and chunks for evaluation."""

import gzip

import jax
import numpy as np
import pytest

import experiments
from data.buckets import bucket_batch
from experiments.seq2seq_attention import language, sequences
from experiments.seq2seq_attention.corpus import CHUNK, SPLIT_SEEDS, SPLITS, Pairs, chunk, read_corpus
from training.config import override

SMALL = {"train_pairs": 60, "validation_pairs": 7, "test_pairs": 9, "vocab_size": 90}


def make_corpus(**changes):
    return read_corpus(override(experiments.load("seq2seq_attention").config, SMALL | changes))


def write_text(folder, number=60):
    """Files of the generated language, as real text looks; returns the config that trains on them."""
    for split, size in (("train", number), ("val", 7), ("test", 9)):
        examples = language.generate(size, SPLITS.index("validation" if split == "val" else split))
        for side, end in (("source", "."), ("target", "!")):
            lines = [" ".join(getattr(e, side)).capitalize() + end for e in examples]
            (folder / f"{split}.{side}").write_text("\n".join(lines) + "\n")
    return {"source": str(folder / "train.source"), "target": str(folder / "train.target")}


def test_sentences_end_with_the_end_token_and_are_the_text():
    corpus = make_corpus()
    for split in SPLITS:
        pairs = corpus.pairs[split]
        assert pairs.number == len(corpus.text[split])
        for ids_NP, length_N, texts in (
            (pairs.source, pairs.source_length, [source for source, _ in corpus.text[split]]),
            (pairs.target, pairs.target_length, [target for _, target in corpus.text[split]]),
        ):
            for ids, length, text in zip(ids_NP, length_N, texts, strict=True):
                assert corpus.tokenizer.decode(ids[: length - 1]) == text
                assert ids[length - 1] == corpus.end
                assert not ids[length:].any()
                assert (ids[: length - 1] > corpus.end).all()  # no word of the language is unknown


def test_splits_are_drawn_apart_and_a_larger_corpus_begins_with_a_smaller_one():
    small, large = make_corpus(train_pairs=20), make_corpus(train_pairs=60)
    assert small.text["train"] == large.text["train"][:20]
    assert small.text["test"] == large.text["test"]
    assert len({text for split in SPLITS for text in large.text[split]}) == 60 + 7 + 9
    assert small.facts["sha256"] != large.facts["sha256"]


def test_every_training_pair_is_in_one_bucket_that_holds_it():
    corpus = make_corpus(num_buckets=3)
    train, buckets = corpus.pairs["train"], corpus.buckets
    assert sorted(buckets.order_N) == list(range(60))
    assert len(buckets.sizes) == 3
    batches = jax.jit(jax.vmap(lambda step: bucket_batch(buckets, 0, step, 8)))(np.arange(12))
    for examples_B, bucket in zip(*map(np.asarray, batches), strict=True):
        S, T = buckets.lengths[int(bucket)]
        assert (train.source_length[examples_B] <= S).all()
        assert (train.target_length[examples_B] <= T).all()


def test_gold_is_what_the_examples_say():
    corpus = make_corpus()
    for split in ("validation", "test"):
        gold, examples = corpus.gold[split], language.generate(SMALL[f"{split}_pairs"], SPLIT_SEEDS[split])
        assert gold.links.shape == (*gold.kinds.shape, corpus.pairs[split].source.shape[1])
        for links_TS, kinds_T, example in zip(gold.links, gold.kinds, examples, strict=True):
            words = len(example.target)
            assert [tuple(np.flatnonzero(row)) for row in links_TS[:words]] == list(example.links)
            assert [language.KINDS[kind] for kind in kinds_T[:words]] == list(example.kinds)
            assert not links_TS[words:].any()  # of the end token and of padding nothing is known
            assert (kinds_T[words:] == -1).all()
    assert "train" not in corpus.gold


@pytest.mark.parametrize("task", sequences.TASKS)
def test_in_tasks_of_sequences_each_target_word_is_its_linked_source_word(task):
    corpus = make_corpus(corpus=task, shortest=2, longest=5)
    pairs, links_NTS = corpus.pairs["test"], corpus.gold["test"].links
    is_word_NT = corpus.gold["test"].kinds >= 0
    assert (links_NTS.sum(-1) == is_word_NT).all()
    linked_NT = np.take_along_axis(pairs.source, links_NTS.argmax(-1), axis=1)
    assert (linked_NT == pairs.target)[is_word_NT].all()
    assert corpus.facts["corpus"] == task


def test_training_sentences_longer_than_the_context_are_left_out_and_counted():
    whole, short = make_corpus(), make_corpus(context_length=14)
    fits_N = np.maximum(whole.pairs["train"].source_length, whole.pairs["train"].target_length) <= 14
    assert 0 < fits_N.sum() < 60
    assert short.pairs["train"].number == fits_N.sum() == len(short.buckets.order_N)
    source_NS = short.pairs["train"].source
    assert source_NS.shape[1] <= 14
    np.testing.assert_array_equal(source_NS, whole.pairs["train"].source[fits_N, : source_NS.shape[1]])
    assert short.facts["left_out_as_too_long"] == (~fits_N).sum()
    assert short.pairs["test"].number == whole.pairs["test"].number
    with pytest.raises(ValueError, match="context_length=3 is shorter than every training sentence of generated"):
        make_corpus(context_length=3)


def test_held_out_pairs_longer_than_the_context_are_translated_and_not_aligned():
    corpus, whole = make_corpus(context_length=14), make_corpus()
    for split in ("validation", "test"):
        pairs, alignable, gold = corpus.pairs[split], corpus.alignable[split], corpus.gold[split]
        np.testing.assert_array_equal(pairs.source, whole.pairs[split].source)
        fits_N = pairs.fit(14)
        assert 0 < fits_N.sum() < pairs.number == alignable.number
        assert corpus.facts["too_long_to_align"][split] == (~fits_N).sum()
        assert alignable.source.shape[1] == pairs.source_length[fits_N].max()
        S, T = alignable.source.shape[1], alignable.target.shape[1]
        assert gold.links.shape == (pairs.number, T, S)
        np.testing.assert_array_equal(alignable.source[fits_N], pairs.source[fits_N, :S])
        np.testing.assert_array_equal(alignable.target_length[fits_N], pairs.target_length[fits_N])
        np.testing.assert_array_equal(gold.links[fits_N], whole.gold[split].links[fits_N, :T, :S])
        assert not gold.links[~fits_N].any()
        assert (gold.kinds[~fits_N] == -1).all()
        assert (alignable.target_length[~fits_N] == 0).all()
    assert whole.facts["too_long_to_align"] == {"validation": 0, "test": 0}
    for x, y in zip(whole.alignable["test"], whole.pairs["test"], strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_context_that_no_held_out_sentence_fits_is_refused(tmp_path):
    config = write_text(tmp_path)
    for side in ("source", "target"):
        (tmp_path / f"test.{side}").write_text("the dog " * 90 + "\n")
    with pytest.raises(ValueError, match="context_length=64 is shorter than every test sentence of"):
        make_corpus(**config)


@pytest.mark.parametrize("name", ["train_pairs", "validation_pairs", "test_pairs", "context_length", "num_buckets"])
def test_sizes_must_be_positive(name):
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        make_corpus(**{name: 0})


@pytest.mark.parametrize(
    ("number", "num_buckets", "context_length"),
    [(1, 3, 64), (9, 1, 64), (3 * CHUNK, 3, np.inf), (CHUNK + 1, 1, 64), (CHUNK + 1, 2, 12), (9, 2, 1)],
)
def test_chunks_hold_every_pair_once(number, num_buckets, context_length):
    pairs = make_corpus(test_pairs=number).pairs["test"]
    seen = []
    for bucket in chunk(pairs, num_buckets, context_length):
        assert bucket.rows.shape[1] <= CHUNK
        assert (bucket.rows < 0).sum() < len(bucket.rows)  # less than a pair of filler a chunk
        S, T = bucket.pairs.source.shape[2], bucket.pairs.target.shape[2]
        for place, row in np.ndenumerate(bucket.rows):
            source, source_length, target, target_length = (x[place] for x in bucket.pairs)
            if row < 0:
                assert (source_length, target_length) == (1, 0)
                continue
            seen.append(row)
            assert source_length == pairs.source_length[row] <= S
            assert target_length == pairs.target_length[row] <= T
            np.testing.assert_array_equal(source, pairs.source[row, :S])
            np.testing.assert_array_equal(target, pairs.target[row, :T])
    assert sorted(seen) == list(range(number))


def test_a_long_pair_is_in_a_chunk_of_its_own_with_few_others():
    length_N = np.array([5] * 200 + [50] * 30 + [5000])
    pairs = Pairs(np.zeros((231, 5000), np.int8), length_N, np.zeros((231, 60), np.int8), np.full(231, 4))
    shapes = {bucket.pairs.source.shape[1:]: bucket.rows.size for bucket in chunk(pairs, 2, 20)}
    # Those that fit, in chunks of up to 128; the others, of whose lengths none has an eighth for itself, one by one.
    assert shapes == {(100, 5): 200, (1, 5000): 31}
    pairs = pairs._replace(source_length=np.array([5] * 200 + [50] * 31))
    shapes = {bucket.pairs.source.shape[1:]: bucket.rows.size for bucket in chunk(pairs, 2, 20)}
    assert shapes == {(100, 5): 200, (31, 50): 31}  # 31 x 50 is less than 128 x 20


def test_files_gzipped_or_with_windows_line_ends_are_the_same_corpus(tmp_path):
    config = write_text(tmp_path)
    plain = make_corpus(**config)
    assert [len(plain.text[split]) for split in SPLITS] == [60, 7, 9]
    assert plain.text["test"][0][0].endswith(".")
    assert plain.gold == {}
    (tmp_path / "train.target").write_bytes((tmp_path / "train.target").read_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "train.source.gz").write_bytes(gzip.compress((tmp_path / "train.source").read_bytes()))
    (tmp_path / "train.source").unlink()
    other = make_corpus(source=config["source"] + ".gz", target=config["target"])
    assert other is not plain
    assert other.text == plain.text
    assert other.facts["sha256"] == plain.facts["sha256"]
    np.testing.assert_array_equal(other.pairs["train"].target, plain.pairs["train"].target)


def test_the_tokenizer_knows_the_training_text_alone(tmp_path):
    config = write_text(tmp_path)
    (tmp_path / "test.source").write_text("The d\N{LATIN SMALL LETTER ETH}g.\n" + "The dog.\n" * 8)
    corpus = make_corpus(**config)
    assert corpus.tokenizer.vocab_size == SMALL["vocab_size"] == corpus.facts["tokens"]
    test = corpus.pairs["test"]
    assert 0 in test.source[0, : test.source_length[0]]
    assert 0 not in test.source[1, : test.source_length[1]]
    for split in ("train", "validation"):
        pairs = corpus.pairs[split]
        assert all(0 not in ids[:length] for ids, length in zip(pairs.source, pairs.source_length, strict=True))


def test_both_languages_share_one_vocabulary(tmp_path):
    corpus = make_corpus(**write_text(tmp_path))
    source, target = (set(np.unique(corpus.pairs["train"][i]).tolist()) for i in (0, 2))
    assert max(source | target) < SMALL["vocab_size"]
    assert len(source & target) > 3


def test_files_serve_the_generated_pair_and_not_the_tasks_of_sequences(tmp_path):
    config = write_text(tmp_path)
    assert make_corpus(**config, corpus="copy").gold["test"].links.any()


def test_a_vocabulary_that_does_not_fit_the_text_is_refused(tmp_path):
    config = write_text(tmp_path)
    with pytest.raises(ValueError, match="vocab_size=100000 is more than the training text supports: take at most"):
        make_corpus(**config, vocab_size=100_000)
    with pytest.raises(ValueError, match="vocab_size=5 is too small"):
        make_corpus(**config, vocab_size=5)


def test_pairs_with_a_blank_line_are_counted_and_warned_of(tmp_path, capsys):
    config = write_text(tmp_path)
    assert make_corpus(**config).facts["left_out_as_blank"] == 0
    assert capsys.readouterr().err == ""
    lines = (tmp_path / "test.source").read_text().splitlines()
    (tmp_path / "test.source").write_text("\n".join([*lines[:3], "", *lines[4:]]))
    corpus = make_corpus(**config, num_buckets=2)  # another corpus than the one that is kept
    assert corpus.facts["left_out_as_blank"] == 1
    assert [source for source, _ in corpus.text["test"]] == [*lines[:3], *lines[4:]]
    assert capsys.readouterr().err == (
        "warning: pairs left out because a line of them is blank: 1; line i of translations.txt belongs to line i of "
        "references.txt, not of the files that were read\n"
    )


def test_of_splits_without_files_no_more_pairs_are_taken_than_are_asked_for(tmp_path, capsys):
    config = write_text(tmp_path, number=300)
    for side in ("source", "target"):
        (tmp_path / f"test.{side}").unlink()
    whole, fewer = make_corpus(**config, test_pairs=99), make_corpus(**config, test_pairs=4, validation_pairs=1)
    assert len(whole.text["train"]) + len(whole.text["test"]) == 300
    every = whole.text["test"]
    assert fewer.text["test"] == tuple(every[i * len(every) // 4] for i in range(4))
    assert fewer.text["train"] == whole.text["train"]
    assert len(fewer.text["validation"]) == 7  # it has files
    assert fewer.facts["pairs"]["test"] == 4
    said = f"of {len(every)} test pairs, for which no files are given, 4 are taken: test_pairs=4\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("name", "guess"), [("permuation", "permutation"), ("file", "files"), ("Generated", "generated"), ("wmt19", None)]
)
def test_a_misspelt_corpus_is_refused_with_the_one_that_may_be_meant(name, guess):
    with pytest.raises(ValueError, match=f"corpus={name}: ") as error:
        make_corpus(corpus=name)
    assert str(error.value).endswith(f"; did you mean {guess}?") == bool(guess)
    assert ("did you mean" in str(error.value)) == bool(guess)


def test_a_target_that_is_the_source_is_warned_of_once(tmp_path, capsys):
    config = write_text(tmp_path)
    for _ in range(2):
        make_corpus(source=config["source"], target=config["source"])
    warning = f"warning: {config['source']} is both the source and the target: the translator will learn to copy\n"
    assert capsys.readouterr().err == warning
