"""Where an arm's time went: compiling, training, evaluating, saving, waiting for input."""

import contextlib
import time

import jax

KINDS = ("compile", "train", "evaluation", "checkpoint", "input", "other")
MOST_INPUT = 0.05  # share of a step's time that waiting for its batch may take without a warning

# Lowering and XLA. Tracing reports itself too, but inner functions twice; it counts with what it is traced for.
COMPILING = ("/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration")

_compiled = [0.0]  # seconds of this process


def _listen(event, seconds, **_):
    if event in COMPILING:
        _compiled[0] += seconds


jax.monitoring.register_event_duration_secs_listener(_listen)


class Clock:
    """Adds up seconds by kind. Time of an inner ``spend``, and time spent in compiling, is not the outer one's."""

    def __init__(self):
        self.seconds = dict.fromkeys(KINDS, 0.0)
        self.began, self.compiled_before = time.monotonic(), _compiled[0]
        self.inner = [(0.0, 0.0)]  # seconds, and those of compiling, spent within the ``spend`` that is open

    @contextlib.contextmanager
    def spend(self, kind):
        began, compiled_before = time.monotonic(), _compiled[0]
        self.inner.append((0.0, 0.0))
        try:
            yield
        finally:
            total, compiling = time.monotonic() - began, _compiled[0] - compiled_before
            inner_total, inner_compiling = self.inner.pop()
            self.seconds[kind] += total - inner_total - (compiling - inner_compiling)
            outer_total, outer_compiling = self.inner.pop()
            self.inner.append((outer_total + total, outer_compiling + compiling))

    def totals(self):
        """{kind: seconds} so far, and their sum as "total"."""
        total = time.monotonic() - self.began
        seconds = self.seconds | {"compile": _compiled[0] - self.compiled_before}
        seconds["other"] = max(total - sum(seconds.values()), 0.0)
        return seconds | {"total": total}


def summary(totals):
    """One line: each kind of any length with its share of the total."""
    parts = [
        f"{kind} {totals[kind]:.1f} s ({totals[kind] / totals['total']:.0%})" for kind in KINDS if totals[kind] >= 0.05
    ]
    return f"{totals['total']:.1f} s: " + ", ".join(parts)


def starved(totals):
    """Whether training waits for input more than a little."""
    return totals["input"] > MOST_INPUT * (totals["train"] + totals["input"])
