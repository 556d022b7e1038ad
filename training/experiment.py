"""What the engine asks of an experiment.

An experiment has arms, and states claims over what was measured in them. An arm is a Task, something that is trained:
pure functions that the engine jits, maps over seeds and runs on any number of devices. Or it is a Measurement, which
trains nothing.

Axes: S seeds, N evaluations over training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class UserError(Exception):
    """The command was wrong: one or two lines that say what, and what to do. Exit code 2."""


class RunFailed(Exception):
    """The run failed: diverged, disk full, data lost. Exit code 1."""


class Interrupted(Exception):
    """The run was asked to end, and has saved. Exit code 130."""


class Loss(NamedTuple):
    """Sums over a batch, never means: shards and microbatches are added up, then divided once by their weight."""

    sum: Any  # what is minimised, times weight
    weight: Any
    metrics: Mapping[str, tuple[Any, Any]] = {}  # name -> (sum, weight), logged beside the loss
    collections: Mapping[str, Any] = {}  # new values of the model's mutable collections


def measure_nothing(*variables_and_data):
    """What a Task measures, and what files it writes, where its experiment does not say."""
    return {}


@dataclass(frozen=True)
class Task:
    """One trainable thing. ``variables`` is what a Linen module's ``apply`` takes: params and mutable collections.

    init:      key -> variables
    evaluate:  variables -> {name: (sum, weight)}; jitted
    batch:     (seed, step) -> the global batch, a pytree whose leaves have the batch axis first; traceable,
               or see batch_on_host
    loss:      (variables, batch, rngs) -> Loss; ``rngs`` is {"dropout": key}
    optimizer: None where the weights are written by hand and stay as ``init`` makes them; batch and loss may then be
               None too
    accumulate:    into how many microbatches a device's batch is split, their gradients added up
    batch_on_host: batch is numpy code and not traceable; a thread makes batches ahead of the devices
    sharding:  rules (path pattern, mesh axes) of how a mesh splits parameters, see ``training.partition``
    probe:     variables -> {name: array}; jitted, cheap, run at every evaluation
    examine:   variables -> {name: array}; jitted, run once, on the final variables
    measure:   variables -> {name: array}; plain Python, run once, after ``examine``: what no trace shows, such as
               wall time and what the compiler made of a program; or a text. All that it and ``examine`` return is in
               results.npz; what is one number or one text stands in final.json too, where no metric of ``evaluate``
               has its name
    outputs:   (variables, examined) -> {file name: bytes}; plain Python, run once, after ``measure``: files that the
               trained model writes about its data, such as its predictions of the test set. They are the first seed's:
               its variables, and {name: array} of what ``examine`` and ``measure`` returned for it. train.py writes
               them into the arm's folder, eval.py below its own --workdir
    data:      arrays that stay on the device, such as a corpus's tokens: batch, evaluate, probe and examine take them
               as one more argument, the last. Compiled into a program they would cost minutes; a batch made on the
               host does not get them
    perplexity:    whether exp(loss) is logged beside the loss
    files:     {name: bytes} that belong to the trained model, such as its tokeniser; written into the arm's folder. In
               place of bytes may stand a function that makes them; it is called unless the file is there
    facts:     {name: value} of the data, such as a corpus's SHA-256, for config.json; a run in which they differ is
               another run
    """

    model: Any
    init: Callable
    evaluate: Callable
    batch: Callable | None = None
    loss: Callable | None = None
    optimizer: Any = None
    accumulate: int = 1
    batch_on_host: bool = False
    sharding: Sequence[tuple[str, tuple]] = ()
    probe: Callable = measure_nothing
    examine: Callable = measure_nothing
    measure: Callable = measure_nothing
    outputs: Callable = measure_nothing
    data: Any = None
    perplexity: bool = False
    files: Mapping[str, bytes | Callable[[], bytes]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """An arm that trains nothing: exact statements, costs, statistics of random weights.

    measure: key -> {name: array}; plain Python, which jits for itself what it wants compiled. It is called once a seed,
             with a key of that seed
    facts:   as a Task has them
    """

    measure: Callable
    facts: Mapping[str, Any] = field(default_factory=dict)


class Arm(NamedTuple):
    """How an arm is made: a function of the arm's config, and what the arm changes in the experiment's config.

    ``make`` returns a Task or a Measurement; it raises ValueError where the config's fields do not fit together.
    ``changes`` is {field: value}, dotted paths allowed; the engine refuses to override these by flag.
    """

    make: Callable
    changes: Mapping[str, Any] = {}


class Preset(NamedTuple):
    """A named variant of an experiment's config: field overrides, and the arms that it trains (default: as ever)."""

    overrides: Mapping[str, Any]
    arms: tuple[str, ...] = ()
    about: str = ""


class Trained(NamedTuple):
    """An arm as training left it, without its data: what a query asks. Of several seeds, it is the first."""

    config: Any  # the arm's
    variables: Any  # what a Linen module's ``apply`` takes
    files: Mapping[str, bytes]  # the Task's ``files``, as they were written into the arm's folder
    arm: str = ""
    step: int = 0


class Answer(NamedTuple):
    """What a trained arm answers to a query of eval.py."""

    text: str  # what the command prints
    files: Mapping[str, bytes] = {}  # {file name: bytes}, written into --workdir
    figures: Sequence = ()  # of reporting.figures.Figure, for report.html in --workdir


@dataclass(frozen=True)
class Experiment:
    """A question, the arms that may answer it, and the claims made of them.

    config:  a frozen dataclass of defaults with at least the field seed; where arms are trained also num_steps,
             batch_size, eval_every, checkpoint_every
    arms:    config -> {name: Arm}
    claims:  a list of reporting.claims.Claim
    figures: {arm: ArmResult} -> [reporting.figures.Figure]
    watch:   (metric, change): an extra checkpoint whenever this evaluation metric moved by ``change`` since the last
    language_model:  (arm's config, vocabulary's size) -> (module, ``models.decoding.Decoder``), for sample.py, which
             has the tokeniser of a run and not its corpus
    translator:  Trained -> (read, translate), for sample.py, which loads no data. ``read(line)`` of a line of source
             text is what ``translate`` takes of it, such as token ids; it raises ValueError where the line cannot be
             translated. ``translate([what read returned], beam_size)`` is [the translated line]. Lines have no white
             space at their ends and are never empty; a beam of 1 is greedy
    queries: {flag of eval.py: (Trained, the flag's value) -> Answer}: what its trained arms answer about something new,
             such as {"text": parse_file}, where the value is a file's name. No data are loaded for it. It raises
             ValueError for a value that cannot be answered, and may let the OSError of a file it reads pass
    """

    question: str
    config: Any
    arms: Callable[[Any], Mapping[str, Arm]]
    default_arms: tuple[str, ...]
    claims: Sequence
    figures: Callable[[Mapping[str, "ArmResult"]], Sequence]
    presets: Mapping[str, Preset] = field(default_factory=dict)
    watch: tuple[str, float] | None = None
    language_model: Callable | None = None
    translator: Callable[[Trained], tuple[Callable, Callable]] | None = None
    queries: Mapping[str, Callable[[Trained, str], Answer]] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """One split of an arm's metrics over training: ``values[name]`` is [N, S, ...] at ``steps`` [N]."""

    steps: np.ndarray
    values: Mapping[str, np.ndarray]

    def __getitem__(self, name):
        return self.values[name]

    def __contains__(self, name):
        return name in self.values


EMPTY_HISTORY = History(np.zeros(0, int), {})


@dataclass(frozen=True)
class ArmResult:
    """What an arm left behind. Arrays have the seed axis S even where there is one seed.

    Of a Measurement there are ``examined`` and what comes before ``model``; the rest is empty.
    """

    arm: str
    config: Any
    num_seeds: int
    examined: Mapping[str, np.ndarray]  # what ``examine`` and ``measure`` returned, [S, ...]
    model: Any = None
    variables: Any = None  # final, each leaf [S, ...]
    step: int = 0
    num_parameters: int = 0  # of one seed
    train: History = EMPTY_HISTORY
    evaluation: History = EMPTY_HISTORY
    probes: History = EMPTY_HISTORY
    final: Mapping[str, np.ndarray] = field(default_factory=dict)  # the evaluation of the final variables, [S]
    outputs: Mapping[str, bytes] = field(default_factory=dict)  # what ``outputs`` returned
    seconds: float = 0.0  # spent by this process on the arm
