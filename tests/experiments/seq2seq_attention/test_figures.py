"""The report's figures of made-up results: which are drawn, and that they show what was measured.

Axes: S seeds or source time, N pairs, T target time.
"""

import dataclasses
import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from svg_elements import cells_of, texts_of

from experiments.seq2seq_attention import attention_pictures, figures, measures, translation_scores
from experiments.seq2seq_attention.corpus import read_corpus
from experiments.seq2seq_attention.evaluation import is_word
from experiments.seq2seq_attention.experiment import EXPERIMENT
from experiments.seq2seq_attention.language import KINDS
from experiments.seq2seq_attention.sequences import TASKS
from probes.alignment import effective_number, row_entropy
from training.experiment import ArmResult, History

SEEDS, STEPS = 2, np.array([10, 20, 30])
CONFIG = dataclasses.replace(EXPERIMENT.config, train_pairs=10, validation_pairs=5, test_pairs=60)
GOLD_NUMBERS = {
    "alignment_error_rates": (0.125, 0.625),
    "diagonal_error_rate": 0.875,
    "accuracy_of_uniform": 0.25,
    "accuracy_of_gold": 0.5,
}
ALIGNER_NUMBERS = {"aligner_agreements": (0.75, 0.5), "diagonal_agreement": 0.375}
TRANSLATION_TITLES = (
    "Attention to sentence",
    "Scores on the test set",
    "Attention as an alignment",
    "Scores by source length",
    "Entropy of rows",
    "Effective number",
    "Learning curves of translation",
    "Translations by",
)


@pytest.fixture(scope="module")
def real_config(tmp_path_factory):
    """The config of a text of files, whose alignment is not known."""
    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)
    sides = {"source": "the cats see two dogs today.", "target": "les chats voient deux chiens aujourd'hui."}
    settings = {"vocab_size": 50}
    for split, number in (("", 60), ("validation_", 5), ("test_", 60)):
        lengths = rng.integers(2, 6, number)
        for side, sentence in sides.items():
            words = sentence.split()
            file = folder / f"{split}{side}.txt"
            file.write_text("".join(f"{' '.join(words[6 - n :])}\n" for n in lengths))
            settings[f"{split}{side}"] = str(file)
    return dataclasses.replace(CONFIG, **settings)


def scored(arm, config=CONFIG, right=0.7, attends=True, num_seeds=SEEDS, trained=True):
    """The result of an arm whose random predictions and translations are right in a share of the words."""
    rng = np.random.default_rng(len(arm))
    corpus = read_corpus(config)
    test, is_word_NT = corpus.pairs["test"], np.asarray(is_word(corpus.pairs["test"]))
    (N, S), T = test.source.shape, test.target.shape[1]
    shape = (num_seeds, N, T)
    correct = (rng.random(shape) < right) & is_word_NT
    # A wrong translation repeats the first word of the pair before.
    wrong_SNT = (rng.random((num_seeds, N, 1)) < 1 - right) & (np.arange(T) < test.target_length[:, None] - 1)
    reference_NT = np.where(is_word_NT, test.target, corpus.end)
    translations = np.where(wrong_SNT, np.roll(reference_NT[:, :1], 1, axis=0), reference_NT)
    exact_SN = (translations == reference_NT).all(-1)
    translations = np.pad(translations, ((0, 0), (0, 0), (0, 3)), constant_values=corpus.end).astype(np.int32)
    per_seed = [
        translation_scores.score(*measures.read_translations(corpus, tokens))._asdict() for tokens in translations
    ]
    examined = {name: np.array([seed[name] for seed in per_seed]) for name in per_seed[0]}
    examined |= {"exact": exact_SN, "exact_match": exact_SN.mean(1)}
    examined |= {"correct": correct, "translations": translations}
    if attends:
        raw_SNTS = rng.random((*shape, S)) ** 4 * (np.arange(S) < test.source_length[:, None])[:, None]
        weights = raw_SNTS / raw_SNTS.sum(-1, keepdims=True) * is_word_NT[..., None]
        drawn_P = measures.choose_drawn(corpus)
        examined |= {
            "row_entropy": row_entropy(weights).astype(np.float32),
            "effective_number": effective_number(weights).astype(np.float32),
            "drawn_pairs": np.stack([drawn_P] * num_seeds),
            "drawn_weights": weights[:, drawn_P],
            "map": np.full(num_seeds, 4),
        }
        numbers = GOLD_NUMBERS if corpus.gold else ALIGNER_NUMBERS
        examined |= {name: np.array([number] * num_seeds) for name, number in numbers.items()}
    values = np.linspace(2, 1, 3)[:, None] + 0.1 * np.arange(num_seeds)
    history = History(STEPS, {"loss": values, "accuracy": 1 - values / 3})
    train = History(STEPS if trained else STEPS[:0], {"loss": values})
    examined["test_accuracy"] = correct.sum((1, 2)) / is_word_NT.sum()
    return ArmResult(arm, config, num_seeds, examined, train=train, evaluation=history)


def results_of(*arms):
    return {result.arm: result for result in arms}


def sequence_config(task):
    return dataclasses.replace(CONFIG, corpus=task, shortest=3, longest=6)


@pytest.fixture(scope="module")
def whole_results():
    """All kinds of arms."""
    return results_of(
        scored("additive", right=0.7),
        scored("none", attends=False, right=0.4),
        scored("word_values"),
        scored("transformer"),
        scored("random_weights", right=0.01, trained=False),
        *(scored(task, sequence_config(task)) for task in TASKS),
    )


@pytest.fixture(scope="module")
def drawn(whole_results):
    return figures.figures(whole_results)


def titles_of(drawn):
    return [figure.title for figure in drawn]


def find(drawn, start):
    """The first figure whose title starts so."""
    return next(figure for figure in drawn if figure.title.startswith(start))


def rows_of(figure):
    """{first cell: cells} of a table, each row {column: text}."""
    columns = re.findall(r"<th[^>]*>(.*?)</th>", figure.markup)
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in re.findall(r"<tr>(.*?)</tr>", figure.markup, re.S)]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows[1:]}


def test_every_figure_of_a_whole_run_is_there_in_order(drawn):
    titles = titles_of(drawn)
    places = [next(i for i, title in enumerate(titles) if title.startswith(start)) for start in TRANSLATION_TITLES]
    assert places == sorted(places)
    assert "Learning curves of sequences" in titles
    for figure in drawn:
        ElementTree.fromstring(figure.markup)
        assert len(figure.caption) > 20
        assert not figure.caption.startswith(".")


def test_without_results_or_with_arms_that_measure_nothing_there_is_no_figure():
    assert not figures.figures({})
    assert figures.figures({"empty": ArmResult("empty", CONFIG, 1, {})}) == []


def test_pictures_show_the_drawn_weights_and_frame_the_gold_links(drawn, whole_results):
    corpus, examined = read_corpus(CONFIG), whole_results["additive"].examined
    drawn_P = examined["drawn_pairs"][0]
    pictures = [figure for figure in drawn if figure.title.startswith("Attention to sentence")]
    assert len(pictures) == measures.NUM_DRAWN
    assert (
        pictures[0].title
        == f"Attention to sentence {drawn_P[0] + 1} of the test set: additive, word_values, transformer"
    )
    assert pictures[1].title == f"Attention to sentence {drawn_P[1] + 1} of the test set: additive, word_values"
    assert "cross-attention map 5" in pictures[0].caption
    assert "chosen to show many kinds of words" in pictures[0].caption
    for p, num_arms in ((0, 3), (1, 2)):
        n = drawn_P[p]
        source, target = ([*sentence.split(), "[end]"] for sentence in corpus.text["test"][n])
        expected = []
        for t, s in itertools.product(range(len(target)), range(len(source))):
            weight = examined["drawn_weights"][0, p, t, s]
            link = ", gold link" if corpus.gold["test"].links[n, t, s] else ""
            expected.append(f"target '{target[t]}' looks at source '{source[s]}': {weight:.2f}{link}")
        cells = [hover for hover, _ in cells_of(pictures[p])]
        assert len(cells) == num_arms * len(expected)
        assert cells[: len(expected)] == expected


def test_every_task_of_sequences_is_drawn_once(drawn):
    picture = find(drawn, "Attention to sequences")
    assert picture.title == "Attention to sequences: copy, reverse, permutation"
    assert set(TASKS) <= set(texts_of(picture))
    corpora = [read_corpus(sequence_config(task)) for task in TASKS]
    num_words = sum(c.pairs["test"].source_length[measures.choose_drawn(c)[0]] - 1 for c in corpora)
    assert sum("gold link" in hover for hover, _ in cells_of(picture)) == num_words


def test_sentences_too_long_to_draw_are_left_out(whole_results, monkeypatch):
    monkeypatch.setattr(attention_pictures, "MOST_CELLS", 5)
    titles = titles_of(figures.figures({"additive": whole_results["additive"]}))
    assert titles[0] == "Scores on the test set"


def test_one_arm_alone_has_its_sentences_in_one_figure_and_any_arm_with_attention_is_drawn():
    drawn = figures.figures(results_of(scored("dot"), scored("none", attends=False)))
    assert titles_of(drawn)[:2] == ["Attention of dot to sentences of the test set", "Scores on the test set"]
    assert sum(text.startswith("test sentence") for text in texts_of(drawn[0])) == measures.NUM_DRAWN


def test_an_arm_without_attention_has_scores_and_curves_alone():
    titles = titles_of(figures.figures(results_of(scored("none", attends=False))))
    assert titles == [
        "Scores on the test set",
        "Scores by source length",
        "Learning curves of translation",
        "Translations by none",
    ]


def test_the_table_of_arms_holds_means_over_seeds(drawn, whole_results):
    table = find(drawn, "Scores on the test set")
    rows = rows_of(table)
    assert list(rows) == list(whole_results)
    for arm, row in rows.items():
        result = whole_results[arm]
        assert float(row["test accuracy"]) == pytest.approx(result.examined["test_accuracy"].mean(), rel=1e-3)
        assert float(row["BLEU"]) == pytest.approx(result.examined["bleu"].mean(), rel=1e-3)
    assert whole_results["additive"].examined["bleu_signature"][0] in table.caption


def test_the_table_of_alignments_has_a_row_for_each_arm_that_attends(drawn, whole_results):
    rows = rows_of(find(drawn, "Attention as an alignment"))
    assert list(rows) == [arm for arm in whole_results if arm != "none"]
    additive = rows["additive"]
    assert (additive["error rate at shift 0"], additive["at shift 1"]) == ("0.125", "0.625")
    assert (additive["of the diagonal"], additive["with uniform rows"]) == ("0.875", "0.25")
    assert additive["with gold rows"] == "0.5"
    assert "agreement at shift 0" not in additive


def test_scores_by_length_are_those_of_each_bin_and_seed(whole_results, monkeypatch):
    passed = {}
    monkeypatch.setattr(figures, "curves", lambda title, caption, x_label, panels: passed.update(dict(panels)))
    corpus = read_corpus(CONFIG)
    scored_arms = [
        figures.ScoredArm(arm, whole_results[arm], corpus, whole_results[arm].examined) for arm in ("additive", "none")
    ]
    figures.length_figures(scored_arms)
    test = corpus.pairs["test"]
    for arm in ("additive", "none"):
        middles, accuracy_SB = passed["test accuracy"][arm]
        _, exact_SB = passed["exact translations (share)"][arm]
        assert (np.diff(middles) > 0).all()
        assert accuracy_SB.shape == exact_SB.shape == (SEEDS, len(middles))
        bins = figures.bin_lengths(test.source_length - 1)
        # Weighted by the words and by the sentences of a bin, they are the scores of the whole test set.
        words = [test.target_length[members].sum() for members in bins]
        sentences = [len(members) for members in bins]
        result = whole_results[arm]
        np.testing.assert_allclose(np.average(accuracy_SB, axis=1, weights=words), result.examined["test_accuracy"])
        np.testing.assert_allclose(np.average(exact_SB, axis=1, weights=sentences), result.examined["exact_match"])


def test_bins_of_lengths_hold_every_pair_once_and_enough_pairs():
    words_N = np.random.default_rng(1).integers(3, 30, 250)
    bins = figures.bin_lengths(words_N)
    assert sorted(np.concatenate(bins)) == list(range(250))
    assert min(map(len, bins)) >= 25
    for members, others in itertools.pairwise(bins):
        assert words_N[members].max() < words_N[others].min()
    assert figures.bin_lengths(words_N[:5]) == []


def test_entropies_are_of_the_rows_of_each_kind(whole_results, monkeypatch):
    passed = {}
    monkeypatch.setattr(figures, "histograms", lambda title, caption, x, panels, marks: passed.update(dict(panels)))
    corpus = read_corpus(CONFIG)
    arm = figures.ScoredArm("additive", whole_results["additive"], corpus, whole_results["additive"].examined)
    _, table = figures.entropy_figures([arm], [arm])
    kinds_NT = corpus.gold["test"].kinds
    values = list(passed["additive: share of rows"].values())
    for number, value in enumerate(values):
        assert value.size == SEEDS * (kinds_NT == number).sum()
    assert len(values) == len(KINDS)
    (row,) = rows_of(table).values()
    printed = [float(text) for text in list(row.values())[1:]]
    np.testing.assert_allclose(printed, [np.exp(value).mean() for value in values], rtol=1e-3)


def test_learning_curves_leave_out_what_was_not_trained(drawn):
    translation, sequence = find(drawn, "Learning curves of tr"), find(drawn, "Learning curves of se")
    assert {"additive", "none", "word_values", "transformer", "validation accuracy"} <= set(texts_of(translation))
    assert not {"random_weights", "copy"} & set(texts_of(translation))
    assert {*TASKS, "validation accuracy", "learnt (99%)"} <= set(texts_of(sequence))


def test_learning_curves_are_of_every_seed_of_the_split(whole_results, monkeypatch):
    passed = {}
    monkeypatch.setattr(figures, "curves", lambda title, caption, x_label, panels, **_: passed.update(dict(panels)))
    result = whole_results["copy"]
    figures.learning_figures([], [figures.ScoredArm("copy", result, None, result.examined)])
    for label, name in (("validation loss (nats)", "loss"), ("validation accuracy", "accuracy")):
        steps, values = passed[label]["copy"]
        np.testing.assert_array_equal(steps, STEPS)
        np.testing.assert_array_equal(values, result.evaluation[name].T)


def test_translations_are_shown_down_to_the_worst_with_their_first_difference(drawn, whole_results):
    rows = list(rows_of(find(drawn, "Translations by additive")).values())
    scores = [float(row["chrF"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    texts = measures.read_translations(read_corpus(CONFIG), whole_results["additive"].examined["translations"][0])
    assert scores[-1] == pytest.approx(translation_scores.sentence_chrf(*texts).min(), rel=1e-3)
    assert scores[0] == 100
    num_exact = sum(output == reference for output, reference in zip(*texts, strict=True))
    assert find(drawn, "Translations by additive").caption.startswith(f"{num_exact} of 60 translations")
    for row in rows:
        assert (row["translation"], row["reference"]) in zip(*texts, strict=True)
        assert (row["translation"] == row["reference"]) == (row["first difference"] == "none: exact")


def test_the_best_and_the_worst_translations_are_shown_and_the_middle_where_it_is_not_exact():
    assert figures.choose_translations(100, num_exact=98) == [0, 1, 2, *range(92, 100)]
    assert figures.choose_translations(100, num_exact=2) == [0, 1, 2, 48, 49, 50, *range(95, 100)]
    assert figures.choose_translations(4, num_exact=0) == figures.choose_translations(4, num_exact=4) == [0, 1, 2, 3]


def test_the_first_difference_names_the_word_and_where_a_sentence_ends_too_soon():
    assert figures.first_difference("a b", "a b") == "none: exact"
    assert figures.first_difference("a c", "a b") == "word 2: c for b"
    assert figures.first_difference("a", "a b") == "word 2: [end] for b"
    assert figures.first_difference("a b c", "a b") == "word 3: c for [end]"


def test_of_real_text_the_links_of_an_aligner_are_framed_and_pieces_read_well(real_config):
    results = results_of(scored("additive", real_config), scored("none", real_config, attends=False))
    drawn = figures.figures(results)
    titles = titles_of(drawn)
    assert titles == ["Attention of additive to sentences of the test set", *TRANSLATION_TITLES[1:4], *titles[-2:]]
    assert titles[-2:] == ["Learning curves of translation", "Translations by additive"]
    assert "BLEU" in texts_of(drawn[3])
    hovers = [hover for hover, _ in cells_of(drawn[0])]
    assert any(hover.endswith("link of an HMM aligner") for hover in hovers)
    assert not any("gold" in text for text in hovers)
    assert "it errs too" in drawn[0].caption
    assert "many kinds of words" not in drawn[0].caption
    row = rows_of(drawn[2])["additive"]
    assert (row["agreement at shift 0"], row["agreement at shift 1"]) == ("0.75", "0.5")
    assert row["agreement of the diagonal"] == "0.375"
    assert "at shift 1" not in row
    corpus = read_corpus(real_config)
    ids = np.append(corpus.tokenizer.encode("two sats today."), corpus.end)
    assert "|".join(attention_pictures.read_words(corpus, ids)) == "t|·wo| |·s|·a|·t|·s|today|.|[end]"


def test_one_seed_is_drawn_as_well(whole_results):
    titles = titles_of(figures.figures(results_of(scored("additive", num_seeds=1), scored("word_values", num_seeds=1))))
    assert [title for title in TRANSLATION_TITLES if not any(t.startswith(title) for t in titles)] == []
