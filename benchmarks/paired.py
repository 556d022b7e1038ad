"""Measures two or more programs side by side: each in a process of its own, pinned to the same cores, taking turns.

A slow moment of the machine slows all of them, so ratios within a turn say more than speeds.
"""

import multiprocessing
import os
import statistics
import sys
import time

from absl import flags

ROUNDS = flags.DEFINE_integer("rounds", 20, "number of turns of each side", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 50, "number of training steps in a turn", lower_bound=1)
THREADS = flags.DEFINE_integer(
    "threads", 2, "number of threads of each side, and of the cores that all sides share", lower_bound=1
)


def engine(task, seed=0, compile_first=False):
    """Trains a task by this project's engine on one device: (run_steps, get_state).

    run_steps(steps) trains a number of steps more and returns their mean loss; get_state() returns the training state.
    """
    from training.parallel import SINGLE
    from training.step import reset_sums

    train_steps = SINGLE.compile_train_steps(task, num_seeds=1)
    if compile_first:
        train_steps(reset_sums(SINGLE.init_state(task, [seed])), 1)
    state = SINGLE.init_state(task, [seed])

    def run_steps(steps):
        nonlocal state
        state = train_steps(reset_sums(state), steps)
        total, weight = state.sums["loss"]
        return float(total / weight)

    return run_steps, lambda: state


def pin():
    """Restricts this process to the first THREADS cores, by whose number XLA chooses its number of threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: THREADS.value])


def _serve(make, arguments, connection):
    """Answers every number of steps that it receives with (steps per second, loss), until it receives None."""
    flags.FLAGS(arguments)
    pin()
    run = make()
    while (steps := connection.recv()) is not None:
        start = time.perf_counter()
        loss = run(steps)
        connection.send((steps / (time.perf_counter() - start), loss))


def compare(sides, unit="steps", per_step=1):
    """Prints every side's speed, and the first side's over each of the others': the median of the ratios of turns.

    Args:
      sides: {name: module-level function that makes a function of a number of steps, which runs them and returns their
        loss}.
      unit: what a speed counts.
      per_step: how many of the unit a step processes.
    Returns:
      {name: steps/s of each turn}.
    """
    context = multiprocessing.get_context("spawn")  # a forked JAX or OpenMP can hang
    connections = {}
    for side, make in sides.items():
        connections[side], connection_of_process = context.Pipe()
        context.Process(target=_serve, args=(make, sys.argv, connection_of_process), daemon=True).start()
        connection_of_process.close()  # so that a process that stops closes the last copy, and recv raises EOFError
    speeds, losses = {side: [] for side in connections}, {}
    for turn in range(ROUNDS.value + 1):
        for side, connection in connections.items():
            try:
                connection.send(STEPS.value)
                speed, losses[side] = connection.recv()
            except (EOFError, ConnectionError):
                sys.exit(f"The side {side!r} stopped: its error is above.")
            if turn:  # turn 0 compiles and warms up
                speeds[side].append(speed)
    for connection in connections.values():
        connection.send(None)
    first = next(iter(sides))
    for side, rates in speeds.items():
        in_units = [rate * per_step for rate in rates]
        median, least, greatest = statistics.median(in_units), min(in_units), max(in_units)
        line = f"{side:6} {median:,.1f} {unit}/s (min {least:,.1f}, max {greatest:,.1f})"
        if side != first:
            ratios = [a / b for a, b in zip(speeds[first], rates, strict=True)]
            line += f"   {first}/{side}: {statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})"
        print(f"{line}   loss {losses[side]:.3f} after {STEPS.value * (ROUNDS.value + 1)} steps")
    return speeds
