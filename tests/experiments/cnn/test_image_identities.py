"""What holds exactly of networks of images, and the hand formula of a convolution's weight gradient."""

import numpy as np

from experiments.cnn.image_identities import NORMS, measure_exact, weight_gradient
from experiments.cnn.image_views import accuracy_by_shift, permuted, shifts_by


def test_the_exact_statements_hold_and_the_control_does_not():
    found = measure_exact()
    for name in ("linearity_error", "shift_error", "weight_gradient_error", "permuted_mlp_error"):
        assert found[name] < 1e-10, name
    assert found["norm_mismatch"] == 0
    assert found["norm_moments_error"] < 1e-4
    assert found["evaluation_reads_others"] < 1e-10
    assert found["permuted_convolution_change"] > 1  # a convolution does not commute with a permutation
    depends = {kind: found[f"reach/{kind}"] > 0 for kind in NORMS}
    assert depends["batch"].sum() == 3
    assert depends["layer"].sum() == 8
    assert depends["instance"].sum() == 1
    assert depends["group"].sum() == 2


def test_the_weight_gradient_of_one_output_is_the_patch_that_it_saw():
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3))
    cotangent = np.zeros((2, 4, 5, 2))
    cotangent[1, 2, 3, 0], cotangent[0, 0, 0, 1] = 1.0, 2.0
    found = weight_gradient(x, cotangent, 3)
    np.testing.assert_allclose(found[..., 0], x[1, 1:4, 2:5])
    corner = np.zeros((3, 3, 3))
    corner[1:, 1:] = 2 * x[0, :2, :2]
    np.testing.assert_allclose(found[..., 1], corner)


def test_permuted_pixels_keep_their_channels_together():
    images = np.arange(2 * 2 * 3 * 2).reshape(2, 2, 3, 2)
    found = np.asarray(permuted(images, np.array([5, 0, 1, 2, 3, 4])))
    np.testing.assert_array_equal(found[:, 0, 0], images[:, 1, 2])
    np.testing.assert_array_equal(found[:, 1, 2], images[:, 1, 1])


def test_shifts_are_averaged_by_distance():
    shifts = shifts_by((1, 3))
    assert len(shifts) == 9
    right = np.array([1.0, *[0.8] * 2, *[0.6] * 2, *[0.2] * 4])
    np.testing.assert_allclose(accuracy_by_shift(right, shifts), [1.0, 0.7, 0.2], rtol=1e-6)
