"""What momentum, Adam, Xavier initialisation and dropout do, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.optimizers.measures import dropout_moments, fitted_rate, measure_adam, theory, variance_ratios


@pytest.mark.parametrize("kappa", [10.0, 100.0])
def test_rates_of_theory_are_the_spectral_radii_of_the_iterations(kappa):
    """One step of each method maps (x, x before) linearly; its rate is the largest modulus over eigenvalues."""
    rates, momenta, expected = theory(kappa)
    radius = np.zeros(3)
    for eigenvalue in np.linspace(1, kappa, 400):
        for i, (a, b) in enumerate(zip(rates, momenta, strict=True)):
            kept = 1 - a * eigenvalue
            step = [[(1 + b) * kept, -b * kept], [1, 0]] if i == 2 else [[kept + b, -b], [1, 0]]
            radius[i] = max(radius[i], np.abs(np.linalg.eigvals(np.array(step))).max())
    np.testing.assert_allclose(radius, expected, rtol=1e-6)


def test_a_rate_is_fitted_after_the_transient():
    steps = np.arange(2000)
    transient = 5 * 0.5**steps
    assert abs(fitted_rate(transient + 0.9**steps) - 0.9) < 1e-9
    # At a double root the distance is t rate^t; the run ends where float64 does.
    assert abs(np.log(fitted_rate(steps * 0.7**steps + transient)) / np.log(0.7) - 1) < 0.02


def test_adams_steps_on_noise_and_on_steady_gradients():
    noise = np.random.default_rng(0).normal(size=(1000, 8))
    measured = measure_adam(noise, np.geomspace(0.1, 10, 8))
    assert measured["means_error"] < 1e-12
    assert measured["first_step_error"] < 1e-6
    assert abs(measured["uncorrected_first_step"] - 0.1 / np.sqrt(0.001)) < 1e-6
    assert abs(measured["noise_size"] - np.sqrt(0.1 / 1.9)) < 0.03
    assert measured["gain_correlation"] < -0.9
    assert measured["steady_size_error"] < 1e-6


def test_variance_ratios_of_kernels_that_are_known():
    key = jax.random.key(0)
    ratios = variance_ratios(2.0 * jnp.eye(50), key, 4000)
    np.testing.assert_allclose([ratios["forward"], ratios["backward"]], 4.0, rtol=1e-5)
    np.testing.assert_allclose(ratios["largest"], 2.0 / np.sqrt(6 / 100), rtol=1e-5)
    one_column = jnp.ones((50, 1))
    ratios = variance_ratios(one_column, key, 4000)
    np.testing.assert_allclose([ratios["forward"], ratios["backward"]], [50, 1], rtol=0.1)


def test_dropout_moments_are_those_of_independent_masks():
    moments = dropout_moments(jnp.array([1.0, -2.0, 0.5]), jax.random.key(0), (0.5, 0.2), 20000)
    np.testing.assert_allclose(moments["mean_ratio"], 1, atol=0.03)
    np.testing.assert_allclose(moments["variance_of_sum"], [1.0, 0.25], rtol=0.06)
    assert moments["evaluation_change"] == 0
