"""Wall time of compiled functions, on the host's clock."""

import time

import jax

LOOPS, SECONDS = 5, 0.02


def seconds_a_call(function, *args, replaces_first=False):
    """The wall time of a call in seconds, dispatch included: the least mean over several loops of calls.

    The least, because other programs can only add to it. A loop lasts at least about ``SECONDS``, and has one call at
    least; compilation and the first call are left out. A function that replaces its first argument (one that it was
    donated, say) gets its own result in the next call.
    """

    def loop(first, calls):
        began = time.perf_counter()
        for _ in range(calls):
            result = function(first, *args[1:])
            first = result if replaces_first else first
        jax.block_until_ready(result)
        return first, (time.perf_counter() - began) / calls

    first, _ = loop(args[0], 1)
    first, once = loop(first, 1)
    calls, means = max(1, min(1000, int(SECONDS / once))), []
    for _ in range(LOOPS):
        first, mean = loop(first, calls)
        means.append(mean)
    return min(means)
