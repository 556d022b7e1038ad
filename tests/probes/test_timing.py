"""Timing: that the function is called as it should be, whatever the clock says."""

import jax.numpy as jnp

from probes.timing import seconds_a_call


def test_the_function_gets_its_arguments_and_the_time_is_positive():
    calls = []

    def function(x, y):
        calls.append((x, y))
        return x + y

    assert seconds_a_call(function, jnp.float32(1), jnp.float32(2)) > 0
    assert len(calls) >= 7  # two calls to warm up, and one a loop
    assert {(float(x), float(y)) for x, y in calls} == {(1.0, 2.0)}


def test_a_function_that_replaces_its_first_argument_gets_its_own_result():
    calls = []

    def function(x, step):
        calls.append(float(x))
        return x + step

    seconds_a_call(function, jnp.float32(0), jnp.float32(1), replaces_first=True)
    assert calls == list(range(len(calls)))
