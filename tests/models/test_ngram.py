"""n-gram models: against KenLM's own files, against their definitions in plain loops, and their laws."""

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from models import ngram

KENLM = Path(__file__).parents[1] / "fixtures" / "kenlm"
ORDERS = (1, 2, 3, 4, 5)

each_order = pytest.mark.parametrize("order", ORDERS)


def spelled(path, words):
    """The ids of a text file, with <s> before and </s> after each line."""
    ids = {word: id for id, word in enumerate(words)}
    lines = path.read_text().split("\n")[:-1]
    sentences = [["<s>", *line.split(), "</s>"] for line in lines]
    return np.array([ids.get(word, ids["<unk>"]) for sentence in sentences for word in sentence])


def vocabulary(path):
    """KenLM's words: <unk>, </s> and those of the text; <s> last."""
    return ("<unk>", "</s>", *dict.fromkeys(path.read_text().split()), "<s>")


def entries(path):
    """{n-gram: [log10 p, log10 backoff]} of an ARPA file."""
    found = {}
    for line in path.read_text().split("\n"):
        fields = line.split("\t")
        if len(fields) > 1:
            found[fields[1]] = [float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0]
    return found


@pytest.mark.parametrize(
    ("text", "arpa", "order", "fallback"),
    [
        ("text", "order_3", 3, None),
        ("text", "order_5", 5, None),
        ("tiny", "tiny", 3, (0.5, 1.0, 1.5)),
    ],
)
def test_kneser_ney_is_kenlms(text, arpa, order, fallback, tmp_path):
    words = vocabulary(KENLM / f"{text}.txt")
    counts = ngram.count(spelled(KENLM / f"{text}.txt", words), order, len(words) - 1)
    ngram.write_arpa(tmp_path / "ours.arpa", ngram.kneser_ney(counts, order, fallback), words)
    ours, theirs = entries(tmp_path / "ours.arpa"), entries(KENLM / f"{arpa}.arpa")
    assert ours.keys() == theirs.keys()
    np.testing.assert_allclose(list(map(ours.get, theirs)), list(theirs.values()), atol=2e-6)


def test_scores_of_another_text_are_kenlms():
    words = vocabulary(KENLM / "text.txt")
    model = ngram.kneser_ney(ngram.count(spelled(KENLM / "text.txt", words), 5, len(words) - 1), 5)
    tokens_N = spelled(KENLM / "test.txt", words)
    ours = ngram.log_probabilities(model, tokens_N)[tokens_N != len(words) - 1] / math.log(10)
    theirs = [float(score) for score in (KENLM / "test_scores.txt").read_text().split()]
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_an_arpa_file_is_read_as_kenlm_reads_it(tmp_path):
    model, words = ngram.read_arpa(KENLM / "order_5.arpa")
    assert words[-1] == "<s>"
    tokens_N = spelled(KENLM / "test.txt", words)
    ours = ngram.log_probabilities(model, tokens_N)[tokens_N != len(words) - 1] / math.log(10)
    theirs = [float(score) for score in (KENLM / "test_scores.txt").read_text().split()]
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    ngram.write_arpa(tmp_path / "again.arpa", model, words)
    again, before = entries(tmp_path / "again.arpa"), entries(KENLM / "order_5.arpa")
    np.testing.assert_allclose(list(map(again.get, before)), list(before.values()), atol=2e-6)


def test_a_pruned_model_is_written_as_it_was_read(tmp_path):
    # "b c" and "c" after it are missing, "a b c" is not.
    bigrams = "-0.4\t<s> a\t-0.1\n-0.5\ta b\t-0.25\n-0.6\tc a"
    unigrams = "-99\t<s>\t-0.2\n-0.5\ta\t-0.3\n-0.6\tb\t-0.15\n-0.7\tc\t-0.35"
    trigrams = "-0.11\ta b c\n-0.9\t<s> a b"
    sections = f"\\1-grams:\n{unigrams}\n\n\\2-grams:\n{bigrams}\n\n\\3-grams:\n{trigrams}\n\n\\end\\\n"
    (tmp_path / "pruned.arpa").write_text(f"\\data\\\nngram 1=4\nngram 2=3\nngram 3=2\n\n{sections}")
    model, words = ngram.read_arpa(tmp_path / "pruned.arpa")
    ngram.write_arpa(tmp_path / "again.arpa", model, words)
    before, again = entries(tmp_path / "pruned.arpa"), entries(tmp_path / "again.arpa")
    before = {entry: value for entry, value in before.items() if value[0] > -99}  # <s> is never predicted
    np.testing.assert_allclose(list(map(again.get, before)), list(before.values()), atol=1e-6)


# --- The definitions, in plain loops over tuples of words.


@pytest.fixture(scope="module")
def words():
    return vocabulary(KENLM / "text.txt")


@pytest.fixture(scope="module")
def counts(words):
    return ngram.count(spelled(KENLM / "text.txt", words), 5, len(words) - 1)


def sentences(name):
    return [("<s>", *line.split(), "</s>") for line in (KENLM / name).read_text().split("\n")[:-1]]


def grams(order):
    """{n-gram: count} of the training text."""
    found = defaultdict(int)
    for sentence in sentences("text.txt"):
        for start in range(len(sentence) - order + 1):
            found[sentence[start : start + order]] += 1
    return found


def relative_frequency(order, more, size):
    times = {k: grams(k) for k in range(1, order + 1)}
    del times[1]["<s>",]  # never predicted

    def p(context, token):
        followed = sum(count for gram, count in times[len(context) + 1].items() if gram[:-1] == context)
        return (times[len(context) + 1][*context, token] + more) / (followed + more * size) if followed + more else 0.0

    return p


def kneser_ney(order, size):
    """Chen and Goodman (1998), with continuation counts of all but the highest order and what begins with <s>."""
    adjusted, lost = {}, {}
    for k in range(1, order + 1):
        before = defaultdict(set)
        for gram in grams(k + 1):
            before[gram[1:]].add(gram[0])
        adjusted[k] = {
            gram: count if k == order or gram[0] == "<s>" else len(before[gram])
            for gram, count in grams(k).items()
            if gram != ("<s>",)
        }
        n = [sum(count == j for count in adjusted[k].values()) for j in range(5)]
        y = n[1] / (n[1] + 2 * n[2])
        lost[k] = [0.0] + [j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]

    def p(context, token):
        k = len(context) + 1
        shorter = p(context[1:], token) if context else 1 / size
        followers = {gram[-1]: count for gram, count in adjusted[k].items() if gram[:-1] == context}
        if not followers:
            return shorter
        total = sum(followers.values())
        left = sum(lost[k][min(count, 3)] for count in followers.values())
        count = followers.get(token, 0)
        return (count - lost[k][min(count, 3)]) / total + left / total * shorter

    return p


def scored(p, words, order):
    """p of each token of the test text but <s>, words that the training text has not being <unk>."""
    known = [tuple(word if word in words else "<unk>" for word in sentence) for sentence in sentences("test.txt")]
    return [p(s[max(0, at - order + 1) : at], s[at]) for s in known for at in range(1, len(s))]


def probabilities(model, words):
    tokens_N = spelled(KENLM / "test.txt", words)
    return np.exp(ngram.log_probabilities(model, tokens_N))[tokens_N != len(words) - 1]


@each_order
@pytest.mark.parametrize("more", [0, 1])
def test_relative_frequencies_are_those_of_the_definition(counts, words, order, more):
    model = (ngram.add_one if more else ngram.maximum_likelihood)(counts, order)
    expected = scored(relative_frequency(order, more, len(words) - 1), words, order)
    np.testing.assert_allclose(probabilities(model, words), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [3, 5])
def test_kneser_ney_is_that_of_the_definition(counts, words, order):
    expected = scored(kneser_ney(order, len(words) - 1), words, order)
    np.testing.assert_allclose(probabilities(ngram.kneser_ney(counts, order), words), expected, rtol=1e-9)


# --- Laws.

FALLBACK = (0.5, 1.0, 1.5)


def models_of(counts, order):
    yield "add-one", ngram.add_one(counts, order)
    yield "Kneser-Ney", ngram.kneser_ney(counts, order, FALLBACK)


@each_order
def test_probabilities_sum_to_one_after_every_context(counts, words, order):
    ids = {word: id for id, word in enumerate(words)}
    contexts = {gram for k in range(order) for gram in grams(k)}  # every one that was seen, </s> at the end included
    contexts |= {("<unk>", "the"), ("n1", "<unk>"), ("the", "n1", "the", "n1"), ("reads", "<s>", "the")}
    for name, model in models_of(counts, order):
        for context in contexts:
            p_V = ngram.distribution(model, [ids[word] for word in context])
            assert p_V.shape == (len(words) - 1,), name
            assert p_V.min() > 0, name
            np.testing.assert_allclose(p_V.sum(), 1.0, rtol=1e-12, err_msg=f"{name} after {context}")


@each_order
def test_distributions_and_scores_agree(counts, words, order):
    tokens_N = spelled(KENLM / "test.txt", words)[:200]
    models = [model for _, model in models_of(counts, order)] + [ngram.maximum_likelihood(counts, order)]
    for model in models:
        with np.errstate(divide="ignore"):
            expected = [
                0.0 if token == model.vocab_size else np.log(ngram.distribution(model, tokens_N[:at])[token])
                for at, token in enumerate(tokens_N)
            ]
        np.testing.assert_allclose(ngram.log_probabilities(model, tokens_N), expected, rtol=1e-9, atol=1e-12)


@each_order
def test_maximum_likelihood_is_likeliest_on_its_own_text(counts, words, order):
    tokens_N = spelled(KENLM / "text.txt", words)
    best = ngram.log_probabilities(ngram.maximum_likelihood(counts, order), tokens_N).sum()
    assert np.isfinite(best)
    assert all(ngram.log_probabilities(model, tokens_N).sum() < best for _, model in models_of(counts, order))


@each_order
def test_unseen_ngrams_are_those_without_likelihood(counts, words, order):
    tokens_N = spelled(KENLM / "test.txt", words)
    start = [sentence for sentence in sentences("test.txt") for _ in range(max(0, len(sentence) - order + 1))]
    seen = ngram.seen(counts, tokens_N, order)
    assert seen.sum() == sum(
        gram in grams_of_order and gram != ("<s>",)
        for grams_of_order in [grams(order)]
        for sentence in sentences("test.txt")
        for gram in (sentence[i : i + order] for i in range(len(sentence) - order + 1))
    )
    assert len(seen) == len(start) - (len(sentences("test.txt")) if order == 1 else 0)
    assert ngram.seen(counts, spelled(KENLM / "text.txt", words), order).all()
    # A piece of a text begins with no <s>.
    piece = spelled(KENLM / "text.txt", words)[1:7]
    assert ngram.seen(counts, piece, order).tolist() == [True] * (7 - order)


def test_unseen_ngrams_have_maximum_likelihood_zero(counts, words):
    tokens_N = spelled(KENLM / "test.txt", words)
    log_N = ngram.log_probabilities(ngram.maximum_likelihood(counts, 2), tokens_N)[tokens_N != len(words) - 1]
    np.testing.assert_array_equal(log_N > -np.inf, ngram.seen(counts, tokens_N, 2))


def test_sentences_begin_after_each_end():
    np.testing.assert_array_equal(ngram.in_sentences([3, 0, 0, 4, 5, 0], 9, 0), [9, 3, 0, 9, 0, 9, 4, 5, 0])
    np.testing.assert_array_equal(ngram.in_sentences([3, 4], 9, 0), [9, 3, 4])


def test_large_vocabularies_and_orders_do_not_overflow():
    size = 60_000  # 60,000^5 is beyond 64 bits
    tokens_N = np.append(size, np.random.default_rng(0).integers(size - 10, size, 300))
    model = ngram.maximum_likelihood(ngram.count(tokens_N, 5, size), 5)
    assert np.isfinite(ngram.log_probabilities(model, tokens_N)).all()


def test_discounts_of_known_counts_of_counts():
    counted = np.repeat([1, 2, 3, 4, 9], [8, 4, 2, 1, 3])
    # Y = 8 / (8 + 2 * 4) = 1/2
    np.testing.assert_allclose(ngram.discounts(counted), [1 - 2 / 2 * 4 / 8, 2 - 3 / 2 * 2 / 4, 3 - 4 / 2 * 1 / 2])


def test_too_little_text_is_refused_and_a_fallback_taken():
    counts = ngram.count(np.array([3, 0, 1, 2]), 2, 3)
    with pytest.raises(ValueError, match="no discounts for 1-grams: no n-gram has a count of 2"):
        ngram.kneser_ney(counts, 2)
    with pytest.raises(ValueError, match="are not between 0 and the counts"):
        ngram.discounts(np.repeat([1, 2, 3, 4], [9, 1, 1, 9]))
    np.testing.assert_allclose(ngram.distribution(ngram.kneser_ney(counts, 2, FALLBACK), [3]).sum(), 1.0)


def test_wrong_input_is_refused(counts, words, tmp_path):
    with pytest.raises(ValueError, match="must begin with <s>"):
        ngram.count(np.array([0, 1]), 2, 5)
    with pytest.raises(ValueError, match=r"0 \.\.\. 5.*found 5 \.\.\. 6"):
        ngram.count(np.array([5, 6]), 2, 5)
    with pytest.raises(ValueError, match="order=0"):
        ngram.count(np.array([5, 1]), 0, 5)
    with pytest.raises(ValueError, match="order=6 must lie between 1 and 5"):
        ngram.kneser_ney(counts, 6)
    with pytest.raises(ValueError, match="different words without white space"):
        ngram.write_arpa(tmp_path / "x.arpa", ngram.add_one(counts, 1), ["a b", *words[1:]])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("no arpa", "is no ARPA file"),
        ("\\data\\\n\n\\1-grams:\n-1\ta\n", "has no <s>"),
        ("\\1-grams:\n-1\t<s>\nx\ta\n", "line 3 is no 1-gram"),
        ("\\1-grams:\n-1\t<s>\n-1\n", "line 3 is no 1-gram"),
        ("\\1-grams:\n-1\t<s>\n-1\ta\n\\2-grams:\n-1\ta b\n", "an n-gram with 'b'"),
        (
            "\\1-grams:\n-1\t<s>\n-1\ta\n\\2-grams:\n-1\t<s> a\n\\3-grams:\n-1\ta a a\n",
            "begin with 'a a'",
        ),
    ],
)
def test_a_damaged_arpa_file_is_refused(content, match, tmp_path):
    (tmp_path / "x.arpa").write_text(content)
    with pytest.raises(ValueError, match=match):
        ngram.read_arpa(tmp_path / "x.arpa")
