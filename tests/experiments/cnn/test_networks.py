"""MLPs of several widths as one model, and what the arms compare.

``space_networks`` and its like are covered by tests/experiments/test_cnn.py, which makes every arm's task.
"""

import jax
import numpy as np
import pytest

from experiments.cnn.networks import (
    FACTORS,
    Network,
    count_parameters,
    mlp_name,
    narrow_mlp,
    rescale_mlp,
    space_networks,
)
from models.cnn import CNN, ImageMLP


def test_a_narrowed_mlp_is_one_without_its_other_units():
    x = jax.random.normal(jax.random.key(0), (4, 3, 3, 1))
    wide, narrow = (ImageMLP(10, (3, 3, 1), hidden=(width,)) for width in (6, 2))
    params = wide.init(jax.random.key(1), x)["params"]
    first, last = params["mlp"]["layer_0"], params["mlp"]["layer_1"]
    cut = {
        "layer_0": {name: leaf[..., :2] for name, leaf in first.items()},
        "layer_1": {"kernel": last["kernel"][:2], "bias": last["bias"]},
    }
    logits = wide.apply({"params": narrow_mlp(params, 2)}, x)
    np.testing.assert_allclose(logits, narrow.apply({"params": {"mlp": cut}}, x), rtol=1e-5, atol=1e-6)


def test_the_last_kernel_of_a_rescaled_mlp_has_the_variance_for_its_units():
    model = ImageMLP(10, (1, 1, 1), hidden=(4000,))
    params = rescale_mlp(model.init(jax.random.key(0), np.zeros((1, 1, 1, 1)))["params"], 16)
    assert np.var(params["mlp"]["layer_1"]["kernel"]) == pytest.approx(2 / 16, rel=0.05)


def test_mlps_of_the_arm_space_have_the_parameters_that_their_names_say():
    networks = space_networks((8, 8, 1))
    counts = {name: count_parameters(network, (8, 8, 1)) for name, network in networks.items()}
    for factor in FACTORS:
        # One hidden unit has 75 parameters.
        assert 0 <= counts[mlp_name(factor)] - factor * counts["CNN"] < 75
    assert len({network.model for network in networks.values()}) == 2  # each of them costs a program


def test_a_width_goes_with_an_mlp_alone():
    for network in ({"model": ImageMLP()}, {"model": CNN(), "width": 3}):
        with pytest.raises(ValueError, match="an ImageMLP needs"):
            Network(**network)
