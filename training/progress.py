"""Progress of one arm: a bar on a terminal, plain lines elsewhere."""

import sys
import time

from training.processes import is_first

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows an arm's step, loss, speed and time left; use as a context."""

    def __init__(self, arm, start, num_steps):
        self.arm, self.start, self.num_steps = arm, start, num_steps
        self.start_time, self.last_line = None, time.monotonic()
        self.bar, self.is_silent = None, not is_first()
        if self.is_silent:
            return
        if sys.stderr.isatty() and start < num_steps:
            from tqdm import tqdm

            self.bar = tqdm(total=num_steps, initial=start, desc=arm, unit="step", dynamic_ncols=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.bar:
            self.bar.close()

    def update(self, step, loss):
        """Reports that ``step`` was reached with this training loss."""
        if self.is_silent:
            return
        if self.bar:
            self.bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            self.bar.update(step - self.bar.n)
            return
        now = time.monotonic()
        if self.start_time is None:  # speed is counted from here: the first dispatch compiles
            self.start_time, self.start = now, step
            return
        if step < self.num_steps and now - self.last_line < SECONDS_BETWEEN_LINES:
            return
        self.last_line = now
        speed = (step - self.start) / (now - self.start_time)
        seconds_left = (self.num_steps - step) / speed
        say(
            f"{self.arm}: step {step}/{self.num_steps}  loss {loss:.4f}  {speed:.1f} steps/s  {seconds_left:.0f} s left"
        )


def say(line):
    """One plain line on stderr; stdout is for results."""
    print(line, file=sys.stderr, flush=True)
