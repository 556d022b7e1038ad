"""Where an arm's time went: compiling, training, evaluating, saving, waiting for input."""

import contextlib
import time

import jax

TIME_KINDS = ("compile", "train", "evaluation", "checkpoint", "input", "other")
MOST_INPUT = 0.05  # share of a step's time that waiting for its batch may take without a warning

# Lowering and XLA. Tracing reports itself too, but inner functions twice; it counts with what it is traced for.
COMPILE_EVENTS = ("/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration")

_compile_seconds = [0.0]  # of this process


def _listen(event, seconds, **_):
    if event in COMPILE_EVENTS:
        _compile_seconds[0] += seconds


jax.monitoring.register_event_duration_secs_listener(_listen)


class Clock:
    """Adds up seconds by kind. Time of an inner ``spend``, and time spent in compiling, is not the outer one's."""

    def __init__(self):
        self.seconds = dict.fromkeys(TIME_KINDS, 0.0)
        self.start, self.compile_start = time.monotonic(), _compile_seconds[0]
        self.inner = [(0.0, 0.0)]  # seconds, and those of compiling, spent within the ``spend`` that is open

    @contextlib.contextmanager
    def spend(self, kind):
        """Adds the time that is spent within to a kind."""
        start, compile_start = time.monotonic(), _compile_seconds[0]
        self.inner.append((0.0, 0.0))
        try:
            yield
        finally:
            total, compiling = time.monotonic() - start, _compile_seconds[0] - compile_start
            inner_total, inner_compiling = self.inner.pop()
            self.seconds[kind] += total - inner_total - (compiling - inner_compiling)
            outer_total, outer_compiling = self.inner.pop()
            self.inner.append((outer_total + total, outer_compiling + compiling))

    def totals(self):
        """{kind: seconds} so far, and their sum as "total"."""
        total = time.monotonic() - self.start
        seconds = self.seconds | {"compile": _compile_seconds[0] - self.compile_start}
        seconds["other"] = max(total - sum(seconds.values()), 0.0)
        return seconds | {"total": total}


def summary(totals):
    """One line: each kind of any length with its share of the total."""
    parts = [
        f"{kind} {totals[kind]:.1f} s ({totals[kind] / totals['total']:.0%})"
        for kind in TIME_KINDS
        if totals[kind] >= 0.05
    ]
    return f"{totals['total']:.1f} s: " + ", ".join(parts)


def is_starved(totals):
    """Whether training waits for input more than a little."""
    return totals["input"] > MOST_INPUT * (totals["train"] + totals["input"])
