"""The figures of the report: attention beside known links, scores, accuracy by length, entropies, translations.

Axes: S seeds, N pairs, T target time.
"""

import math

import numpy as np

from experiments.seq2seq_attention import sequences, translation_scores
from experiments.seq2seq_attention.attention_pictures import (
    DRAWN_ONCE,
    END_SIGN,
    ScoredArm,
    sequence_pictures,
    translation_pictures,
)
from experiments.seq2seq_attention.claims import LEARNT
from experiments.seq2seq_attention.corpus import read_corpus
from experiments.seq2seq_attention.language import KINDS
from experiments.seq2seq_attention.measures import read_translations
from reporting.figures import curves, histograms
from reporting.tables import table

COMPARED = ("additive", "word_values")  # the arms of which all drawn sentences and the entropies are shown
KIND_NAMES = {
    "one_to_one": "one to one",
    "one_to_two": "one to two (compound noun)",
    "two_to_one": "two to one (phrasal verb)",
    "agreement": "agreement (plain verb)",
}
FEWEST_PAIRS, MOST_BINS = 20, 10  # of a bin of source lengths, and of such bins
NUM_WORST, NUM_MIDDLE, NUM_BEST = 5, 3, 3  # translations that are shown
ROWS_READ = "A word's row is that of the step that predicts it."
# Columns of tables: what is measured, and, where that is several numbers a seed, which of them.
SCORES = {
    "test accuracy": ("test_accuracy",),
    "exact translations": ("exact_match",),
    "BLEU": ("bleu",),
    "chrF": ("chrf",),
}
ALIGNMENTS = {
    "error rate at shift 0": ("alignment_error_rates", 0),
    "at shift 1": ("alignment_error_rates", 1),
    "of the diagonal": ("diagonal_error_rate",),
    "accuracy": ("accuracy_of_own",),
    "with uniform rows": ("accuracy_of_uniform",),
    "with gold rows": ("accuracy_of_gold",),
    "agreement at shift 0": ("aligner_agreements", 0),
    "agreement at shift 1": ("aligner_agreements", 1),
    "agreement of the diagonal": ("diagonal_agreement",),
}


def figures(results):
    """Every figure for which the results have the arms; `results` is {arm: ArmResult}."""
    tested = [
        ScoredArm(arm, r, read_corpus(r.config), r.examined) for arm, r in results.items() if "correct" in r.examined
    ]
    sequence = [t for t in tested if t.corpus.name in sequences.TASKS]
    translation = [t for t in tested if t.corpus.name not in sequences.TASKS]
    attentive = [t for t in translation if t.attends]
    compared = [t for t in attentive if t.arm in COMPARED] or attentive[:1]
    drawn_once = [t for t in attentive if t.arm == DRAWN_ONCE and t is not compared[0]]
    return [
        *translation_pictures(compared, drawn_once),
        *sequence_pictures([t for t in sequence if t.attends]),
        *([score_table(tested)] if tested else []),
        *alignment_tables([t for t in tested if t.attends]),
        *length_figures(translation),
        *entropy_figures(compared, attentive),
        *learning_figures(translation, sequence),
        *translation_tables(translation),
    ]


# --- Scores.


def score_table(tested):
    """How well each arm predicts words and translates sentences of its test set."""
    signatures = [
        f"{score} by sacrebleu: {', '.join(dict.fromkeys(str(text) for t in tested for text in t.examined[name]))}"
        for score, name in (("BLEU", "bleu_signature"), ("chrF", "chrf_signature"))
    ]
    return _table_of_means(
        "Scores on the test set",
        "Accuracy is the share of target words, the end included, predicted right having read the reference's words "
        "before them; exact translations are those that are the reference to the last word. Means over seeds. "
        f"{'. '.join(signatures)}.",
        tested,
        SCORES,
    )


def alignment_tables(tested):
    """A table of how well attention aligns, and of what predictions owe to it; none where no arm attends."""
    if not tested:
        return []
    sentences = []
    if any(t.corpus.gold for t in tested):
        sentences.append(
            "The alignment error rate is against gold links: at shift 0 of the step that predicts the word, at shift 1 "
            "of the step that has just read it, and of the diagonal in place of attention. Test accuracy is measured "
            "again with every row of attention, of each head of each layer where there are several, made uniform, and "
            "with it divided among its word's gold links"
        )
    if not all(t.corpus.gold for t in tested):
        sentences.append(
            "Agreement is the share of target tokens at which the largest weight is on a link of the HMM aligner: at "
            "shift 0 of the step that predicts the token, at shift 1 of the step that has just read it, and of the "
            "diagonal in place of attention"
        )
    caption = f"{'. '.join([*sentences, 'Means over seeds'])}."
    return [_table_of_means("Attention as an alignment", caption, tested, ALIGNMENTS)]


def _table_of_means(title, caption, tested, columns):
    """A row an arm: means over seeds of the columns, without those that no arm has."""
    means = {"arm": [t.arm for t in tested]}
    for column, (name, *place) in columns.items():
        measured = [t.examined.get(name) for t in tested]
        if any(values is not None for values in measured):
            means[column] = [None if values is None else float(values[:, *place].mean()) for values in measured]
    return table(title, caption, tuple(means), zip(*means.values(), strict=True))


def length_figures(tested):
    """Scores by source length, a line an arm: none where the test set has no two bins."""
    if not tested:
        return []
    corpus = tested[0].corpus
    test, words_N = corpus.pairs["test"], corpus.pairs["test"].source_length - 1
    bins = bin_lengths(words_N)
    if len(bins) < 2:
        return []
    middles = np.array([words_N[members].mean() for members in bins])
    counts = ", ".join(f"{_range_text(words_N[members])}: {len(members):,}" for members in bins)
    accuracies, second = {}, {}
    for t in tested:
        correct_SN = t.examined["correct"].sum(-1)
        accuracies[t.arm] = (
            middles,
            np.stack([correct_SN[:, members].sum(1) / test.target_length[members].sum() for members in bins], axis=1),
        )
        second[t.arm] = middles, np.stack([score_bins(t, s, bins) for s in range(len(correct_SN))])
    unit, name, about = "words", "exact translations (share)", "the share of translations that are exact"
    if not corpus.gold:
        unit, name, about = "subword tokens", "BLEU", "BLEU of the translations"
    return [
        curves(
            "Scores by source length",
            f"Test sentences in bins of at least {min(map(len, bins))}; a point stands at its bin's mean length. Left: "
            f"next words predicted right, the reference's words before them given. Right: {about}. Sentences by "
            f"length: {counts}.",
            f"length of the source ({unit})",
            [("test accuracy", accuracies), (name, second)],
        )
    ]


def bin_lengths(words_N):
    """The pairs of each bin of source lengths, shortest first: bins of neighbouring lengths, each with enough pairs."""
    fewest = max(FEWEST_PAIRS, len(words_N) // MOST_BINS)
    bins, members = [], np.zeros(0, int)
    for length in np.unique(words_N):
        members = np.concatenate([members, np.flatnonzero(words_N == length)])
        if len(members) >= fewest:
            bins.append(members)
            members = np.zeros(0, int)
    if len(members) and bins:
        bins[-1] = np.concatenate([bins[-1], members])
    return bins


def score_bins(tested, seed, bins):
    """Of one seed's translations, the share of exact ones in each bin or, of real text, BLEU."""
    if tested.corpus.gold:
        return np.array([tested.examined["exact"][seed, members].mean() for members in bins])
    outputs, references = read_translations(tested.corpus, tested.examined["translations"][seed])
    return np.array([translation_scores.score([outputs[n] for n in m], [references[n] for n in m]).bleu for m in bins])


def _range_text(words):
    low, high = int(words.min()), int(words.max())
    return f"{low}" if low == high else f"{low} to {high}"


# --- Entropies.


def entropy_figures(compared, tested):
    """Row entropies by kind of word, and the effective number of source words: none of real text."""
    if not tested or not tested[0].corpus.gold:
        return []
    kinds_NT = tested[0].corpus.gold["test"].kinds
    counts = {kind: int((kinds_NT == number).sum()) for number, kind in enumerate(KINDS)}
    kinds = [kind for kind in KINDS if counts[kind]]

    def rows_of(t, kind, name="row_entropy"):
        return t.examined[name][:, kinds_NT == KINDS.index(kind)]

    panels = [(f"{t.arm}: share of rows", {KIND_NAMES[kind]: rows_of(t, kind) for kind in kinds}) for t in compared]
    rows = [
        [t.arm, *(float(rows_of(t, kind, "effective_number").astype(float).mean()) for kind in kinds)] for t in tested
    ]
    words = ", ".join(f"{KIND_NAMES[kind]}: {counts[kind]:,}" for kind in kinds)
    return [
        histograms(
            "Entropy of rows of attention, by kind of word",
            f"{ROWS_READ} A row on a single source word has entropy 0; one divided evenly between two has ln 2. "
            f"Words of each kind in the test set: {words}. All seeds together.",
            "entropy of a row (nats)",
            panels,
            marks={"two source words evenly (ln 2)": math.log(2)},
        ),
        table(
            "Effective number of source words, by kind of word",
            f"The mean over rows of exp(entropy): k for equal weights on k source words. {ROWS_READ} The first two "
            "kinds depend on one source word, the other two on two. Means over seeds.",
            ("arm", *(KIND_NAMES[kind] for kind in kinds)),
            rows,
        ),
    ]


# --- Curves over training.


def learning_figures(translation, sequence):
    """Validation loss and accuracy over training: of translation, and of sequences with the accuracy of the learnt."""
    drawn, label = [], "validation accuracy"
    for title, tested, references in (
        ("Learning curves of translation", translation, None),
        ("Learning curves of sequences", sequence, {label: {f"learnt ({LEARNT:.0%})": LEARNT}}),
    ):
        histories = {t.arm: t.result.evaluation for t in tested if len(t.result.train.steps)}
        if not histories:
            continue
        loss = {arm: (history.steps, history["loss"].T) for arm, history in histories.items()}
        accuracy = {arm: (history.steps, history["accuracy"].T) for arm, history in histories.items()}
        drawn.append(
            curves(
                title,
                "Means over target words, the end included. The reference's words before each have been read.",
                "training step",
                [("validation loss (nats)", loss), (label, accuracy)],
                references=references,
                log_y=("validation loss (nats)",),
            )
        )
    return drawn


# --- Translations.


def translation_tables(tested):
    """Translations of one arm beside their references: the best, the worst and, unless exact, some of the middle."""
    if not tested:
        return []
    shown = next((t for t in tested if t.arm == COMPARED[0]), tested[0])
    outputs, references = read_translations(shown.corpus, shown.examined["translations"][0])
    sources = [source for source, _ in shown.corpus.text["test"]]
    chrf_N, num_exact = translation_scores.sentence_chrf(outputs, references), shown.examined["exact"][0].sum()
    order = np.argsort(-chrf_N, kind="stable")
    knows_words = bool(shown.corpus.gold)
    rows = []
    for place in choose_translations(len(order), num_exact):
        n = order[place]
        rows.append([place + 1, sources[n], references[n], outputs[n], float(chrf_N[n])])
        if knows_words:
            rows[-1].append(first_difference(outputs[n], references[n]))
    return [
        table(
            f"Translations by {shown.arm}",
            f"{num_exact:,} of {len(order):,} translations of the test set are their reference to the last word. The "
            "best, the worst and, unless most are exact, some of the middle are shown. Ranked by the sentence's chrF. "
            "First seed.",
            ("rank", "source", "reference", "translation", "chrF", *(["first difference"] if knows_words else [])),
            rows,
        )
    ]


def choose_translations(number, num_exact):
    """The places, by descending chrF, of the translations to show: in place of an exact middle, more of the worst."""
    if 2 * num_exact > number:
        num_middle, num_worst = 0, NUM_WORST + NUM_MIDDLE
    else:
        num_middle, num_worst = NUM_MIDDLE, NUM_WORST
    middle = (number - num_middle) // 2
    places = {*range(NUM_BEST), *range(middle, middle + num_middle), *range(number - num_worst, number)}
    return sorted(place for place in places if 0 <= place < number)


def first_difference(output, reference):
    """Where a translation first departs from its reference, in words."""
    words, expected = ([*text.split(), END_SIGN] for text in (output, reference))
    for place, (word, other) in enumerate(zip(words, expected, strict=False), start=1):
        if word != other:
            return f"word {place}: {word} for {other}"
    return "none: exact"
