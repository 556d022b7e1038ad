"""Trains one arm: many steps a dispatch, with evaluations, probes and checkpoints between dispatches."""

import contextlib
import time

import jax
import numpy as np

from training import checkpoint, feed, goodput, metrics, parallel, processes, signals
from training.experiment import Interrupted, RunFailed
from training.progress import Progress, say
from training.step import abstract_state, variables, with_data, without_sums

SECONDS_A_DISPATCH = 1.0  # between looks at the clock, the progress bar and the signals


def with_seed_axis(tree, num_seeds):
    """Arrays in memory, each with a leading seed axis even where there is one seed."""
    return jax.tree.map(lambda x: np.asarray(x) if num_seeds > 1 else np.asarray(x)[None], tree)


def ratios(sums):
    """{name: (sum, weight)} -> {name: mean}, NaN where nothing was weighed."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: np.asarray(total, float) / np.asarray(weight, float) for name, (total, weight) in sums.items()}


def means(task, sums):
    """{name: mean} of what a task summed, with the perplexity exp(mean loss) where it has one."""
    found = ratios(sums)
    with np.errstate(over="ignore"):
        return found | {"perplexity": np.exp(found["loss"])} if task.perplexity else found


def train_arm(arm, task, config, folder, placement, num_seeds, *, stop_at=None, watch=None, profile=0):
    """Trains an arm from its newest checkpoint, or from the start, to config.num_steps or ``stop_at``.

    Args:
      profile: how many steps to trace for a profiler, after the first dispatch.
    Returns:
      (variables on one device, their step).
    Raises:
      RunFailed: loss or gradients stopped being finite, or a checkpoint could not be written.
      Interrupted: SIGINT or SIGTERM came; the state was saved first.
    """
    clock = goodput.Clock()
    last = config.num_steps if task.optimizer else 0
    end = last if stop_at is None else min(stop_at, last)
    seeds = [config.seed + i for i in range(num_seeds)]
    with clock.spend("checkpoint"):
        found = processes.first_decides(checkpoint.newest_to_go_on_from, folder)
        start = int(processes.agree(-1 if found is None else found)[0, 0])
        if start >= 0:
            shardings = parallel.state_shardings(placement, task, num_seeds)
            state = checkpoint.restore_state(folder, start, abstract_state(task, num_seeds), shardings)
    if start < 0:
        state = parallel.initial(placement, task, seeds)
    # Before the first evaluation: where arrays lie is part of what jit compiles for.
    state = parallel.place(placement, state)
    if start >= end and start >= 0:
        return variables(parallel.gathered(placement, state)), start

    def evaluation(state, data):
        bound = with_data(task, data)
        return bound.evaluate(variables(state)), bound.probe(variables(state))

    data = parallel.place_data(placement, task.data)
    measure = parallel.measuring(placement, evaluation, num_seeds, data)
    with (
        metrics.Writer(folder, seeds, start) as writer,
        checkpoint.Saver(folder) as saver,
        Progress(arm, max(start, 0), last) as progress,
    ):
        watch_metric, watch_change = watch or (None, None)
        # Extra checkpoints compare with the last evaluation that was saved.
        logged, saved = metrics.read(folder, num_seeds, up_to=start)["eval"], checkpoint.steps(folder)
        compared = [i for i, step in enumerate(logged.steps) if step in saved and watch_metric in logged]
        watched = logged[watch_metric][compared[-1]] if compared else None

        def save(state, keep=False):
            with clock.spend("checkpoint"):
                saver.save(parallel.at_rest(placement, state), keep=keep)

        def evaluate_and_save(state, step, due):
            nonlocal watched
            with clock.spend("evaluation"):
                sums, probed = with_seed_axis(measure(state), num_seeds)
                values = means(task, sums)
                writer.write(step, "eval", values)
                writer.write(step, "probe", probed)
            moved = watched is not None and np.max(np.abs(values[watch_metric] - watched)) >= watch_change
            moved = bool(processes.agree(moved)[0, 0])
            if due or moved:
                save(state, keep=moved)
                watched = values.get(watch_metric)

        if start < 0:
            evaluate_and_save(state, 0, due=True)
            start = 0
        advance = _advancing(placement, task, seeds, data, start, end, clock) if start < end else None
        step, dispatch, traced = start, 1, False
        since = (start, time.monotonic())
        while step < end:
            due = min(_next(step, config.eval_every), _next(step, config.checkpoint_every), end)
            # The first process's clock decides how long a dispatch is: all must take the same number of steps.
            count = min(int(processes.agree(dispatch)[0, 0]), due - step)
            began = time.monotonic()
            tracing = profile > 0 and not traced and step > start
            if tracing:
                count, traced = min(profile, due - step), True
            with clock.spend("train"), _traced(folder) if tracing else contextlib.nullcontext():
                state = advance(state, count)
                reached = int(np.min(parallel.local(placement, state.step)))
                sums = jax.device_get(parallel.local(placement, state.sums))
            seconds = time.monotonic() - began
            if reached < step + count:
                saver.finish()
                raise RunFailed(_divergence(arm, step, reached, count, task, folder))
            step = reached
            if count == dispatch and seconds < SECONDS_A_DISPATCH / 2:
                dispatch *= 2
            progress.update(step, float(np.mean(ratios(sums)["loss"])))
            interrupted = bool(processes.agree(signals.received())[:, 0].any())
            stopping = step == end or interrupted
            if step % config.eval_every == 0 or step % config.checkpoint_every == 0 or step == last:
                speed = (step - since[0]) / (time.monotonic() - since[1])
                values = with_seed_axis(means(task, sums), num_seeds) | {"steps_per_second": np.full(num_seeds, speed)}
                writer.write(step, "train", values)
                state = without_sums(state)
                evaluate_and_save(state, step, due=step % config.checkpoint_every == 0 or stopping)
                since = (step, time.monotonic())
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
    if start < end and processes.is_first():
        say(f"{arm}: {goodput.summary(totals)}")
        if goodput.starved(totals):
            share = totals["input"] / (totals["train"] + totals["input"])
            say(f"warning: {arm} spent {share:.0%} of its steps waiting for batches from the host")
    return variables(parallel.gathered(placement, state)), step


def _advancing(placement, task, seeds, data, start, end, clock):
    """Makes (state, count) -> the state ``count`` steps later, wherever batches are made."""
    num_seeds = len(seeds)
    train_steps = parallel.train_steps(placement, task, num_seeds, data)
    if not task.batch_on_host:
        return train_steps

    def make(step):
        batches = [task.batch(seed, step) for seed in seeds]
        batch = jax.tree.map(lambda *x: np.stack(x), *batches) if num_seeds > 1 else batches[0]
        return parallel.place_batch(placement, batch, num_seeds)

    upcoming = feed.batches(make, start, end)

    def advance(state, count):
        for _ in range(count):
            with clock.spend("input"):
                batch = next(upcoming)
            state = train_steps(state, batch)
        return state

    return advance


@contextlib.contextmanager
def _traced(folder):
    """A profiler's trace of what runs within, in the arm's folder, for TensorBoard and Perfetto."""
    if not processes.is_first():
        yield
        return
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
        yield


def _next(step, every):
    """The first multiple of ``every`` after ``step``."""
    return (step // every + 1) * every


def _divergence(arm, before, reached, count, task, folder):
    # Batches from the host come whether or not the state took the one before: only the dispatch is known.
    when = f"between steps {before + 1} and {before + count}" if task.batch_on_host else f"at step {reached + 1}"
    good = checkpoint.steps(folder)
    kept = f"The last good checkpoint is {checkpoint.step_folder(folder, good[-1])}; " if good else ""
    return (
        f"{arm}: diverged {when}: its loss or gradient is not finite. {kept}"
        "a smaller --config.optimizer.learning_rate may help"
    )
