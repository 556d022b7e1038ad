"""Batches that are made on the host, ahead of the devices."""

import queue
import threading

AHEAD = 2  # batches that wait while a step runs


def batches(make, start, end):
    """Yields make(step) for step = start ... end - 1; a thread makes the next ones meanwhile.

    What ``make`` raises is raised here, at its step. The thread does not outlive the generator by more than one batch,
    nor hold up the end of the process.
    """
    waiting, left = queue.Queue(AHEAD), threading.Event()

    def work():
        for step in range(start, end):
            try:
                made = (make(step), None)
            except BaseException as error:
                made = (None, error)
            while not left.is_set():
                try:
                    waiting.put(made, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if left.is_set() or made[1]:
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        for _ in range(start, end):
            batch, error = waiting.get()
            if error:
                raise error
            yield batch
    finally:
        left.set()
        thread.join(timeout=5.0)  # a thread within jax may crash the interpreter's end
