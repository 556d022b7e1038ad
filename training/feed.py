"""Batches that are made on the host, ahead of the devices."""

import queue
import threading

BATCHES_AHEAD = 2  # that wait while a step runs


def batches(make, start, end):
    """Yields make(step) for step = start ... end - 1; a thread makes the next ones meanwhile.

    What ``make`` raises is raised here, at its step. The thread does not outlive the generator by more than one batch,
    nor hold up the end of the process.
    """
    results, stop = queue.Queue(BATCHES_AHEAD), threading.Event()  # results are (batch, error)

    def work():
        for step in range(start, end):
            try:
                result = (make(step), None)
            except BaseException as error:
                result = (None, error)
            while not stop.is_set():
                try:
                    results.put(result, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if stop.is_set() or result[1]:
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        for _ in range(start, end):
            batch, error = results.get()
            if error:
                raise error
            yield batch
    finally:
        stop.set()
        thread.join(timeout=5.0)  # a thread within jax may crash the interpreter's end
