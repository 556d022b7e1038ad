"""Trains one arm: many steps a dispatch, with evaluations, probes and checkpoints between dispatches."""

import contextlib
import time
from dataclasses import dataclass

import jax
import numpy as np

from training import checkpoint, feed, goodput, metrics, processes, signals
from training.experiment import Interrupted, RunFailed
from training.parallel import Placement
from training.progress import Progress, say
from training.step import abstract_state, bind_data, reset_sums, variables

SECONDS_A_DISPATCH = 1.0  # between looks at the clock, the progress bar and the signals


@dataclass(frozen=True)
class Options:
    """How an arm is trained, whatever it is.

    stop_at: the step at which it is saved and left, where that comes before its last
    watch:   (metric, change) of its Experiment
    profile: how many steps are traced for a profiler, after the first dispatch
    """

    placement: Placement
    num_seeds: int = 1
    stop_at: int | None = None
    watch: tuple[str, float] | None = None
    profile: int = 0


def with_seed_axis(tree, num_seeds):
    """Arrays in memory, each with a leading seed axis even where there is one seed."""
    return jax.tree.map(lambda x: np.asarray(x) if num_seeds > 1 else np.asarray(x)[None], tree)


def ratios(sums):
    """{name: (sum, weight)} -> {name: mean}, NaN where nothing was weighed."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: np.asarray(total, float) / np.asarray(weight, float) for name, (total, weight) in sums.items()}


def means(task, sums):
    """{name: mean} of what a task summed, with the perplexity exp(mean loss) where it has one."""
    values = ratios(sums)
    with np.errstate(over="ignore"):
        return values | {"perplexity": np.exp(values["loss"])} if task.perplexity else values


def train_arm(arm, task, config, folder, options):
    """Trains an arm from its newest checkpoint, or from the start, to config.num_steps or ``options.stop_at``.

    Returns:
      (variables on one device, their step).
    Raises:
      RunFailed: loss or gradients stopped being finite, or a checkpoint could not be written.
      Interrupted: SIGINT or SIGTERM came; the state was saved first.
    """
    clock, placement, num_seeds = goodput.Clock(), options.placement, options.num_seeds
    seeds = [config.seed + i for i in range(num_seeds)]
    last = config.num_steps if task.optimizer else 0
    end = last if options.stop_at is None else min(options.stop_at, last)
    state, saved_step = begin(task, seeds, folder, placement, clock)
    first_step = step = saved_step or 0
    if saved_step is not None and step >= end:
        return variables(placement.gather(state)), step
    data = placement.place_data(task.data)
    evaluate = compile_evaluation(task, data, options)
    with (
        metrics.Writer(folder, seeds, saved_step) as writer,
        checkpoint.Saver(folder) as saver,
        Progress(arm, step, last) as progress,
        contextlib.closing(feed_batches(task, seeds, placement, range(step, end))) as batches,
    ):
        watch = Watch(options.watch, folder, num_seeds, saved_step)

        def save(state, keep=False):
            with clock.spend("checkpoint"):
                saver.save(placement.checkpoint_form(state), keep=keep)

        def evaluate_and_save(state, step, is_due):
            with clock.spend("evaluation"):
                values, probes = evaluate(state)
                writer.write(step, "eval", values)
                writer.write(step, "probe", probes)
            has_moved = watch.has_moved(values)
            if is_due or has_moved:
                save(state, keep=has_moved)
                watch.note_save(values)

        if saved_step is None:
            evaluate_and_save(state, 0, is_due=True)
        advance = compile_advance(task, data, batches, options, clock)
        pace, profile = Pace(), options.profile
        logged_step, logged_time = step, time.monotonic()
        while step < end:
            due = min(_next_multiple(step, config.eval_every), _next_multiple(step, config.checkpoint_every), end)
            count = pace.choose_count(due - step)
            is_traced = profile > 0 and step > first_step  # not the first dispatch, which compiles
            if is_traced:
                count, profile = min(profile, due - step), 0
            start = time.monotonic()
            with clock.spend("train"), _trace(folder, is_traced):
                state = advance(state, count)
                reached = int(np.min(placement.one_copy(state.step)))
                sums = jax.device_get(placement.one_copy(state.sums))
            pace.adapt(count, time.monotonic() - start)
            if reached < step + count:
                saver.finish()
                # Batches from the host come whether or not the state took the one before: only the dispatch is known.
                between = f"between steps {step + 1} and {step + count}"
                raise RunFailed(_divergence(arm, between if task.batch_on_host else f"at step {reached + 1}", folder))
            step = reached
            progress.update(step, float(np.mean(ratios(sums)["loss"])))
            interrupted = processes.any_says(signals.has_come())
            stopping = interrupted or step == end
            if step % config.eval_every == 0 or step % config.checkpoint_every == 0 or step == last:
                speed = (step - logged_step) / (time.monotonic() - logged_time)
                values = with_seed_axis(means(task, sums), num_seeds)
                writer.write(step, "train", values | {"steps_per_second": np.full(num_seeds, speed)})
                state = reset_sums(state)
                evaluate_and_save(state, step, is_due=step % config.checkpoint_every == 0 or stopping)
                logged_step, logged_time = step, time.monotonic()
            elif stopping:
                save(state)
            if interrupted and step < end:
                saver.finish()
                raise Interrupted(
                    f"{arm}: interrupted at step {step}, which is saved; the same command goes on from it"
                )
        with clock.spend("checkpoint"):
            saver.finish()
        totals = clock.totals()
        writer.write(step, "time", {kind: np.full(num_seeds, seconds) for kind, seconds in totals.items()})
    if step > first_step and processes.is_first():
        _say_totals(arm, totals)
    return variables(placement.gather(state)), step


def begin(task, seeds, folder, placement, clock):
    """(state in training, step of the checkpoint that it is from).

    The step is None where nothing was saved; then it is the state before the first step.
    """
    with clock.spend("checkpoint"):
        newest = processes.first_decides(checkpoint.prepare_to_resume, folder)
        step = processes.first_says(-1 if newest is None else newest)
        if step >= 0:
            shardings = placement.state_shardings(task, len(seeds))
            state = checkpoint.restore_state(folder, step, abstract_state(task, len(seeds)), shardings)
    if step < 0:
        state, step = placement.init_state(task, seeds), None
    # Before the first evaluation: where arrays lie is part of what jit compiles for.
    return placement.training_form(state), step


def compile_evaluation(task, data, options):
    """Makes state in training -> ({metric: [S]}, {probe: [S, ...]}), arrays in memory.

    Args:
      data: the task's data, on the devices.
    """

    def evaluate_seed(state, data):
        bound = bind_data(task, data)
        return bound.evaluate(variables(state)), bound.probe(variables(state))

    compiled = options.placement.compile_evaluation(evaluate_seed, options.num_seeds, data)

    def evaluate(state):
        sums, probes = with_seed_axis(compiled(state), options.num_seeds)
        return means(task, sums), probes

    return evaluate


def feed_batches(task, seeds, placement, steps):
    """A generator of the batches of a range of steps, made on the host and placed; its first use starts its thread."""

    def make_batch(step):
        batches = [task.batch(seed, step) for seed in seeds]
        batch = jax.tree.map(lambda *x: np.stack(x), *batches) if len(seeds) > 1 else batches[0]
        return placement.place_batch(batch, len(seeds))

    return feed.batches(make_batch, steps.start, steps.stop)


def compile_advance(task, data, batches, options, clock):
    """Makes (state, count) -> the state ``count`` steps later, wherever batches are made.

    Args:
      data: the task's data, on the devices.
      batches: what ``feed_batches`` returned.
    """
    train_steps = options.placement.compile_train_steps(task, options.num_seeds, data)
    if not task.batch_on_host:
        return train_steps

    def advance(state, count):
        for _ in range(count):
            with clock.spend("input"):
                batch = next(batches)
            state = train_steps(state, batch)
        return state

    return advance


class Watch:
    """Decides where an extra checkpoint is due: where a metric has moved since the last evaluation that was saved."""

    def __init__(self, watch, folder, num_seeds, saved_step):
        """``watch`` is (metric, change) or None; training goes on from ``saved_step``, or starts where it is None."""
        self.metric, self.change = watch or (None, None)
        self.reference = None  # the metric [S] when it was saved last
        if saved_step is None:
            return
        history, saved_steps = metrics.read(folder, num_seeds, up_to=saved_step)["eval"], checkpoint.steps(folder)
        for i, step in enumerate(history.steps):
            if step in saved_steps and self.metric in history:
                self.reference = history[self.metric][i]

    def has_moved(self, values):
        """Whether {metric: [S]} of an evaluation ask for a checkpoint; the same in all processes."""
        if self.reference is None:
            return bool(processes.first_says(False))
        return bool(processes.first_says(np.max(np.abs(values[self.metric] - self.reference)) >= self.change))

    def note_save(self, values):
        """Takes note that the state with these values {metric: [S]} was saved."""
        self.reference = values.get(self.metric)


class Pace:
    """Decides how many steps a dispatch takes: twice as many after each dispatch that was short."""

    def __init__(self):
        self.count = 1

    def choose_count(self, most):
        """How many steps to take next, of ``most``: the same in all processes, by the first one's clock."""
        return min(processes.first_says(self.count), most)

    def adapt(self, count, seconds):
        """Takes note that a dispatch of ``count`` steps took so many seconds."""
        if count == self.count and seconds < SECONDS_A_DISPATCH / 2:
            self.count *= 2


@contextlib.contextmanager
def _trace(folder, is_wanted):
    """Traces what runs within, where that is wanted, into the arm's folder, for TensorBoard and Perfetto."""
    if not (is_wanted and processes.is_first()):
        yield
        return
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
        yield


def _next_multiple(step, every):
    """The first multiple of ``every`` after ``step``."""
    return (step // every + 1) * every


def _divergence(arm, when, folder):
    message = f"{arm}: diverged {when}: its loss or gradient is not finite. "
    if saved_steps := checkpoint.steps(folder):
        message += f"The last good checkpoint is {checkpoint.step_folder(folder, saved_steps[-1])}; "
    return message + "a smaller --config.optimizer.learning_rate may help"


def _say_totals(arm, totals):
    """Says on what an arm's time was spent, and warns where much of it was spent waiting."""
    say(f"{arm}: {goodput.summary(totals)}")
    if goodput.is_starved(totals):
        share = totals["input"] / (totals["train"] + totals["input"])
        say(f"warning: {arm} spent {share:.0%} of its steps waiting for batches from the host")
