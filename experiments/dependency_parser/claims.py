"""The claims, and what they measure. All thresholds were fixed before the first run.

Axes: S seeds, N evaluations.
"""

import numpy as np

from experiments.dependency_parser.corpus import GENERATED, read_treebank
from experiments.dependency_parser.scores import length_slope
from reporting.claims import claim, difference, examined, final

# The test split of UD English EWT 2.16, by which it is known: sentences, words.
EWT_TEST_SIZE = (2077, 25094)


def dropout_gap(result):
    """How much more validation decisions cost than training ones at the end, in nats [S], both without dropout."""
    return result.final["loss"] - result.final["train_loss"]


def lost_to_optimum(parser, bounds):
    """The UAS [S] by which the true model's most probable trees, given gold tags, are better than the parser's."""
    return bounds.examined["optimum_uas"] - parser.final["test_uas"]


def share_of_steps(xavier, normal):
    """Steps until Xavier's training loss is as low as that of N(0, 1) weights at the end, over all steps of those [S].

    Infinite where it never is. Steps are counted to the evaluation that shows it first.
    """
    loss_NS, end_S = xavier.evaluation["train_loss"], normal.final["train_loss"]
    is_reached_NS = loss_NS <= end_S
    first_S = xavier.evaluation.steps[is_reached_NS.argmax(0)]
    return np.where(is_reached_NS.any(0), first_S / normal.step, np.inf)


def slope(result):
    """How much the share of correct heads changes for each word more between a word and its head [S]."""
    slopes_S = length_slope(read_treebank(result.config).test, result.examined["test_heads"])
    return "all arcs of the test set have one length" if np.isnan(slopes_S).any() else slopes_S


def slope_difference(result, other):
    """The slope of the first of two parsers minus the other's [S]."""
    slopes = slope(result), slope(other)
    return slopes[0] if isinstance(slopes[0], str) else slopes[0] - slopes[1]


def on_generated_treebank(measure):
    """The measure of runs on the generated treebank with gold tags; of any other, the reason why it decides nothing."""

    def measure_generated(*results):
        if results[0].config.treebank != GENERATED:
            return "the treebank was not generated: its true model is unknown"
        if results[0].config.tags != "gold":
            return "the run's tags are predicted, and the claim is of gold tags"
        return measure(*results)

    return measure_generated


def on_ewt(measure, tags=None):
    """The measure of a run on EWT's test split; of any other run, the reason why it decides nothing.

    Args:
      tags: "gold" or "predicted", those of the run; None for either.
    """

    def measure_ewt(result):
        if result.config.treebank == GENERATED:
            return "the treebank is generated; --preset=treebank --config.treebank=FOLDER trains on a real one"
        test = read_treebank(result.config).test
        if (len(test), sum(len(sentence.forms) for sentence in test)) != EWT_TEST_SIZE:
            return "the treebank is not UD English EWT 2.16, which the claim is about"
        if tags and result.config.tags != tags:
            return f"the run's tags are {result.config.tags}, and the threshold is of {tags} tags"
        if not result.config.labelled:
            return "the run's arcs have no labels, and the claim is of a parser with labels"
        return measure(result)

    return measure_ewt


CLAIMS = [
    claim(
        "1",
        "A sentence of n words takes exactly 2n transitions, in every split of the treebank: greatest deviation",
        examined("transition_excess"),
        of="exact",
        at_most=0,
        unit="transitions",
    ),
    claim(
        "2a",
        "The oracle parses 'I parsed this sentence correctly' by SHIFT SHIFT LEFT-ARC SHIFT SHIFT LEFT-ARC RIGHT-ARC "
        "SHIFT RIGHT-ARC RIGHT-ARC: transitions that differ",
        examined("example_wrong_transitions"),
        of="exact",
        at_most=0,
    ),
    claim(
        "2b",
        "Those transitions give 'I parsed this sentence correctly' the arcs parsed->I, sentence->this, "
        "parsed->sentence, parsed->correctly and ROOT->parsed, in this order: arcs that differ",
        examined("example_wrong_arcs"),
        of="exact",
        at_most=0,
    ),
    claim(
        "3a",
        "The oracle's transitions rebuild every projective tree of the treebank: wrong heads or labels",
        examined("wrong_arcs"),
        of="exact",
        at_most=0,
        unit="words",
    ),
    claim(
        "3b",
        "Non-projective trees (the treebank's, or 500 random ones where it has none): the UAS of the closest "
        "projective trees, the ceiling of any parser with these transitions",
        examined("non_projective_ceiling"),
        of="exact",
    ),
    claim(
        "3c",
        "Non-projective trees (the treebank's, or 500 random ones where it has none): the UAS of the trees that the "
        "static oracle builds",
        examined("non_projective_uas"),
        of="exact",
    ),
    claim(
        "4a",
        "Parsing a test set in minibatches gives the same trees as parsing its sentences one by one, labels included: "
        "sentences whose trees differ",
        examined("differing_trees"),
        of="parser",
        at_most=0,
    ),
    claim(
        "4b",
        "Parsing in minibatches is faster than parsing one by one with a compiled call for each transition: ratio of "
        "sentences a second",
        examined("speedup_over_steps"),
        of="parser",
        at_least=20,
    ),
    claim(
        "4c",
        "What minibatches gain over a compiled loop for each sentence: ratio of sentences a second",
        examined("speedup_over_loops"),
        of="parser",
    ),
    claim(
        "5a",
        "Generated treebank: the transition parser comes near the true model's most probable trees: their test UAS "
        "minus the parser's",
        on_generated_treebank(lost_to_optimum),
        of=("parser", "bounds"),
        at_most=0.02,
    ),
    claim(
        "5b",
        "Generated treebank: a transition parser that sees words and no tags is worse than one that sees both: "
        "difference of test UAS",
        on_generated_treebank(difference(final("test_uas"))),
        of=("parser", "words_only"),
        at_least=0.02,
    ),
    claim(
        "5c",
        "Generated treebank: a transition parser that sees tags and no words is worse than one that sees both: "
        "difference of test UAS",
        on_generated_treebank(difference(final("test_uas"))),
        of=("parser", "tags_only"),
        at_least=0.02,
    ),
    claim(
        "5d",
        "Generated treebank: how far the biaffine parser is from the true model's most probable trees: their test UAS "
        "minus the parser's",
        on_generated_treebank(lost_to_optimum),
        of=("biaffine", "bounds"),
    ),
    claim(
        "6a",
        "Xavier initialisation of the layers reaches the training loss that N(0, 1) weights reach at the end in at "
        "most a third of the steps: share of the steps",
        share_of_steps,
        of=("parser", "normal_init"),
        at_most=1 / 3,
    ),
    claim(
        "6b",
        "Adam beats plain SGD, at the best constant learning rate of a grid, after equal steps: validation loss of SGD "
        "minus that of Adam",
        difference(final("loss")),
        of=("sgd", "parser"),
        above=0,
        unit="nats",
    ),
    claim(
        "6c",
        "Dropout narrows the gap between validation and training loss, both without dropout: gap of a parser trained "
        "without dropout minus that of one trained with it",
        difference(dropout_gap),
        of=("no_dropout", "parser"),
        above=0,
        unit="nats",
    ),
    claim(
        "7a",
        "Longer arcs are harder for the transition parser: change of UAS with each position more from a word to its "
        "head, at distances from 1 to 10, arcs from ROOT left out",
        slope,
        of="parser",
        below=0,
    ),
    claim(
        "7b",
        "Longer arcs are harder for the transition parser than for the biaffine one: difference of the changes of UAS "
        "with each position more from a word to its head, at distances from 1 to 10, arcs from ROOT left out",
        slope_difference,
        of=("parser", "biaffine"),
        below=0,
    ),
    claim(
        "8a",
        "UD English EWT, gold tags: the biaffine parser's test UAS is at least UDPipe 1's",
        on_ewt(final("test_uas"), tags="gold"),
        of="biaffine",
        at_least=0.881,
    ),
    claim(
        "8b",
        "UD English EWT, gold tags: the biaffine parser's test LAS is at least UDPipe 1's",
        on_ewt(final("test_las"), tags="gold"),
        of="biaffine",
        at_least=0.862,
    ),
    claim(
        "8c",
        "UD English EWT, predicted tags: the biaffine parser's test UAS is at least UDPipe 1's",
        on_ewt(final("test_uas"), tags="predicted"),
        of="biaffine",
        at_least=0.844,
    ),
    claim(
        "8d",
        "UD English EWT, predicted tags: the biaffine parser's test LAS is at least UDPipe 1's",
        on_ewt(final("test_las"), tags="predicted"),
        of="biaffine",
        at_least=0.811,
    ),
    claim(
        "8e",
        "UD English EWT, gold tags: the biaffine parser's validation UAS is above 0.87",
        on_ewt(final("uas"), tags="gold"),
        of="biaffine",
        above=0.87,
    ),
    claim(
        "9",
        "UD English EWT: the transition parser parses the test set, features and transitions included, as fast as Chen "
        "and Manning's did: sentences a second",
        on_ewt(examined("sentences_per_second")),
        of="parser",
        at_least=1000,
    ),
    claim(
        "10a",
        "What a second hidden layer gains the classifier: difference of test UAS",
        difference(final("test_uas")),
        of=("two_hidden", "parser"),
    ),
    claim(
        "10b",
        "What an L2 penalty gains the classifier: difference of test UAS",
        difference(final("test_uas")),
        of=("l2", "parser"),
    ),
    claim(
        "10c",
        "What a bidirectional LSTM gains under the same transitions: difference of test UAS to the classifier's",
        difference(final("test_uas")),
        of=("bilstm", "parser"),
    ),
    claim(
        "10d",
        "What a biaffine graph parser gains: difference of test UAS to the classifier's",
        difference(final("test_uas")),
        of=("biaffine", "parser"),
    ),
]
