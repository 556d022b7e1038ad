"""Progress where there is no terminal: a line now and then, and one at the end."""

import re

from training import progress


def test_a_line_now_and_then_and_one_at_the_end(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 2.0, 12.0, 13.0, 15.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.Progress("plain", 0, 100) as bar:
        for step in (10, 20, 70, 80, 100):  # the first dispatch compiles: speed is counted from step 10 on
            bar.update(step, loss=0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "plain: step 70/100  loss 0.5000  5.5 steps/s  6 s left"
    assert re.fullmatch(r"plain: step 100/100  loss 0.5000  6.4 steps/s  0 s left", lines[1])
    assert len(lines) == 2
