"""Two or more programs side by side: each in a process of its own, pinned to the same cores, taking turns.

A slow moment of the machine meets all of them, so ratios within a turn say more than speeds.
"""

import multiprocessing
import os
import statistics
import sys
import time

from absl import flags

ROUNDS = flags.DEFINE_integer("rounds", 20, "turns of each side", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 50, "training steps a turn", lower_bound=1)
THREADS = flags.DEFINE_integer("threads", 2, "threads, and cores, of each side", lower_bound=1)


def engine(task, seed=0, compile_first=False):
    """(steps -> loss of the last ones, () -> the state that they left), by this project's engine on one device."""
    from training import parallel
    from training.step import without_sums

    single = parallel.choose("single")
    train_steps = parallel.train_steps(single, task, num_seeds=1)
    if compile_first:
        train_steps(without_sums(parallel.initial(single, task, [seed])), 1)
    state = parallel.initial(single, task, [seed])

    def run_steps(steps):
        nonlocal state
        state = train_steps(without_sums(state), steps)
        total, weight = state.sums["loss"]
        return float(total / weight)

    return run_steps, lambda: state


def pin():
    """Keeps this process to the first THREADS cores: XLA takes its number of threads from the cores that it may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: THREADS.value])


def _serve(make, arguments, connection):
    """Answers each number of steps with (steps per second, loss), until told None."""
    flags.FLAGS(arguments)
    pin()
    run = make()
    while (steps := connection.recv()) is not None:
        start = time.perf_counter()
        loss = run(steps)
        connection.send((steps / (time.perf_counter() - start), loss))


def compare(sides, unit="steps", per_step=1):
    """Prints the speed of every side, and the first's over each of the others': the median of the ratios of turns.

    Args:
      sides: {name: a function of this or another module that makes (steps -> loss of the last ones)}.
      unit, per_step: what is counted, and how many of it a step is worth.
    Returns:
      {name: steps/s of each turn}.
    """
    context = multiprocessing.get_context("spawn")  # a forked JAX or OpenMP can hang
    ends = {}
    for side, make in sides.items():
        ends[side], theirs = context.Pipe()
        context.Process(target=_serve, args=(make, sys.argv, theirs), daemon=True).start()
        theirs.close()  # so that a side that stops closes the last end, and is noticed
    speeds, losses = {side: [] for side in ends}, {}
    for turn in range(ROUNDS.value + 1):
        for side, end in ends.items():
            try:
                end.send(STEPS.value)
                speed, losses[side] = end.recv()
            except (EOFError, ConnectionError):
                sys.exit(f"The side {side!r} stopped: its error is above.")
            if turn:  # turn 0 compiles and warms up
                speeds[side].append(speed)
    for end in ends.values():
        end.send(None)
    first = next(iter(sides))
    for side, rates in speeds.items():
        shown = [rate * per_step for rate in rates]
        line = f"{side:6} {statistics.median(shown):,.1f} {unit}/s (min {min(shown):,.1f}, max {max(shown):,.1f})"
        if side != first:
            ratios = [a / b for a, b in zip(speeds[first], rates, strict=True)]
            line += f"   {first}/{side}: {statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})"
        print(f"{line}   loss {losses[side]:.3f} after {STEPS.value * (ROUNDS.value + 1)} steps")
    return speeds
