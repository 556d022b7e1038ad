"""Wall time of compiled functions, on the host's clock."""

import time

import jax

NUM_LOOPS, LOOP_SECONDS = 5, 0.02


def seconds_a_call(function, *args, replaces_first=False):
    """The wall time of a call in seconds, dispatch included: the least of the mean times of several loops of calls.

    The least is taken because other programs can only add to the time. A loop lasts at least about ``LOOP_SECONDS`` and
    makes at least one call; compilation and the first call are left out. With ``replaces_first`` each call gets the
    previous call's result as its first argument, as a function needs to whom that argument is donated.
    """

    def time_calls(first, num_calls):
        start = time.perf_counter()
        for _ in range(num_calls):
            result = function(first, *args[1:])
            first = result if replaces_first else first
        jax.block_until_ready(result)
        return first, (time.perf_counter() - start) / num_calls

    first, _ = time_calls(args[0], 1)
    first, seconds = time_calls(first, 1)
    num_calls, means = max(1, min(1000, int(LOOP_SECONDS / seconds))), []
    for _ in range(NUM_LOOPS):
        first, mean = time_calls(first, num_calls)
        means.append(mean)
    return min(means)
