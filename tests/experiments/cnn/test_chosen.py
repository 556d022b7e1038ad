"""Networks whose kind of norm, width or dropout is a number are the networks that have it as an attribute."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.cnn.chosen import choosing
from models.cnn import CNN, ImageMLP
from models.normalization import KINDS


def test_one_program_for_all_norms_computes_what_each_norm_computes():
    """In training and in evaluation, and the running averages too."""
    x = jax.random.normal(jax.random.key(0), (3, 4, 4, 1))
    chosen = CNN(image_shape=(4, 4, 1), norm_place="convolution")
    variables = chosen.init(jax.random.key(1), x)
    variables = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.arange(leaf.size).reshape(leaf.shape) / leaf.size, variables)

    @jax.jit
    def by_number(norm):
        with nn.intercept_methods(choosing(norm)):
            return chosen.apply(variables, x, True, mutable=["batch_stats"]), chosen.apply(variables, x)

    @jax.jit
    def by_attribute():
        found = {}
        for kind in KINDS:
            model = chosen.clone(norm=kind)
            found[kind] = model.apply(variables, x, True, mutable=["batch_stats"]), model.apply(variables, x)
        return found

    for kind, ((expected, new), expected_later) in by_attribute().items():
        (logits, stats), later = by_number(KINDS.index(kind))
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(later, expected_later, rtol=1e-4, atol=1e-5)
        if kind == "batch":
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), stats, new)


def test_a_narrower_mlp_is_one_whose_other_units_are_zero():
    x = jax.random.normal(jax.random.key(0), (4, 3, 3, 1))
    wide, narrow = (ImageMLP(10, (3, 3, 1), hidden=(width,)) for width in (6, 2))
    params = wide.init(jax.random.key(1), x)["params"]
    cut = {
        "layer_0": {name: leaf[..., :2] for name, leaf in params["mlp"]["layer_0"].items()},
        "layer_1": {"kernel": params["mlp"]["layer_1"]["kernel"][:2], "bias": params["mlp"]["layer_1"]["bias"]},
    }
    with nn.intercept_methods(choosing(width=2)):
        found = wide.apply({"params": params}, x)
    np.testing.assert_allclose(found, narrow.apply({"params": {"mlp": cut}}, x), rtol=1e-5, atol=1e-6)


def test_dropout_keeps_the_mean_and_drops_the_share_that_is_asked_for():
    x = jnp.ones((1000, 2, 2, 1))
    model = CNN(image_shape=(2, 2, 1), channels=(), norm="none")
    params = {"linear": {"kernel": jnp.eye(4, 10), "bias": jnp.zeros(10)}}
    with nn.intercept_methods(choosing(rng=jax.random.key(0), dropout=0.25)):
        found = np.asarray(model.apply({"params": params}, x))[:, :4]
    assert set(np.unique(found).round(4)) == {0.0, np.float32(4 / 3).round(4)}
    assert found.mean() == pytest.approx(1, abs=0.03)


def test_a_batch_of_one_is_refused_in_training():
    x = jnp.ones((1, 4, 4, 1))
    model = CNN(image_shape=(4, 4, 1))
    stats = {"norm_0": {"mean": jnp.zeros(8), "var": jnp.ones(8)}}
    kernel, linear = jnp.ones((3, 3, 1, 8)), {"kernel": jnp.ones((16, 10)), "bias": jnp.ones(10)}
    params = {"convolution_0": {"kernel": kernel, "bias": jnp.ones(8)}, "linear": linear}
    variables = {"params": params, "batch_stats": stats}
    with nn.intercept_methods(choosing(0)), pytest.raises(ValueError, match="batch of 1"):
        model.apply(variables, x, True, mutable=["batch_stats"])


@pytest.mark.slow
def test_statistics_are_those_of_the_global_batch():
    """Rows split over a named axis, as pmap splits them, and two devices with one row each."""
    model = CNN(image_shape=(4, 4, 1), norm_place="convolution")
    for rows in (3, 1):
        x_DB = jax.random.normal(jax.random.key(0), (2, rows, 4, 4, 1)) + jnp.arange(2).reshape(2, 1, 1, 1, 1)
        variables = model.init(jax.random.key(1), jnp.zeros((2, 4, 4, 1)))

        def train(x, norm, variables=variables):
            with nn.intercept_methods(choosing(norm)):
                return model.apply(variables, x, True, mutable=["batch_stats"])

        of_devices = jax.vmap(jax.vmap(train, (0, None), axis_name="data"), (None, 0))
        for kind, number in (("batch", KINDS.index("batch")), ("group", KINDS.index("group"))):
            logits, new = of_devices(x_DB, jnp.array([number]))
            together, stats = train(x_DB.reshape(-1, 4, 4, 1), number)
            np.testing.assert_allclose(logits[0].reshape(together.shape), together, rtol=1e-4, atol=1e-5)
            if kind == "batch":  # of other kinds the averages mean nothing
                for device in (0, 1):
                    jax.tree.map(
                        lambda a, b, device=device: np.testing.assert_allclose(a[0, device], b, rtol=1e-4, atol=1e-6),
                        new,
                        stats,
                    )
