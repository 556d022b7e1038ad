"""Token arrays: windows are slices, columns go on where they stopped, and the cache gives back what it was given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import corpora, tokenizers, tokens

TEXT = "".join(f"the {n}th line of a text, with words\n" for n in range(60))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "assay" / "tokens"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return str(tmp_path / "text.txt")


def same(a, b):
    assert a.tokenizer == b.tokenizer
    assert (a.sha256, a.num_bytes) == (b.sha256, b.num_bytes)
    for split in corpora.SPLITS:
        assert a[split].dtype == b[split].dtype
        np.testing.assert_array_equal(a[split], b[split])


@pytest.mark.parametrize(
    ("kind", "settings", "dtype"),
    [
        ("char", {}, np.uint8),
        ("byte", {}, np.uint8),
        ("word", {"split": "punctuation"}, np.uint8),
        ("sentencepiece", {"tokenizer_size": 340}, np.uint16),
    ],
)
def test_tokens_are_the_text(path, kind, settings, dtype):
    prepared = tokens.prepare(path, kind, test_share=0.05, **settings)
    corpus = corpora.load(path, test_share=0.05)
    assert prepared.train.dtype == dtype
    assert prepared.vocab_size == prepared.tokenizer.vocab_size > prepared.train.max()
    for split in corpora.SPLITS:
        if kind != "word":
            assert prepared.tokenizer.decode(prepared[split]) == "".join(corpus[split])
        assert prepared.num_bytes[split] == len("".join(corpus[split]).encode())
        assert prepared.bytes_per_token(split) == prepared.num_bytes[split] / len(prepared[split])
    same(prepared, tokens.prepare(path, kind, test_share=0.05, **settings))


def test_tokenizers_see_the_training_split_only(tmp_path):
    (tmp_path / "train.txt").write_text("a b a b\n" * 9)
    (tmp_path / "valid.txt").write_text("a c\n")
    words = tokens.prepare(str(tmp_path), "word")
    assert words.tokenizer.words == ("<unk>", "<eos>", "a", "b")
    assert words.validation.tolist() == [2, 0, 1]
    characters = tokens.prepare(str(tmp_path), "char")
    assert characters.tokenizer == tokenizers.Characters("\n ab", unknown=True)
    assert characters.validation.tolist() == [2, 1, 4, 0]
    with pytest.raises(ValueError, match="'c'"):
        tokens.tokenize(corpora.load(str(tmp_path)), "char", unknown=False)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("char", {}),
        ("byte", {}),
        ("word", {"vocab_size": 9, "split": "punctuation"}),
        ("sentencepiece", {"vocab_size": 9}),
    ],
)
def test_a_tokenizer_gets_the_options_that_it_takes(kind, settings):
    assert tokens.tokenizer_settings(kind, 9, "punctuation") == settings
    assert tokens.tokenizer_settings(kind) == {}


def test_documents_are_ended(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    for n in range(30):
        (folder / f"{n}.txt").write_text("a b c d" if n % 2 else "d c b a\n")
    num_documents = len(corpora.load(str(folder)).train)
    words = tokens.prepare(str(folder), "word")
    assert words.train.tolist().count(words.tokenizer.end) == num_documents == len(words.train) / 5
    pieces = tokens.prepare(str(folder), "sentencepiece", tokenizer_size=269)
    assert pieces.train.tolist().count(pieces.tokenizer.end) == num_documents
    assert pieces.train[-1] == pieces.tokenizer.end


def test_damaged_entries_of_the_cache_are_made_anew(path, cache):
    first = tokens.prepare(path, "sentencepiece", tokenizer_size=340)
    (entry,) = cache.iterdir()
    for file in sorted(entry.iterdir()):
        whole = file.read_bytes()
        for damaged in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
            file.write_bytes(damaged)
            same(first, tokens.prepare(path, "sentencepiece", tokenizer_size=340))
            assert file.read_bytes() == whole
        file.unlink()
        same(first, tokens.prepare(path, "sentencepiece", tokenizer_size=340))
        assert file.read_bytes() == whole
    assert list(cache.iterdir()) == [entry]  # nothing half made is left


def test_an_entry_is_used_and_is_of_its_text_and_settings(path, cache):
    tokens.prepare(path, "char")
    (entry,) = cache.iterdir()
    written = (entry / "train.npy").stat()
    tokens.prepare(path, "char")
    assert (entry / "train.npy").stat() == written
    tokens.prepare(path, "byte")
    tokens.prepare(path, "char", max_characters=500)
    tokens.prepare(path, "word")
    tokens.prepare(path, "word", tokenizer_size=9)
    assert len(list(cache.iterdir())) == 5
    tokens.prepare(path, "char", tokenizer_size=9, split="punctuation")  # options that it does not take
    assert len(list(cache.iterdir())) == 5


def test_a_cache_that_cannot_be_written_is_done_without(path, tmp_path, monkeypatch):
    kept = tokens.prepare(path)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    same(kept, tokens.prepare(path))


def test_large_arrays_stay_on_disk(path, monkeypatch):
    plain = tokens.prepare(path)
    assert not isinstance(plain.train, np.memmap)
    monkeypatch.setattr(tokens, "MEMORY_MAPPED_BYTES", 1000)
    mapped = tokens.prepare(path)
    assert isinstance(mapped.train, np.memmap)
    assert not isinstance(mapped.validation, np.memmap)
    same(plain, mapped)


def test_a_corpus_shorter_than_the_context_is_refused(path):
    length = len(corpora.load(path).validation[0])
    tokens.prepare(path, context_length=length - 1)
    with pytest.raises(
        ValueError, match=rf"validation split of .*text.txt has {length} tokens, fewer than .* {length + 1}"
    ):
        tokens.prepare(path, context_length=length)


def test_windows_are_slices():
    stream = np.random.default_rng(0).integers(0, 256, 50).astype(np.uint8)
    starts = np.array([0, 7, 41, 49])
    windows_BT = jax.jit(tokens.windows, static_argnums=2)(stream, starts, 8)
    assert windows_BT.dtype == jnp.int32
    np.testing.assert_array_equal(windows_BT, [stream[s : s + 9] for s in (0, 7, 41, 41)])


def test_random_windows_reach_every_place():
    stream = np.arange(12, dtype=np.uint16)
    draw = jax.jit(tokens.random_windows, static_argnums=(2, 3))
    windows_BT = np.asarray(draw(jax.random.key(0), stream, 400, 9))
    assert set(windows_BT[:, 0].tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(windows_BT, windows_BT[:, :1] + np.arange(10))
    np.testing.assert_array_equal(windows_BT, draw(jax.random.key(0), stream, 400, 9))
    assert not np.array_equal(windows_BT, draw(jax.random.key(1), stream, 400, 9))


def test_consecutive_windows_predict_each_token_once():
    stream = np.arange(100, 123, dtype=np.uint8)
    windows_BT = tokens.consecutive_windows(stream, 5)
    assert windows_BT.dtype == np.int32
    assert windows_BT[:, 1:].ravel().tolist() == stream[1:21].tolist()
    np.testing.assert_array_equal(windows_BT[1:, 0], windows_BT[:-1, -1])
    assert tokens.consecutive_windows(stream, 5, at_most=2)[:, 0].tolist() == [100, 115]
    assert tokens.consecutive_windows(stream, 22).shape == (1, 23)
    with pytest.raises(ValueError, match="context_length"):
        tokens.consecutive_windows(stream, 23)


def test_columns_go_on_where_they_stopped():
    rows = tokens.columns(np.arange(23), 4)
    assert rows.tolist() == [list(range(5 * b, 5 * b + 5)) for b in range(4)]
    with pytest.raises(ValueError, match="too few for batch_size=12"):
        tokens.columns(np.arange(23), 12)
