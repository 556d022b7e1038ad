"""Costs of an embedding: by hand as from the jaxpr, and what holds exactly."""

import numpy as np
import pytest

from experiments.embedding_layer.measures import STAGES, bytes_by_xla, costs, exactness, seconds
from probes.operations import Cost


@pytest.mark.parametrize("sizes", [(1, 2, 1), (6, 50, 4), (256, 1000, 64)])
def test_costs_by_hand_are_those_of_the_jaxpr(sizes):
    numbers = costs(*sizes)
    for kind in Cost._fields:
        for stage in STAGES:
            assert numbers[f"{kind}/{stage}"] == numbers[f"by_hand/{kind}/{stage}"], (kind, stage)


def test_the_texts_of_the_table_are_the_formulas_by_hand():
    N, V, D = 7, 1000, 16
    for stage in STAGES.values():
        for text, number in zip((stage.operations, stage.bytes), stage.by_hand(N, V, D), strict=True):
            python = text.replace("N D", "N*D").replace("V D", "V*D").replace("N V", "N*V").replace("N V*D", "N*V*D")
            for digits in ("2", "4", "8", "12", "20"):
                python = python.replace(f"{digits} N", f"{digits}*N").replace(f"{digits} V", f"{digits}*V")
            assert eval(python.replace("4 (", "4*("), {"N": N, "V": V, "D": D}) == number, text


def test_exact_statements_hold_on_random_tables():
    generator = np.random.default_rng(0)
    sample = {"table": generator.normal(size=(10, 4)), "cotangent": generator.normal(size=(6, 4))}
    sample["tokens"] = np.array([3, 7, 7, 0, 9, 3])
    measured = {name: float(value) for name, value in exactness(sample).items()}
    assert measured.pop("spoiled_product") == 1.0
    assert max(measured.values()) < 1e-14


def test_xla_counts_all_of_a_product():
    assert bytes_by_xla("one-hot product: forward", 4, 50, 8) >= 4 * (4 * 50 + 50 * 8 + 4 * 8)


def test_every_stage_is_timed():
    times = seconds(4, 20, 3, np.random.default_rng(0))
    assert set(times) == {f"seconds/{stage}" for stage in STAGES}
    assert min(times.values()) > 0
