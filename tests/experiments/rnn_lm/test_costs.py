"""Operations of recurrent networks, counted by hand."""

import pytest

from experiments.rnn_lm.costs import exponent, operations, operations_of_a_step
from models.rnn_lm import RecurrentConfig


def test_costs_of_a_step_are_its_products():
    """At widths where products are all that counts: 6 operations for each weight."""
    config = RecurrentConfig(4000, "elman_sigmoid", width=300, d_embedding=200)
    weights = 4000 * 300 + 300 * 300 + 300 * 200
    assert operations_of_a_step(config) == pytest.approx(6 * weights, rel=0.02)


def test_operations_grow_with_length_as_a_line():
    config = RecurrentConfig(20, "elman_sigmoid", width=8, d_embedding=8)
    costs = [operations(config, T) for T in (4, 8, 12)]
    assert costs[2] - costs[1] == costs[1] - costs[0] == 4 * operations_of_a_step(config)
    assert exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
