"""Batches that are made on the host, ahead of the devices."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

AHEAD = 2  # batches that wait while a step runs


def batches(make, start, end):
    """Yields make(step) for step = start ... end - 1; a thread makes the next ones meanwhile.

    What ``make`` raises is raised here, at its step.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(make, step) for step in range(start, min(start + AHEAD, end)))
        for step in range(start, end):
            if step + AHEAD < end:
                waiting.append(pool.submit(make, step + AHEAD))
            yield waiting.popleft().result()
