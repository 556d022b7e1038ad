"""SGD and its misreadings against recorded steps of PyTorch."""

from experiments.optimizers.sgd_flags import compare_with_torch


def test_the_recorded_steps_are_pytorchs_and_the_misreadings_are_not():
    measured = compare_with_torch()
    assert measured["torch_error"] < 1e-12
    assert measured["flipped_error_without_decay"] < 1e-12
    assert measured["misread_dampening_error"] > 1e-2
    assert measured["flipped_error_with_decay"] > 1e-2
    assert measured["decaying"][-1] < 1 < measured["growing"][-1]
