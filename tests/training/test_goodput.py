"""Where time goes: kinds add up to the total, and no second counts twice."""

import time

import jax
import jax.numpy as jnp
import pytest

from training import goodput


def test_kinds_add_up_to_the_total_and_inner_time_is_not_the_outers():
    clock = goodput.Clock()
    with clock.spend("train"):
        time.sleep(0.02)
        with clock.spend("input"):
            time.sleep(0.1)
    totals = clock.totals()
    assert totals["input"] >= 0.1
    assert 0.02 <= totals["train"] < totals["input"]
    assert sum(totals[kind] for kind in goodput.TIME_KINDS) == pytest.approx(totals["total"])


def test_compiling_is_a_kind_of_its_own_wherever_it_happens():
    clock = goodput.Clock()
    with clock.spend("evaluation"):
        jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x) * time.monotonic())(jnp.ones((7, 7)))
    totals = clock.totals()
    assert totals["compile"] > 0
    assert totals["evaluation"] < totals["total"]
    assert sum(totals[kind] for kind in goodput.TIME_KINDS) == pytest.approx(totals["total"])


def test_the_summary_names_what_took_time():
    totals = dict.fromkeys(goodput.TIME_KINDS, 0.0) | {"train": 7.5, "compile": 2.5, "total": 10.0}
    assert goodput.summary(totals) == "10.0 s: compile 2.5 s (25%), train 7.5 s (75%)"


@pytest.mark.parametrize(("waited", "warned"), [(0.4, False), (0.6, True)])
def test_waiting_more_than_a_twentieth_of_the_steps_is_starving(waited, warned):
    assert goodput.is_starved({"train": 10.0 - waited, "input": waited}) == warned
