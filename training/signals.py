"""SIGINT and SIGTERM: noticed at once, obeyed as soon as the state can be saved, and within ten seconds in any case."""

import contextlib
import os
import signal
import sys
import threading
import time

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECONDS_TO_END = 8.0  # from a signal to the end, whatever the program is in the middle of
SECONDS_OF_ONE_SIGNAL = 1.0  # timeout(1) and mpirun signal a process, then its group: these are not two wishes

_signal_came = threading.Event()


@contextlib.contextmanager
def catch():
    """Makes ``has_come`` tell of the signals that come within; a second one ends the process at once.

    A thread hears of a signal even while the main thread compiles: where the main thread has not ended in time, the
    process ends there, its last checkpoint standing.
    """
    _signal_came.clear()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    has_ended = threading.Event()
    previous_handlers = {number: signal.signal(number, lambda number, frame: _signal_came.set()) for number in SIGNALS}
    previous_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(reader, has_ended), daemon=True)
    listener.start()
    try:
        yield
    finally:
        has_ended.set()
        _signal_came.clear()
        signal.set_wakeup_fd(previous_fd)
        for number, handler in previous_handlers.items():
            # None: a handler that was not installed from Python.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        os.close(writer)
        listener.join()
        os.close(reader)


def _listen(reader, has_ended):
    first = None
    while byte := os.read(reader, 1):
        if byte[0] not in SIGNALS:
            continue
        now = time.monotonic()
        if first is None:
            first = now
            threading.Thread(target=_end_in_time, args=(has_ended,), daemon=True).start()
        elif now - first > SECONDS_OF_ONE_SIGNAL:
            _end("a second signal: ended at once; the last checkpoint stands")


def _end_in_time(has_ended):
    if not has_ended.wait(SECONDS_TO_END):
        _end(f"interrupted, and not able to save within {SECONDS_TO_END:.0f} s; the last checkpoint stands")


def _end(line):
    print(line, file=sys.stderr, flush=True)
    os._exit(130)


def has_come():
    """Whether SIGINT or SIGTERM has come."""
    return _signal_came.is_set()
