"""Timing: that the function is called as it should be, whatever the clock says."""

import jax.numpy as jnp

from probes.timing import seconds_a_call


def test_the_function_gets_its_arguments_and_the_time_is_positive():
    seen = []

    def function(x, y):
        seen.append((x, y))
        return x + y

    assert seconds_a_call(function, jnp.float32(1), jnp.float32(2)) > 0
    assert len(seen) >= 7  # two calls to warm up, and one a loop
    assert {(float(x), float(y)) for x, y in seen} == {(1.0, 2.0)}


def test_a_function_that_replaces_its_first_argument_gets_its_own_result():
    seen = []

    def function(x, step):
        seen.append(float(x))
        return x + step

    seconds_a_call(function, jnp.float32(0), jnp.float32(1), replaces_first=True)
    assert seen == list(range(len(seen)))
