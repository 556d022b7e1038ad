"""What the claims about gradients by layer are made of."""

from types import SimpleNamespace

import numpy as np
import pytest

import experiments
from experiments.gradient_flow import experiment as gradient_flow
from experiments.gradient_flow import gradient_identities
from training.config import override

SMALL = {
    "num_draws": 2,
    "batch_size": 4,
    "width": 8,
    "num_layers": 4,
    "num_blocks": 4,
    "num_channels": 2,
    "image_size": 3,
    "cell_width": 4,
    "num_time_steps": 5,
    "num_updates": 2,
}


def result(part, **examined):
    """An arm of two seeds with three draws each."""
    return SimpleNamespace(config=override(gradient_flow.EXPERIMENT.config, SMALL | {"part": part}), examined=examined)


def straight_norms(part, length=6):
    """Log-norms [S, N, variants, L] that are straight lines, of slope 0.1 times the variant's number."""
    slopes = 0.1 * np.arange(len(gradient_flow.VARIANTS[part]))
    return np.broadcast_to(slopes[:, None] * np.arange(length), (2, 3, slopes.size, length))


def test_slopes_are_those_of_the_variant():
    one = result("residual", of_states=straight_norms("residual"))
    np.testing.assert_allclose(gradient_flow.slope("residual")(one), [0.1, 0.1])
    np.testing.assert_allclose(gradient_flow.difference("residual, pre-norm", "residual")(one), [0.2, 0.2])
    np.testing.assert_allclose(gradient_flow.straightness("residual")(one), 1.0)


def test_the_power_of_depth_is_found():
    norms = np.zeros((2, 3, 4, 9))
    norms[:, :, -1] = -0.5 * np.log(1 + np.arange(9))
    np.testing.assert_allclose(gradient_flow.power_of_depth(result("residual", of_states=norms)), [-0.5, -0.5])


def test_zeros_count_in_the_first_half_only():
    norms = np.zeros((2, 3, 9, 4))
    number = gradient_flow.VARIANTS["mlp"].index("tanh, N(0,1) x 1000")
    norms[0, :, number, :2] = -np.inf
    norms[1, :, number, 1:] = -np.inf
    np.testing.assert_allclose(gradient_flow.early_zeros(result("mlp", of_weights=norms)), [1.0, 0.5])


def test_kurtosis_of_a_normal_distribution_is_3():
    values = np.random.default_rng(0).normal(size=(1, 4, 100_000))
    moments = np.stack([(values**2).mean(-1), (values**4).mean(-1)], axis=-1)
    assert gradient_flow.last_kurtosis(result("mlp", last_moments=moments)) == pytest.approx([3.0], abs=0.1)


def test_the_order_of_movement_has_a_sign():
    rising = np.broadcast_to(np.arange(5.0), (2, 3, 5))
    np.testing.assert_allclose(gradient_flow.movement_order(result("mlp", movement=rising)), [1, 1])
    np.testing.assert_allclose(gradient_flow.movement_order(result("mlp", movement=-rising)), [-1, -1])
    np.testing.assert_allclose(gradient_flow.first_over_last(result("mlp", movement=rising)), np.exp(-4))


def test_the_growth_of_memory_and_its_power():
    depths = np.array(gradient_flow.SCANNED_DEPTHS)
    one = result("program", **{"saved/scan": 100.0 * depths[None] + 7, "saved/scan, remat": 20.0 * depths[None]})
    np.testing.assert_allclose(gradient_flow.growth_ratio("saved", "scan, remat", "scan")(one), [0.2])
    np.testing.assert_allclose(gradient_flow.linearity("saved", "scan")(one), [1.0])
    one = result("program", **{"compiled/scan, segments": depths[None] ** 0.5})
    np.testing.assert_allclose(gradient_flow.segment_exponent(one), [0.5])


def test_exact_statements_hold():
    found = gradient_flow.measure_exact()
    for name in ("sigmoid_error", "residual_jacobian_error"):
        assert found[name] <= gradient_flow.EXACT
    assert found["sigmoid_greatest"] == 0.25  # at zero, which is among the points
    assert found["layernorm_reads_other_rows"] == 0.0 < found["batchnorm_reads_other_rows"]
    np.testing.assert_allclose(found["linear_rnn_slopes"], np.log(gradient_identities.RADII), atol=0.01)


@pytest.mark.parametrize(("field", "message"), [("num_draws", "at least 1"), ("num_layers", "at least 3")])
def test_sizes_that_give_no_slope_are_refused(field, message):
    config = override(experiments.load("gradient_flow").config, {field: 0})
    with pytest.raises(ValueError, match=f"{field}=0 must be {message}"):
        gradient_flow.task(config)
