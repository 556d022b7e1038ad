"""What holds exactly of networks of images, and the hand formula of a convolution's weight gradient."""

import numpy as np

from experiments.cnn.image_identities import NORMS, measure_exact, weight_gradient


def test_the_exact_statements_hold_and_the_control_does_not():
    measured = measure_exact()
    for name in ("linearity_error", "shift_error", "weight_gradient_error", "permuted_mlp_error"):
        assert measured[name] < 1e-10, name
    assert measured["norm_mismatch"] == 0
    assert measured["norm_moments_error"] < 1e-4
    assert measured["evaluation_reads_others"] < 1e-10
    assert measured["permuted_convolution_change"] > 1  # a convolution does not commute with a permutation
    depends = {kind: measured[f"reach/{kind}"] > 0 for kind in NORMS}
    assert depends["batch"].sum() == 3
    assert depends["layer"].sum() == 8
    assert depends["instance"].sum() == 1
    assert depends["group"].sum() == 2


def test_the_weight_gradient_of_one_output_is_the_patch_that_it_saw():
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3))
    cotangent = np.zeros((2, 4, 5, 2))
    cotangent[1, 2, 3, 0], cotangent[0, 0, 0, 1] = 1.0, 2.0
    gradient = weight_gradient(x, cotangent, 3)
    np.testing.assert_allclose(gradient[..., 0], x[1, 1:4, 2:5])
    corner = np.zeros((3, 3, 3))
    corner[1:, 1:] = 2 * x[0, :2, :2]
    np.testing.assert_allclose(gradient[..., 1], corner)
