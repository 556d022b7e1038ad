"""Dependency parsing by transitions: how it works, what it learns, and how far it is from the best possible parser."""

import functools
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
import optax

from data.order import batch_rows
from data.treebanks import is_projective
from experiments.dependency_parser.claims import CLAIMS
from experiments.dependency_parser.corpus import GENERATED, read_corpus
from experiments.dependency_parser.evaluation import positions_of_example, score_split, sum_losses
from experiments.dependency_parser.figures import figures
from experiments.dependency_parser.measures import measure_bounds, measure_exact, measure_minibatches
from experiments.dependency_parser.parsers import biaffine_parser, bilstm_parser, classifier_parser
from experiments.dependency_parser.text_files import parse_text, write_predictions, write_tools
from training.config import fill_in, setting
from training.experiment import Arm, Experiment, Loss, Measurement, Preset, Task, measure_nothing
from training.optimizer import OptimizerConfig, SGDConfig, adamw, sgd

# Settings of arms where the config leaves them open, chosen by validation scores of short runs, in which an encoder
# needs a high learning rate and little dropout.
CLASSIFIER = {"num_hidden": 1, "dropout": 0.3, "optimizer.learning_rate": 5e-3}
ENCODER = {"num_hidden": 2, "dropout": 0.2, "optimizer.learning_rate": 8e-3}
EVALUATIONS = 12  # of a run
SCORED_POSITIONS = 16_384  # decisions, or positions of rows, on which the training loss is measured


def adam_optimizer():
    """Adam without weight decay; each arm has its learning rate."""
    return OptimizerConfig(learning_rate=None, warmup_steps=20, weight_decay=0.0, clip=5.0)


@dataclass(frozen=True)
class Config:
    treebank: str = setting(GENERATED, "generated, a folder or file of CoNLL-U, or the name of a TFDS data set")
    tag_columns: str = setting("upos", "what a word's tag is: upos, xpos, upos+xpos or upos+feats")
    tags: str = setting("gold", "tags that the parser sees: gold, or predicted by a tagger that is trained first")
    train_sentences: int = setting(12000, "training sentences of the generated treebank")
    validation_sentences: int = setting(500, "validation sentences of the generated treebank")
    test_sentences: int = setting(1000, "test sentences of the generated treebank")
    min_count: int = setting(2, "occurrences in training that a word needs to have an embedding of its own")
    labelled: bool = setting(True, "whether arcs have labels")
    use_words: bool = setting(True, "whether the parser sees words")
    use_tags: bool = setting(True, "whether the parser sees tags")
    use_labels: bool = setting(True, "whether the classifier sees the labels of arcs")
    d_embed: int = setting(32, "width of the embedding of a word, tag or label")
    d_hidden: int = setting(128, "width of a hidden layer; of a parser with an encoder, of its LSTMs in each direction")
    num_hidden: int | None = setting(
        None, "number of hidden layers, or of an encoder's layers; default: 1 of a classifier, 2 of an encoder"
    )
    activation: str = setting("relu", "activation of the classifier's hidden layers: relu, cube, tanh or another")
    initializer: str = setting("xavier", "initial weights of the classifier: xavier, or normal for N(0, 1)")
    dropout: float | None = setting(
        None, "dropout rate of a classifier's last hidden layer, or of an encoder's layers; default: the arm's"
    )
    word_dropout: float = setting(0.2, "share of words and of tags that an encoder does not see in training")
    l2: float = setting(0.0, "half of it times the squared norm of all parameters is added to the loss")
    seed: int = setting(0, "seed of the first run; --num_seeds=N trains seed, seed+1, ...")
    num_steps: int | None = setting(None, "training steps; default: as many as the arm is meant to take")
    batch_size: int | None = setting(
        None, "decisions in a training step, or rows of sentences where a parser has an encoder; default: the arm's"
    )
    eval_every: int | None = setting(None, "steps between evaluations; default: a twelfth of the run")
    checkpoint_every: int | None = setting(None, "steps between checkpoints; default: half of the run")
    optimizer: OptimizerConfig = field(default_factory=adam_optimizer)
    sgd: SGDConfig = field(default_factory=lambda: SGDConfig(learning_rate=1.0))


def arms(config):
    """Every arm: the function that makes it, and what it changes in the config."""
    is_generated = config.treebank == GENERATED
    decisions = settings_of_run(config, CLASSIFIER, num_steps=1500 if is_generated else 2500, batch_size=1024)
    # A real treebank has longer sentences, and so longer rows.
    sentences = settings_of_run(
        config, ENCODER, num_steps=600 if is_generated else 2500, batch_size=16 if is_generated else 8
    )
    return {
        "exact": Arm(exact_measurement),
        "bounds": Arm(bounds_measurement),
        "parser": Arm(parser_task, decisions),
        "words_only": Arm(classifier_task, decisions | {"use_tags": False}),
        "tags_only": Arm(classifier_task, decisions | {"use_words": False}),
        "normal_init": Arm(classifier_task, decisions | {"initializer": "normal"}),
        "sgd": Arm(sgd_task, decisions),
        "no_dropout": Arm(classifier_task, decisions | {"dropout": 0.0}),
        "two_hidden": Arm(classifier_task, decisions | {"num_hidden": 2}),
        "l2": Arm(classifier_task, decisions | {"l2": 1e-5}),
        "bilstm": Arm(bilstm_task, sentences),
        "biaffine": Arm(biaffine_task, sentences),
    }


def settings_of_run(config, settings, num_steps, batch_size):
    """{field: value} of those fields that the config leaves open.

    Args:
      settings: {field: value} of an arm's kind.
      num_steps: training steps that the arm is meant to take.
      batch_size: examples that a step is meant to take.
    """
    steps = num_steps if config.num_steps is None else config.num_steps
    eval_every = max(steps // EVALUATIONS, 1)
    checkpoint_every = max(steps // 2, eval_every)
    settings = settings | {
        "num_steps": steps,
        "batch_size": batch_size,
        "eval_every": eval_every,
        "checkpoint_every": checkpoint_every,
    }
    return fill_in(config, settings)


# --- Arms that train nothing.


def exact_measurement(config):
    """What holds without training, of every sentence of the treebank and of the course's example."""
    return measure_once(config, measure_exact)


def bounds_measurement(config):
    """The floor and the ceiling: what parsers without learning reach, and the true model's most probable trees."""
    return measure_once(config, functools.partial(measure_bounds, labelled=config.labelled))


def measure_once(config, measure):
    """A Measurement that is the same for all seeds."""
    corpus = read_corpus(config)  # at once, so that a treebank that cannot be read is refused before anything runs
    measured = functools.cache(lambda: measure(corpus))
    return Measurement(lambda key: measured(), corpus.facts)


# --- Arms that are trained.


def parser_task(config):
    """The classifier of Chen and Manning, trained by Adam, and what parsing in minibatches gains."""
    optimizer = adamw(config.optimizer, config.num_steps)
    return task(config, classifier_parser, optimizer, measure_minibatches)


def classifier_task(config):
    """The classifier of Chen and Manning, trained by Adam."""
    return task(config, classifier_parser, adamw(config.optimizer, config.num_steps))


def sgd_task(config):
    """The classifier, trained by plain stochastic gradient descent."""
    return task(config, classifier_parser, sgd(config.sgd))


def bilstm_task(config):
    """A bidirectional encoder under the same transitions."""
    return task(config, bilstm_parser, adamw(config.optimizer, config.num_steps))


def biaffine_task(config):
    """A graph parser."""
    return task(config, biaffine_parser, adamw(config.optimizer, config.num_steps))


@functools.lru_cache(maxsize=4)
def make_examples(examples, corpus, split):
    """The examples {name: array [N, ...]} of a corpus's split, the same for all arms that learn from them.

    Raises:
      ValueError: no sentence of the split has a projective tree with relations of the training sentences.
    """
    labels = set(corpus.vocabulary.labels)
    sentences = [s for s in getattr(corpus, split) if is_projective(s.heads) and labels.issuperset(s.labels)]
    if not sentences:
        raise ValueError(
            f"no {split} sentence of treebank={corpus.treebank.name} is projective and has the relations of training"
        )
    return examples(sentences, corpus.vocabulary, corpus.row_length)


def task(config, make_parser, optimizer, measure=measure_nothing):
    """A Task of a parser that learns from the treebank's training sentences.

    Args:
      make_parser: (config, vocabulary) -> ``parsers.Parser``.
      measure: (parser, variables, the test Split) -> {name: array}; plain Python, once at the end.
    """
    if config.l2 < 0:
        raise ValueError(f"l2={config.l2} must not be negative")
    corpus = read_corpus(config)
    parser = make_parser(config, corpus.vocabulary)
    train = make_examples(parser.examples, corpus, "train")
    validation = make_examples(parser.examples, corpus, "validation")
    num_examples = len(train["words"])
    num_scored = min(max(1, SCORED_POSITIONS // positions_of_example(train)), num_examples)
    # Examples are in the order in which sentences were packed, the longest first.
    scored_rows = np.random.default_rng(0).choice(num_examples, num_scored, replace=False)
    most = (2**31 - 1) // num_examples  # data.order computes in 32 bits
    if config.batch_size > most:
        raise ValueError(f"batch_size={config.batch_size} must be at most {most} with {num_examples:,} examples")

    def batch(seed, step, data):
        rows_B, _ = batch_rows(seed, step, config.batch_size, num_examples)
        return {name: array_N[rows_B] for name, array_N in data["train"].items()}

    def loss(variables, batch, rngs):
        total, weight = parser.losses(variables, batch, False, rngs)
        if config.l2:
            total += weight * config.l2 / 2 * optax.tree.norm(variables["params"], squared=True)
        return Loss(total, weight)

    def evaluate(variables, data):
        scored = {name: array_N[scored_rows] for name, array_N in data["train"].items()}
        uas, las = score_split(parser, variables, data["validation_split"])
        test_uas, test_las = score_split(parser, variables, data["test_split"])
        measured = {
            "loss": sum_losses(parser, variables, data["validation"]),
            "train_loss": sum_losses(parser, variables, scored),
            "uas": uas,
            "test_uas": test_uas,
        }
        if config.labelled:
            measured |= {"las": las, "test_las": test_las}
        if config.tags == "predicted":
            measured["tag_accuracy"] = (jnp.float32(corpus.tag_accuracy), jnp.float32(1))
        return measured

    def examine(variables, data):
        heads_NT, labels_NT = parser.parse(variables, data["test_split"])
        return {"test_heads": heads_NT, "test_labels": labels_NT}

    return Task(
        model=parser.model,
        init=parser.init,
        batch=batch,
        loss=loss,
        optimizer=optimizer,
        accumulate=config.optimizer.accumulate,
        evaluate=evaluate,
        examine=examine,
        measure=lambda variables: measure(parser, variables, corpus.test_split),
        outputs=lambda variables, examined: write_predictions(corpus, examined),
        data={
            "train": train,
            "validation": validation,
            "validation_split": corpus.validation_split,
            "test_split": corpus.test_split,
        },
        files=write_tools(corpus),
        facts=corpus.facts,
    )


# For real treebanks, whose tags of two columns tell more of a word.
TREEBANK = {"tag_columns": "upos+feats", "d_embed": 100}

PARSERS = {"bilstm": bilstm_parser, "biaffine": biaffine_parser}  # those of the other arms are classifiers

EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=(
        "exact",
        "bounds",
        "parser",
        "words_only",
        "tags_only",
        "normal_init",
        "sgd",
        "no_dropout",
        "biaffine",
    ),
    claims=CLAIMS,
    figures=figures,
    presets={
        "course": Preset(
            {"labelled": False, "use_labels": False, "activation": "relu"},
            ("parser",),
            "features of the course's parser: 18 words and 18 tags, arcs without labels, ReLU",
        ),
        "treebank": Preset(TREEBANK, ("biaffine",), "a good parser in ten minutes: give a folder as config.treebank"),
        "treebank_predicted_tags": Preset(
            TREEBANK | {"tags": "predicted"}, ("biaffine",), "the same with the tags of a tagger that is trained first"
        ),
    },
    queries={"text": lambda trained, path: parse_text(trained, path, PARSERS.get(trained.arm, classifier_parser))},
)
