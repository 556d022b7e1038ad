"""Byte-pair encoding: covers experiment.py, vocabularies.py and claims.py of its folder."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.bpe import claims, rare_script, vocabularies
from experiments.bpe.experiment import Config, bpe_measurement
from experiments.bpe.pieces import PIECE_KINDS, ROLES, WHOLE, is_special
from experiments.bpe.words import count_words, is_latin
from reporting.claims import judge_all

SMALL = {"max_characters": 20_000, "smallest_vocabulary": 200, "vocab_size": 400, "largest_vocabulary": 800}
LINES = ["the cat sat on the mat", "the dog sat on the log, 12 times", "μ is a letter", "don't sit on hats or cats"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("bpe") / "text"
    path.write_text("".join(f"{line}\n" for line in LINES * 10))
    return Config(corpus=str(path), smallest_vocabulary=40, vocab_size=50, largest_vocabulary=70)


@pytest.fixture(scope="module")
def training(config):
    return vocabularies.load_texts(config)[0]


@pytest.fixture(scope="module")
def result(config):
    measured = {
        **vocabularies.analyze(config),
        **rare_script.measure_rare_script(config),
        "productivity/random parts": vocabularies.count_words_with_random_parts(config, np.random.default_rng(0)),
    }
    examined = {name: np.asarray(array)[None] for name, array in measured.items()}
    return SimpleNamespace(config=config, num_seeds=1, examined=examined)


def verdicts(result):
    return {verdict.id: verdict for verdict in judge_all(claims.CLAIMS, {"bpe": result})}


# --- The experiment.


def test_sizes_in_another_order_are_refused(config):
    with pytest.raises(ValueError, match="smallest_vocabulary=60"):
        bpe_measurement(replace(config, smallest_vocabulary=60))


def test_a_vocabulary_that_the_text_cannot_fill_is_refused_if_it_is_asked_about(config):
    with pytest.raises(ValueError, match="more than the training text supports"):
        bpe_measurement(replace(config, vocab_size=5000, largest_vocabulary=5000))
    others = replace(config, smallest_vocabulary=13, largest_vocabulary=1000)
    assert list(vocabularies.train_tokenizers(others)) == [26, 50, 52]


def test_a_text_without_latin_words_is_refused(config, tmp_path):
    (tmp_path / "text").write_text("το χαλί και ένας σκύλος\n" * 20)
    with pytest.raises(ValueError, match="has no word of Latin letters"):
        bpe_measurement(replace(config, corpus=str(tmp_path / "text")))


# --- Vocabularies.


def test_sizes_double_and_hold_the_one_that_is_asked_about():
    assert vocabularies.vocabulary_sizes(Config()) == [500, 1000, 2000, 4000, 8000, 16_000, 32_000]
    sizes = vocabularies.vocabulary_sizes(Config(vocab_size=3000, largest_vocabulary=4000))
    assert sizes == [500, 1000, 2000, 3000, 4000]


def test_tokens_are_counted_as_the_whole_text_has_them(config, training):
    tokenizer = vocabularies.train_tokenizer(config, 50)
    ids = np.concatenate([tokenizer.encode(line) for line in training.normalized.split("\n")])
    counts = vocabularies.count_tokens(tokenizer, Counter(training.normalized.split()))
    np.testing.assert_array_equal(counts, np.bincount(ids, minlength=50))


def test_words_are_spelled_in_the_text_as_they_are_alone(config, training):
    tokenizer, analysis = vocabularies.train_tokenizer(config, 50), vocabularies.analyze(config)
    pieces = vocabularies.list_pieces(tokenizer)
    of_letters = [p for p in range(50) if any(map(is_latin, pieces[p])) and not is_special(pieces[p])]
    np.testing.assert_array_equal(analysis["roles"].sum(1)[of_letters], analysis["tokens"][of_letters])
    lines = training.normalized.split("\n")
    assert analysis["roles"].sum() == sum(id in of_letters for line in lines for id in tokenizer.encode(line))


def test_the_analysis_of_a_text(config, training):
    analysis, text = vocabularies.analyze(config), training.normalized
    assert analysis["vocab_sizes"].tolist() == [40, 50]
    z = 1
    assert analysis["bytes_per_token/training text"][z] == analysis["bytes_per_token"]
    assert analysis["bytes_per_token"] == pytest.approx(
        (len(text.encode()) - text.count("\n")) / analysis["tokens"].sum()
    )
    for whole in ("of the vocabulary", "of tokens"):
        np.testing.assert_allclose(analysis[f"kinds/{whole}"].sum(1), 1)
    assert analysis["kinds/of the vocabulary"][z, PIECE_KINDS.index("special")] == 3 / 50
    frequencies = count_words(text)
    kept = {word for word in frequencies if is_kept_whole(config, word)}
    share = sum(frequencies[word] for word in kept) / sum(frequencies.values())
    assert analysis["words_kept_whole/of occurrences"][z] == pytest.approx(share)
    assert analysis["words_kept_whole/of distinct words"][z] == pytest.approx(len(kept) / len(frequencies))
    assert analysis["scripts"].tolist() == ["LATIN", "GREEK"]
    assert analysis["script_single"][1] == analysis["script_pieces"][1] == 2  # with a space before it and without
    assert analysis["script_letters"][1] == text.count("μ")
    assert analysis["kept_by_next_size"].tolist() == [1.0]


def is_kept_whole(config, word):
    tokenizer = vocabularies.train_tokenizer(config, 50)
    pieces = [tokenizer.piece(id) for id in tokenizer.encode(word.replace("▁", " "))]
    return len([piece for piece in pieces if piece != "▁"]) == 1


def test_bands_of_frequency():
    kept = np.array([True, False, True, True, False])
    shares = vocabularies.share_by_frequency(kept, np.array([1, 1, 2, 3, 4]))
    np.testing.assert_array_equal(shares[:4], [0.5, 1, 0, np.nan])


def test_probability_greater_counts_pairs():
    generator = np.random.default_rng(1)
    x, y = generator.integers(0, 6, 30), generator.integers(0, 5, 40)
    pairs = [(a > b) + 0.5 * (a == b) for a in x for b in y]
    assert vocabularies.probability_greater(x, y) == pytest.approx(np.mean(pairs))


# --- Claims.


def test_parts_are_compared_over_all_and_over_long_ones():
    letters = np.array([2, 5, 6])
    parts = claims.Parts(np.array([8, 6, 12]), np.ones(3), letters, np.array([16, 3, 6]))
    assert claims.words_over_random(parts) == pytest.approx((0.5 * 2 * 2) ** (1 / 3))
    assert claims.words_over_random(parts, at_least_letters=5) == pytest.approx(2)
    assert np.isnan(claims.words_over_random(parts, at_least_letters=7))


def test_the_share_of_words_among_what_spells_words(result):
    shares = result.examined["kinds/of tokens"][0, 1]
    expected = shares[WHOLE] / shares[: len(ROLES)].sum()
    np.testing.assert_allclose(claims.share_of_whole_words("kinds/of tokens")(result), [expected])


def test_rises_are_of_the_doubled_sizes_alone():
    config = Config(smallest_vocabulary=100, vocab_size=300, largest_vocabulary=400)
    examined = {
        "vocab_sizes": np.array([[100, 200, 300, 400]]),
        "bytes_per_token/training text": np.array([[1, 3, 3.5, 4]]),
    }
    values = claims.bytes_a_token_by_doubling(SimpleNamespace(config=config, examined=examined))
    np.testing.assert_array_equal(values, [[1, 3, 4]])


def test_claims_that_the_text_does_not_decide_say_why(result):
    config = replace(result.config, smallest_vocabulary=50, largest_vocabulary=50)
    examined = {
        **result.examined,
        "vocab_sizes": np.array([[50]]),
        "bytes_per_token/training text": np.array([[1.0]]),
        "scripts": np.array([["LATIN", "LATIN"]]),
    }
    judged = verdicts(SimpleNamespace(config=config, num_seeds=1, examined=examined))
    assert "letter of another script" in judged["3a"].reason
    assert "fewer than three vocabularies" in judged["4a"].reason


def test_a_measure_that_the_text_leaves_undefined_decides_nothing(result):
    examined = {
        **result.examined,
        "frequency_and_pieces": np.array([np.nan]),
        "scripts": np.array([["GREEK", "COPTIC"]]),
        "rewritten/tokens a letter": result.examined["rewritten/tokens a letter"] * np.nan,
    }
    judged = verdicts(SimpleNamespace(config=result.config, num_seeds=1, examined=examined))
    assert [judged[id].passed for id in ("1a", "3c", "3d")] == [None] * 3
    assert judged["1a"].reason == claims.UNDEFINED
    assert "no Latin letter" in judged["3c"].reason
    assert judged["3d"].reason == claims.NOT_REWRITTEN
