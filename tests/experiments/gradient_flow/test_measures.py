"""What claims read off the arms, on arms whose numbers are known."""

import numpy as np
import pytest

from experiments.gradient_flow import measures
from experiments.gradient_flow.backward_memory import SCANNED_DEPTHS
from experiments.gradient_flow.experiment import Config
from experiments.gradient_flow.layer_gradients import LARGE_DEVIATION, VARIANTS
from training.experiment import ArmResult

DEPTHS = np.array(SCANNED_DEPTHS)


def result(arm, examined):
    """An arm of two seeds with three draws each."""
    return ArmResult(arm, Config(), 2, examined)


def straight_norms(arm, length=6):
    """Log-norms [S, N, variants, L] that are straight lines, of slope 0.1 times the variant's number."""
    slopes = 0.1 * np.arange(len(VARIANTS[arm]))
    return np.broadcast_to(slopes[:, None] * np.arange(length), (2, 3, slopes.size, length))


def test_slopes_are_those_of_the_variant():
    residual = result("residual", {"of_states": straight_norms("residual")})
    np.testing.assert_allclose(measures.slope("residual")(residual), [0.1, 0.1])
    np.testing.assert_allclose(measures.slope_difference("residual, pre-norm", "residual")(residual), [0.2, 0.2])
    np.testing.assert_allclose(measures.straightness("residual")(residual), 1.0)


def test_the_losss_own_gradient_is_no_time_step():
    norms = straight_norms("rnn").copy()
    norms[..., -1] = 100.0
    np.testing.assert_allclose(measures.slope("GRU")(result("rnn", {"of_states": norms})), [0.2, 0.2])


def test_the_lead_is_over_the_steepest_other_cell():
    rnn = result("rnn", {"of_states": straight_norms("rnn")})  # slopes 0, 0.1, ..., 0.5
    np.testing.assert_allclose(measures.lead_of_cell("LSTM, forget bias 3")(rnn), [0.1, 0.1])
    np.testing.assert_allclose(measures.lead_of_cell("Elman, sigmoid")(rnn), [-0.5, -0.5])


def test_the_power_of_depth_is_measured():
    norms = np.zeros((2, 3, 4, 9))
    norms[:, :, -1] = -0.5 * np.log(1 + np.arange(9))
    residual = result("residual", {"of_states": norms})
    np.testing.assert_allclose(measures.power_of_depth("residual, pre-norm")(residual), [-0.5, -0.5])


def test_zeros_count_in_the_first_half_only():
    norms = np.zeros((2, 3, 9, 4))
    number = VARIANTS["mlp"].index(f"tanh, {LARGE_DEVIATION}")
    norms[0, :, number, :2] = -np.inf
    norms[1, :, number, 1:] = -np.inf
    np.testing.assert_allclose(measures.early_zeros(result("mlp", {"of_weights": norms})), [1.0, 0.5])


def test_kurtosis_of_a_normal_distribution_is_3():
    values = np.random.default_rng(0).normal(size=(1, 4, 100_000))
    moments = np.stack([(values**2).mean(-1), (values**4).mean(-1)], axis=-1)
    assert measures.last_kurtosis(result("mlp", {"last_moments": moments})) == pytest.approx([3.0], abs=0.1)


def test_the_order_of_movement_has_a_sign():
    rising = np.broadcast_to(np.arange(5.0), (2, 3, 5))
    np.testing.assert_allclose(measures.movement_order(result("mlp", {"movement": rising})), [1, 1])
    np.testing.assert_allclose(measures.movement_order(result("mlp", {"movement": -rising})), [-1, -1])
    np.testing.assert_allclose(measures.first_over_last(result("mlp", {"movement": rising})), np.exp(-4))


def test_the_growth_of_memory_and_its_power():
    scans = {"saved/scan": 100.0 * DEPTHS[None] + 7, "saved/scan, remat": 20.0 * DEPTHS[None]}
    program = result("program", scans | {"compiled/scan, segments": DEPTHS[None] ** 0.5})
    np.testing.assert_allclose(measures.growth_ratio("saved", "scan, remat", "scan")(program), [0.2])
    np.testing.assert_allclose(measures.linearity("saved", "scan")(program), [1.0])
    np.testing.assert_allclose(measures.power_of_memory("compiled", "scan, segments")(program), [0.5])


def test_chains_are_reduced_over_depths_and_batch_sizes():
    chains = {"backward_chain/one": 2.0 * DEPTHS[None], "backward_chain/batch": 2.0 * DEPTHS[None] + [[0, 0, 64]]}
    program = result("program", chains)
    np.testing.assert_allclose(measures.chain_over_depth("backward", 2, np.min)(program), [1.0])
    np.testing.assert_allclose(measures.chain_over_depth("backward", 2, np.max)(program), [1.5])
