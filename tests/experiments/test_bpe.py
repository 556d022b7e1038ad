"""What the claims about byte-pair encoding are made of."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.bpe import experiment as bpe
from experiments.bpe import measures as subwords
from experiments.bpe.measures import KINDS, ROLES

SMALL = {"max_characters": 20_000, "smallest_vocabulary": 200, "vocab_size": 400, "largest_vocabulary": 800}
LINES = ["the cat sat on the mat", "the dog sat on the log, 12 times", "μ is a letter", "don't sit on hats or cats"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("bpe") / "text"
    path.write_text("".join(f"{line}\n" for line in LINES * 10))
    return bpe.Config(corpus=str(path), smallest_vocabulary=40, vocab_size=50, largest_vocabulary=70)


@pytest.fixture(scope="module")
def result(config):
    random = bpe.productivity_of_random_parts(config, np.random.default_rng(0))
    examined = bpe.analysis(config) | {"productivity/random parts": random}
    return SimpleNamespace(
        config=config, num_seeds=1, examined={name: np.asarray(x)[None] for name, x in examined.items()}
    )


def test_sizes_double_and_hold_the_one_that_is_asked_about():
    assert bpe.sizes(bpe.Config()) == [500, 1000, 2000, 4000, 8000, 16_000, 32_000]
    assert bpe.sizes(bpe.Config(vocab_size=3000, largest_vocabulary=4000)) == [500, 1000, 2000, 3000, 4000]


def test_sizes_in_another_order_are_refused(config):
    with pytest.raises(ValueError, match="smallest_vocabulary=60"):
        bpe.task(replace(config, smallest_vocabulary=60))


def test_a_vocabulary_that_the_text_cannot_fill_is_refused_if_it_is_asked_about(config):
    with pytest.raises(ValueError, match="more than the training text supports"):
        bpe.task(replace(config, vocab_size=5000, largest_vocabulary=5000))
    assert list(bpe.possible_tokenizers(replace(config, smallest_vocabulary=13, largest_vocabulary=1000))) == [
        26,
        50,
        52,
    ]


def test_tokens_are_counted_as_the_whole_text_has_them(config):
    text = bpe.texts(config)["training text"]
    tokenizer = bpe.train_tokenizer(config, 50)
    ids = np.concatenate([tokenizer.encode(line) for line in text.split("\n")])
    found = bpe.token_counts(tokenizer, Counter(text.split()))
    np.testing.assert_array_equal(found, np.bincount(ids, minlength=50))


def test_words_are_spelled_in_the_text_as_they_are_alone(config):
    text, tokenizer = bpe.texts(config)["training text"], bpe.train_tokenizer(config, 50)
    examined = bpe.analysis(config)
    letters = [p for p in range(50) if any(map(subwords.is_latin, tokenizer.piece(p)))]
    letters = [p for p in letters if not subwords.is_special(tokenizer.piece(p))]
    np.testing.assert_array_equal(examined["roles"].sum(1)[letters], examined["tokens"][letters])
    assert examined["roles"].sum() == sum(
        tokenizer.piece(id) in map(tokenizer.piece, letters)
        for line in text.split("\n")
        for id in tokenizer.encode(line)
    )


def test_the_analysis_of_a_text(config, result):
    examined = bpe.analysis(config)
    text = bpe.texts(config)["training text"]
    assert examined["vocab_sizes"].tolist() == [40, 50]
    z = 1
    assert examined["bytes_per_token/training text"][z] == pytest.approx(
        (len(text.encode()) - text.count("\n")) / examined["tokens"].sum()
    )
    for of in ("of the vocabulary", "of tokens"):
        np.testing.assert_allclose(examined[f"kinds/{of}"].sum(1), 1)
    assert examined["kinds/of the vocabulary"][z, KINDS.index("special")] == 3 / 50
    frequencies = subwords.words(text)
    whole = {word for word in frequencies if len(spelled(config, word)) == 1}
    share = sum(frequencies[word] for word in whole) / sum(frequencies.values())
    assert examined["words_kept_whole/of occurrences"][z] == pytest.approx(share)
    assert examined["words_kept_whole/of distinct words"][z] == pytest.approx(len(whole) / len(frequencies))
    assert examined["scripts"].tolist() == ["LATIN", "GREEK"]
    assert examined["script_single"][1] == examined["script_pieces"][1] == 2  # with a space before it and without
    assert examined["script_letters"][1] == text.count("μ")
    assert examined["kept_by_next_size"].tolist() == [1.0]


def spelled(config, word):
    tokenizer = bpe.train_tokenizer(config, 50)
    pieces = [tokenizer.piece(id) for id in tokenizer.encode(word.replace("▁", " "))]
    return [piece for piece in pieces if piece != "▁"]


def test_bands_of_frequency():
    kept = np.array([True, False, True, True, False])
    found = bpe.share_by_frequency(kept, np.array([1, 1, 2, 3, 4]))
    np.testing.assert_array_equal(found[:4], [0.5, 1, 0, np.nan])


def test_rewriting_takes_the_share_of_letters_and_keeps_the_rest():
    text = "\n".join(f" word {n} and a Nother." for n in range(400))
    for share in (0.01, 0.3, 1.0):
        mixed = bpe.rewrite(text, share, np.random.default_rng(0))
        changed = sum(a != b for a, b in zip(mixed, text, strict=True))
        letters = sum(c.isalpha() for c in text)
        assert share * letters <= changed < share * letters + 7
        assert {subwords.script(b) for a, b in zip(text, mixed, strict=True) if a != b} == {"CYRILLIC"}
        back = mixed.translate({ord(other): chr(latin) for latin, other in bpe.CYRILLIC.items()})
        assert back == text


def test_parts_are_compared_over_all_and_over_long_ones():
    letters = np.array([2, 5, 6])
    parts = bpe.Parts(np.array([8, 6, 12]), np.ones(3), letters, np.array([16, 3, 6]))
    assert bpe.over_random(parts) == pytest.approx((0.5 * 2 * 2) ** (1 / 3))
    assert bpe.over_random(parts, at_least_letters=5) == pytest.approx(2)
    assert np.isnan(bpe.over_random(parts, at_least_letters=7))


def test_the_share_of_words_among_what_spells_words(result):
    shares = result.examined["kinds/of tokens"][0, 1]
    expected = shares[0] / shares[: len(ROLES)].sum()
    np.testing.assert_allclose(bpe.share_of("kinds/of tokens", 0)(result), [expected])


def test_rises_are_of_the_doubled_sizes_alone():
    config = bpe.Config(smallest_vocabulary=100, vocab_size=300, largest_vocabulary=400)
    examined = {
        "vocab_sizes": np.array([[100, 200, 300, 400]]),
        "bytes_per_token/training text": np.array([[1, 3, 3.5, 4]]),
    }
    found = bpe.doublings(SimpleNamespace(config=config, examined=examined))
    np.testing.assert_array_equal(found, [[1, 3, 4]])


def test_claims_that_the_text_does_not_decide_say_why(result):
    one_size = replace(result.config, smallest_vocabulary=50, largest_vocabulary=50)
    examined = dict(
        result.examined, **{"bytes_per_token/training text": np.array([[1.0]]), "vocab_sizes": np.array([[50]])}
    )
    examined |= {"scripts": np.array([["LATIN", "LATIN"]])}
    found = SimpleNamespace(config=one_size, num_seeds=1, examined=examined)
    reasons = {claim.id: claim.reason for claim in bpe.claims({bpe.ARM: found})}
    assert "letter of another script" in reasons["3a"]
    assert "fewer than three vocabularies" in reasons["4a"]


def test_a_measure_that_the_text_leaves_undefined_decides_nothing(result):
    examined = dict(result.examined, frequency_and_pieces=np.array([np.nan]), scripts=np.array([["GREEK", "COPTIC"]]))
    examined["rewritten/tokens a letter"] = examined["rewritten/tokens a letter"] * np.nan
    found = SimpleNamespace(config=result.config, num_seeds=1, examined=examined)
    claims = {claim.id: claim for claim in bpe.claims({bpe.ARM: found})}
    assert [claims[id].passed for id in ("1a", "3c", "3d")] == [None] * 3
    assert claims["1a"].reason == bpe.UNDEFINED
    assert "no Latin letter" in claims["3c"].reason
    assert claims["3d"].reason == bpe.NOT_REWRITTEN


def test_a_text_without_latin_words_is_refused(config, tmp_path):
    (tmp_path / "text").write_text("το χαλί και ένας σκύλος\n" * 20)
    with pytest.raises(ValueError, match="has no word of Latin letters"):
        bpe.task(replace(config, corpus=str(tmp_path / "text")))


def test_latin_letters_that_no_rewriting_knows_leave_it_undefined(config, tmp_path):
    (tmp_path / "text").write_text("é àé\n" * 20)
    found = bpe.rewritten(replace(config, corpus=str(tmp_path / "text"), vocab_size=6))
    assert np.isnan(found["rewritten/tokens a letter"]).all()
