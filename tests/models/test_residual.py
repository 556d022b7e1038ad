"""Residual blocks against their definition."""

import jax
import numpy as np
import pytest

from models.mlp import MLP
from models.residual import ResidualBlock


@pytest.mark.parametrize("norm", ["none", "layernorm"])
def test_a_residual_block_adds_its_scaled_body(norm):
    block = ResidualBlock(MLP((7, 5), activation="tanh"), branch_scale=0.3, norm=norm)
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    params = block.init(jax.random.key(0), x)["params"]
    h = x
    if norm == "layernorm":
        h = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-6)
    first, second = (params["body"][f"layer_{n}"]["kernel"] for n in range(2))
    expected = x + 0.3 * np.tanh(h @ first) @ second
    np.testing.assert_allclose(block.apply({"params": params}, x), expected, atol=1e-5)


def test_unknown_norms_are_refused():
    with pytest.raises(ValueError, match="norm='batch' is not one of none, layernorm"):
        ResidualBlock(MLP((5,)), norm="batch").init(jax.random.key(0), np.ones((1, 5)))
