"""The figures of the report.

Axes: S seeds, M compared words, J nearest neighbours.
"""

import numpy as np

from data.tokens import read_corpus
from experiments.mlp_lm.ngram_models import ORDERS, WEIGHTS, greatest_order
from experiments.mlp_lm.shared_contexts import NUM_COMPARED_WORDS
from experiments.mlp_lm.strategies import NUM_CONTEXTS, strategies_of
from reporting.figures import curves
from reporting.tables import table

SHOWN_WORDS = 12  # words whose nearest neighbours are shown


def figures(results):
    """Training, perplexities by order and by interpolation, and tables of n-grams, neighbours and strategies."""
    return [
        training_figure(results),
        order_figure(results),
        interpolation_figure(results),
        ngram_table(results),
        neighbour_table(results),
        strategy_table(results),
    ]


def training_figure(results):
    """Loss and validation perplexity over training, with Kneser-Ney's perplexity for comparison."""
    losses, perplexities, kneser_ney = {}, {}, {}
    for arm, r in results.items():
        losses[f"{arm}, training"] = (r.train.steps, r.train["loss"].T)
        perplexities[f"{arm}, validation"] = (r.evaluation.steps, r.evaluation["perplexity"].T)
        kneser_ney[f"Kneser-Ney, {arm}"] = float(r.examined["kneser_ney_validation_perplexity"].mean())
    for arm, r in results.items():
        losses[f"{arm}, validation"] = (r.evaluation.steps, r.evaluation["loss"].T)
    return curves(
        "Training",
        "Loss and perplexity; dashed: Kneser-Ney of the same order on the same validation text. Vocabularies, and so "
        "perplexities, differ between corpora.",
        "training step",
        [("loss (nats a token)", losses), ("validation perplexity", perplexities)],
        references={"validation perplexity": kneser_ney},
        log_y=("validation perplexity",),
    )


def order_figure(results):
    """Test perplexity of every model by its order."""
    series = {}
    for arm, r in results.items():
        series[f"add-one, {arm}"] = (np.array(ORDERS), r.examined["add_one_perplexity"])
        series[f"Kneser-Ney, {arm}"] = (np.array(ORDERS), r.examined["kneser_ney_perplexity"])
        order = np.array([r.config.order])
        series[f"neural, {arm}"] = (order, r.examined["neural_perplexity"][:, None])
        series[f"interpolation, {arm}"] = (order, r.examined["mixture_perplexity"][:, None])
    return curves(
        "Perplexity by order",
        "Perplexity of the test text. Maximum likelihood is not drawn: it is infinite wherever it lacks an n-gram.",
        "order n",
        [("test perplexity", series)],
        log_y=True,
    )


def interpolation_figure(results):
    """Test perplexity by the weight of the neural model in the interpolation."""
    series = {arm: (WEIGHTS, r.examined["mixture_curve"]) for arm, r in results.items()}
    return curves(
        "Interpolation",
        "Perplexity of the test text by p = w p_neural + (1 - w) p_Kneser-Ney. The validation text chooses w.",
        "weight w of the neural model",
        [("test perplexity", series)],
    )


def ngram_table(results):
    """Unseen n-grams, and perplexities of n-gram models, by order."""
    rows = []
    for arm, r in results.items():
        for i, n in enumerate(ORDERS):
            likelihood_perplexity = float(r.examined["likelihood_perplexity"][:, i].mean())
            rows.append(
                [
                    arm,
                    n,
                    float(r.examined["unseen_share"][:, i].mean()),
                    float(r.examined["zero_share"][:, i].mean()),
                    likelihood_perplexity if np.isfinite(likelihood_perplexity) else "infinite",
                    float(r.examined["add_one_perplexity"][:, i].mean()),
                    float(r.examined["kneser_ney_perplexity"][:, i].mean()),
                ]
            )
    return table(
        "n-gram models",
        "Shares and perplexities of the test text, by order. ML is maximum likelihood.",
        ("arm", "order", "unseen n-grams", "tokens of ML probability 0", "ML perplexity", "add-one", "Kneser-Ney"),
        rows,
    )


def neighbour_table(results):
    """Neighbours of some words of middling frequency among the compared ones, in the first seed."""
    rows = []
    for arm, r in results.items():
        piece = read_corpus(r.config, greatest_order(r.config.order)).tokenizer.piece
        compared_M, nearest_MJ = r.examined["compared"][0], r.examined["neighbours"][0]
        for place in (np.linspace(0.1, 0.6, SHOWN_WORDS) * len(compared_M)).astype(int):
            nearest = "  ".join(piece(int(id)) for id in nearest_MJ[place])
            rows.append([arm, piece(int(compared_M[place])), nearest])
    return table(
        "Nearest neighbours",
        f"Among the {NUM_COMPARED_WORDS} most frequent words, by the cosine of their embeddings, nearest first; first "
        "seed.",
        ("arm", "word", "neighbours"),
        rows,
    )


def strategy_table(results):
    """How varied the texts of each sampling strategy are, and how much they repeat themselves."""
    rows = []
    for arm, r in results.items():
        for i, name in enumerate([*strategies_of(r.config), "the test text"]):
            distinct_3 = r.examined["distinct"][:, i].mean(0).tolist()
            rows.append([arm, name, *distinct_3, float(r.examined["repeated"][:, i].mean())])
    return table(
        "Sampling strategies",
        f"{NUM_CONTEXTS} texts each, all of one length: distinct n-grams over all n-grams, and the share of a text's "
        "4-grams that stood in it before.",
        ("arm", "strategy", "distinct 1-grams", "distinct 2-grams", "distinct 3-grams", "repeated 4-grams"),
        rows,
    )
