"""What was measured: metrics.jsonl, one strict JSON object a line, and the same in TensorBoard.

Lines are {"step", "split", "seed" where there are several, name: value}. The splits are "train" (means since the line
before), "eval", "probe" (arrays as nested lists) and "time" (seconds of a process by kind, see goodput.py). The file is
the only record: results are read back from it.
"""

import contextlib
import json
import math

import numpy as np
from etils import epath

from training import files
from training.events import Events
from training.experiment import History, RunFailed
from training.processes import is_first

SPLITS = ("train", "eval", "probe", "time")


def jsonable(value):
    """Numbers and arrays as strict JSON: lists of floats, None where not finite."""
    if isinstance(value, dict):
        return {name: jsonable(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class Writer:
    """Appends to an arm's metrics.jsonl and TensorBoard events; use as a context. Only the first process writes.

    In a bucket, where nothing can be appended to, metrics.jsonl is written whole each time and there are no events.
    """

    def __init__(self, folder, seeds, saved_step=None):
        """Opens for the steps after ``saved_step``, from which training goes on; where it is None, for all.

        Lines of those steps, which a killed run left behind, are dropped.
        """
        self.seeds, self.events, self.file = seeds, None, None
        self.path = epath.Path(folder) / "metrics.jsonl"
        if not is_first():
            return
        lines = [] if saved_step is None else [line for line in _lines(self.path) if line["step"] <= saved_step]
        self.text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        files.write_whole(self.path, self.text)
        if files.is_remote(folder):
            return
        self.file = self.path.open("a")
        self.events = Events(epath.Path(folder), purge_step=saved_step + 1 if lines else None)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.file:
            with contextlib.suppress(OSError):
                self.events.close()
            with contextlib.suppress(OSError):
                self.file.close()

    def write(self, step, split, values):
        """Appends one line a seed; ``values`` is {name: [S, ...]}. Raises RunFailed where they cannot be written."""
        if not is_first():
            return
        text = "".join(self._line(step, split, values, i, seed) for i, seed in enumerate(self.seeds))
        try:
            if not self.file:
                self.text += text
                files.write_whole(self.path, self.text)
                return
            self.file.write(text)
            self.file.flush()
            for i, seed in enumerate(self.seeds):
                suffix = f"/seed_{seed}" if len(self.seeds) > 1 else ""
                scalars = {f"{split}/{name}{suffix}": float(v[i]) for name, v in values.items() if np.ndim(v) == 1}
                self.events.write_scalars(step, scalars)
        except OSError as error:
            raise RunFailed(
                f"{self.path} could not be written at step {step}: {error.strerror or error}; once there is space the "
                "same command goes on"
            ) from error

    def _line(self, step, split, values, i, seed):
        line = {"step": step, "split": split}
        if len(self.seeds) > 1:
            line["seed"] = seed
        line |= {name: jsonable(np.asarray(v)[i]) for name, v in values.items()}
        return json.dumps(line, allow_nan=False) + "\n"


def _lines(path):
    """The whole lines of a metrics file; a last line that a kill cut short is left out."""
    lines = []
    if path.exists():
        for text in path.read_text().splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
    return lines


def read(arm_folder, num_seeds, up_to=None):
    """{split: History} of an arm, from its metrics.jsonl."""
    lines = [x for x in _lines(epath.Path(arm_folder) / "metrics.jsonl") if up_to is None or x["step"] <= up_to]
    return {split: _history([x for x in lines if x["split"] == split], num_seeds) for split in SPLITS}


def _history(lines, num_seeds):
    lines = lines[: len(lines) // num_seeds * num_seeds]
    steps = np.array([line["step"] for line in lines[::num_seeds]], int)
    names = [name for name in (lines[0] if lines else {}) if name not in ("step", "split", "seed")]

    def array(name):
        values = np.array([line[name] for line in lines], float)
        return values.reshape(len(steps), num_seeds, *values.shape[1:])

    return History(steps, {name: array(name) for name in names})
