"""Batches made ahead: in order, errors at their step, and no thread left behind."""

import threading
import time

import pytest

from training import feed


def test_batches_come_in_order_and_are_made_ahead():
    made = []

    def make(step):
        made.append(step)
        return step * 10

    batches = feed.batches(make, 3, 9)
    assert next(batches) == 30
    limit = time.monotonic() + 10
    while len(made) < 2 and time.monotonic() < limit:
        time.sleep(0.01)
    assert len(made) >= 2
    assert list(batches) == [40, 50, 60, 70, 80]
    assert made == [3, 4, 5, 6, 7, 8]


def test_an_error_comes_at_its_own_step():
    def make(step):
        if step == 2:
            raise OSError("the file is gone")
        return step

    batches = feed.batches(make, 0, 5)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(OSError, match="the file is gone"):
        next(batches)


def test_a_generator_that_is_left_ends_its_thread():
    before = threading.active_count()
    batches = feed.batches(lambda step: step, 0, 1000)
    next(batches)
    batches.close()
    limit = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < limit:
        time.sleep(0.01)
    assert threading.active_count() == before
