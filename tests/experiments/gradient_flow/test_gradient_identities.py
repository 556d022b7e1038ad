"""Statements about gradients that are exact."""

import numpy as np

from experiments.gradient_flow.gradient_identities import RADII, measure_exact
from reporting.claims import EXACT


def test_exact_statements_hold():
    measured = measure_exact()
    for name in ("sigmoid_error", "residual_jacobian_error"):
        assert measured[name] <= EXACT
    assert measured["sigmoid_greatest"] == 0.25  # at zero, which is among the points
    assert measured["layernorm_reads_other_rows"] == 0.0 < measured["batchnorm_reads_other_rows"]
    np.testing.assert_allclose(measured["linear_rnn_slopes"], np.log(RADII), atol=0.01)
