"""Speed of the transition-based parser, side by side with the same parser as a plain PyTorch program.

    python -m benchmarks.dependency_parser --rounds=10 [--treebank=FOLDER] [--preset=course] [--parts=parsing,training]

    parsing     a whole test set, from arrays of ids to trees: features, classifier, legality and transitions.
                PyTorch's side keeps a Python object for each sentence, with lists for stack and buffer, and steps up to
                --sentences of them at a time. It has our weights, and before anything is timed its trees must be ours;
                rounding may change a few. The loss that is printed is the share of words with a wrong head. Ours makes
                tables of what each id adds to the hidden layer, and their making is timed, too; the side jax_dense
                does without them.
    training    optimiser steps on random batches of decisions, whose features both sides hold ready. Ours is the
                program that train.py runs. Both start from the same weights.

Words have their ids already on either side. The sides, pinned to the same cores, take turns; a first turn, in which
ours compiles, is not counted. Needs PyTorch, which nothing but benchmarks does.

Axes: B sentences or decisions at a time, N all of them, T positions, I features, L labels, K transitions (1 + 2 L).
"""

from functools import partial
from unittest import mock

import numpy as np
from absl import app, flags

from benchmarks import paired

SIDES = flags.DEFINE_list(
    "sides", ["jax", "torch"], "jax, jax_dense (parses only), torch; the first is compared with each of the others"
)
PARTS = flags.DEFINE_list("parts", ["parsing", "training"], "what is measured")
TREEBANK = flags.DEFINE_string("treebank", "generated", "generated, or a folder or file of CoNLL-U")
PRESET = flags.DEFINE_enum("preset", "labelled", ["labelled", "course"], "48 features and labels, or 36 and no labels")
WEIGHT_STEPS = flags.DEFINE_integer("weight_steps", 300, "training steps of the weights that parse", lower_bound=1)
SENTENCES = flags.DEFINE_integer("sentences", 256, "sentences that PyTorch's side steps at a time", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 1024, "decisions of a training step", lower_bound=1)

TURN = {"parsing": 1, "training": 100}  # times the test set is parsed, and optimiser steps
MAX_DIFFERENCE = 0.005  # share of the sentences in which rounding may make another tree
SLOTS = {"words": 18, "tags": 18, "labels": 12}  # features of each kind
ROOT = 1  # its id among words and among tags; 0 is NULL's
SHIFT = 0  # transitions 1 to L are LEFT-ARC, and L + 1 to 2 L RIGHT-ARC, with each of the labels
NONE = -1  # the position of a word that is not there


def prepare():
    """(config, Corpus, Parser) of the experiment's arm `parser` at the sizes that are compared."""
    from experiments.dependency_parser.corpus import read_corpus
    from experiments.dependency_parser.experiment import EXPERIMENT
    from experiments.dependency_parser.parsers import classifier_parser
    from training import run
    from training.config import override

    preset = EXPERIMENT.presets["course"].overrides if PRESET.value == "course" else {}
    sizes = {"d_embed": 50, "d_hidden": 200, "num_hidden": 1, "activation": "relu", "dropout": 0.5, "l2": 0.0}
    # A constant learning rate, so that it does not matter how many turns there are.
    optimizer = {"learning_rate": 1e-3, "warmup_steps": 0, "final_fraction": 1.0, "weight_decay": 0.0}
    settings = preset | sizes | {f"optimizer.{name}": value for name, value in optimizer.items()}
    config = run.select_arms(EXPERIMENT, EXPERIMENT.config, ("parser",), {})["parser"]
    config = override(config, settings | {"treebank": TREEBANK.value, "batch_size": BATCH_SIZE.value})
    corpus = read_corpus(config)
    return config, corpus, classifier_parser(config, corpus.vocabulary)


def make_task(config):
    """The experiment's Task, which train.py would train."""
    from experiments.dependency_parser.experiment import EXPERIMENT
    from training import run

    return run.make_task(EXPERIMENT, "parser", config)


def kinds_of(config):
    """The kinds of features that the classifier sees."""
    return [kind for kind in SLOTS if getattr(config, f"use_{kind}")]


# --- This project's side.


def jax_training():
    """Makes steps -> mean loss, by this project's engine: the experiment's arm `parser` as train.py trains it."""
    return paired.engine(make_task(prepare()[0]))[0]


def jax_parser(params, with_tables=True):
    """Makes () -> (heads, labels) of the test set [N, T], -1 and 0 at ROOT and after a sentence's end."""
    import jax

    from experiments.dependency_parser import classifier

    _, corpus, parser = prepare()
    variables = jax.device_put({"params": params})
    most_numbers = classifier.TABLE_NUMBERS if with_tables else 0
    with mock.patch.object(classifier, "TABLE_NUMBERS", most_numbers):
        parse = jax.jit(parser.parse).lower(variables, corpus.test_split).compile()
    return lambda: jax.device_get(parse(variables, corpus.test_split))


# --- PyTorch's side.


class PartialParse:
    """A sentence on its way to a tree: lists of positions, ROOT being 0, and what has been attached so far."""

    def __init__(self, words, tags, num_labels):
        """Starts from the ids of ROOT and the words; the entries added last are NULL's, which position -1 picks."""
        self.words, self.tags, self.num_labels = [*words, 0], [*tags, 0], num_labels
        self.stack, self.buffer = [0], list(range(1, len(words)))
        self.heads, self.labels = [NONE] * len(words), [0] * (len(words) + 1)
        # In the order in which they are attached: the outermost dependent comes last on either side.
        self.left = [[] for _ in self.words]
        self.right = [[] for _ in self.words]

    @property
    def done(self):
        """Whether only ROOT is left."""
        return not self.buffer and len(self.stack) == 1

    def legal(self):
        """Whether SHIFT, LEFT-ARC and RIGHT-ARC may come next; ROOT takes its one dependent at the end."""
        words = len(self.stack) - 1
        return [bool(self.buffer), words >= 2, words >= 2 or (words == 1 and not self.buffer)]

    def advance(self, transition):
        """Takes a transition."""
        if transition == SHIFT:
            self.stack.append(self.buffer.pop(0))
            return
        to_the_left = transition <= self.num_labels
        dependent = self.stack.pop(-2 if to_the_left else -1)
        head = self.stack[-1]
        (self.left if to_the_left else self.right)[head].append(dependent)
        self.heads[dependent] = head
        self.labels[dependent] = (transition - 1) % self.num_labels + 1

    def features(self, kinds):
        """The ids of 18 words, of their tags, and of the labels of the 12 dependents among them, one list.

        ``kinds`` names which of "words", "tags", "labels" there are.
        """
        s3, s2, s1 = [NONE, NONE, *self.stack][-3:]
        positions = [s1, s2, s3, *[*self.buffer[:3], NONE, NONE, NONE][:3]]
        for head in (s1, s2):
            left, right = [NONE, NONE, *self.left[head]], [NONE, NONE, *self.right[head]]
            positions += [left[-1], right[-1], left[-2], right[-2]]
            positions += [[NONE, *self.left[left[-1]]][-1], [NONE, *self.right[right[-1]]][-1]]
        ids = []
        if "words" in kinds:
            ids += [self.words[position] for position in positions]
        if "tags" in kinds:
            ids += [self.tags[position] for position in positions]
        if "labels" in kinds:
            ids += [self.labels[position] for position in positions[6:]]
        return ids


def minibatch_parse(parses, predict, size):
    """Parses all, up to ``size`` of the unfinished ones at a time; ``predict`` gives each its next transition."""
    unfinished = list(parses)
    while unfinished:
        batch = unfinished[:size]
        for parse, transition in zip(batch, predict(batch), strict=True):
            parse.advance(transition)
        unfinished[:size] = [parse for parse in batch if not parse.done]


def torch_classifier(config, params):
    """A PyTorch module with such weights: ids [B, I] to logits [B, K]."""
    import torch
    from torch import nn

    kinds = kinds_of(config)

    def weights(array):
        return nn.Parameter(torch.tensor(np.asarray(array)))

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            shapes = {kind: params[f"{kind[:-1]}_embed"].shape for kind in kinds}
            self.embed = nn.ModuleDict({kind: nn.Embedding(*shape) for kind, shape in shapes.items()})
            self.hidden = nn.Linear(*params["hidden_0"]["kernel"].shape)
            self.dropout = nn.Dropout(config.dropout)
            self.output = nn.Linear(*params["transitions"]["kernel"].shape)
            for kind, embed in self.embed.items():
                embed.weight = weights(params[f"{kind[:-1]}_embed"])
            for layer, name in ((self.hidden, "hidden_0"), (self.output, "transitions")):
                layer.weight, layer.bias = weights(params[name]["kernel"].T), weights(params[name]["bias"])

        def forward(self, ids_BI):
            by_kind = ids_BI.split([SLOTS[kind] for kind in kinds], dim=1)
            x = torch.cat([self.embed[kind](ids).flatten(1) for kind, ids in zip(kinds, by_kind, strict=True)], dim=1)
            return self.output(self.dropout(torch.relu(self.hidden(x))))

    return Classifier()


def kinds_of_transitions(num_labels):
    """The column of ``PartialParse.legal`` that each transition has [K]."""
    return [0] + [1] * num_labels + [2] * num_labels


def torch_parser(params):
    """Makes () -> (heads, labels) of the test set [N, T], -1 and 0 at ROOT and after a sentence's end."""
    import torch

    torch.set_num_threads(paired.THREADS.value)
    config, corpus, _ = prepare()
    model, kinds = torch_classifier(config, params).eval(), kinds_of(config)
    kind_K = torch.tensor(kinds_of_transitions(corpus.num_labels))
    vocabulary, T = corpus.vocabulary, corpus.test_split.heads_NT.shape[1]
    sentences = [
        ([ROOT, *vocabulary.word_ids(sentence.forms).tolist()], [ROOT, *vocabulary.tag_ids(sentence.tags).tolist()])
        for sentence in corpus.test
    ]

    @torch.no_grad()
    def predict(parses):
        logits_BK = model(torch.tensor([parse.features(kinds) for parse in parses]))
        legal_B3 = torch.tensor([parse.legal() for parse in parses])
        return logits_BK.masked_fill(~legal_B3[:, kind_K], -torch.inf).argmax(dim=1).tolist()

    def parse_all():
        parses = [PartialParse(words, tags, corpus.num_labels) for words, tags in sentences]
        minibatch_parse(parses, predict, SENTENCES.value)
        heads_NT, labels_NT = np.full((len(parses), T), -1), np.zeros((len(parses), T), int)
        for parse, heads_T, labels_T in zip(parses, heads_NT, labels_NT, strict=True):
            heads_T[: len(parse.heads)], labels_T[: len(parse.heads)] = parse.heads, parse.labels[:-1]
        return heads_NT, labels_NT

    return parse_all


def torch_training():
    """Makes steps -> mean loss, as a PyTorch user would write it: eager, with fused Adam; our initial weights."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from training.step import key

    torch.set_num_threads(paired.THREADS.value)
    torch.manual_seed(0)
    config, corpus, _ = prepare()
    task = make_task(config)
    examples = task.data["train"]
    ids_NI = torch.tensor(np.concatenate([examples[kind] for kind in kinds_of(config)], axis=1).astype(np.int64))
    legal_N3 = torch.tensor(examples["legal"])
    transitions_N = torch.tensor(examples["transitions"].astype(np.int64))
    kind_K = torch.tensor(kinds_of_transitions(corpus.num_labels))
    model = torch_classifier(config, task.init(key(0, "init"))["params"])
    optimizer = torch.optim.Adam(model.parameters(), lr=config.optimizer.learning_rate, fused=True)

    def run(steps):
        total = 0.0
        for _ in range(steps):
            rows_B = torch.randint(0, len(ids_NI), (config.batch_size,))
            logits_BK = model(ids_NI[rows_B]).masked_fill(~legal_N3[rows_B][:, kind_K], -torch.inf)
            loss = F.cross_entropy(logits_BK, transitions_N[rows_B])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
            optimizer.step()
            total += loss.item()
        return total / steps

    return run


# --- The comparison.


def parsing(make_parser, params):
    """Makes times -> share of wrong heads, which parses the test set so many times."""
    parse_all, gold_NT = make_parser(params), prepare()[1].test_split.heads_NT

    def run(times):
        for _ in range(times):
            heads_NT, _ = parse_all()
        return float((heads_NT != gold_NT)[gold_NT >= 0].mean())

    return run


def trained_params():
    """Weights after --weight_steps of our training, numpy arrays."""
    import jax

    run_steps, get_state = paired.engine(make_task(prepare()[0]))
    run_steps(WEIGHT_STEPS.value)
    return jax.tree.map(np.asarray, get_state().params)


def check_trees(parsers, params):
    """Prints in how many sentences the sides give other trees than the first; exits where that is not rounding."""
    (first, trees), *others = [(side, make_parser(params)()) for side, make_parser in parsers.items()]
    for side, others_trees in others:
        differs_N = np.any([a != b for a, b in zip(trees, others_trees, strict=True)], axis=(0, 2))
        print(f"{side:6} {differs_N.sum()} of {len(differs_N):,} trees differ from those of {first}", flush=True)
        if differs_N.mean() > MAX_DIFFERENCE:
            raise SystemExit(f"{side} and {first} are not the same parser")


def main(_):
    config, corpus, _ = prepare()
    print(
        f"{TREEBANK.value}: {len(corpus.test):,} test sentences, {corpus.test_split.lengths_N.sum():,} words; "
        f"{len(corpus.vocabulary.words):,} ids of words, {corpus.num_labels} labels, "
        f"{sum(SLOTS[kind] for kind in kinds_of(config))} features",
        flush=True,
    )
    steps_are_set = flags.FLAGS["steps"].present
    if "parsing" in PARTS.value:
        makers = {"jax": jax_parser, "jax_dense": partial(jax_parser, with_tables=False), "torch": torch_parser}
        parsers, params = {side: makers[side] for side in SIDES.value}, trained_params()
        check_trees(parsers, params)
        if not steps_are_set:
            flags.FLAGS.steps = TURN["parsing"]
        print("parsing", flush=True)
        sides = {side: partial(parsing, make_parser, params) for side, make_parser in parsers.items()}
        paired.compare(sides, "sentences", len(corpus.test))
    if "training" in PARTS.value:
        makers = {"jax": jax_training, "torch": torch_training}
        if not steps_are_set:
            flags.FLAGS.steps = TURN["training"]
        print(f"training on {config.batch_size:,} decisions a step", flush=True)
        paired.compare({side: makers[side] for side in SIDES.value if side in makers})


if __name__ == "__main__":
    app.run(main)
