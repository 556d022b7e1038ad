"""Normalisations against their definition, and one program for all kinds against each kind."""

import jax
import numpy as np
import pytest

from models.normalization import NORM_KINDS, Normalization, NumberedNormalization, moments, normalized_with

SIZE, INPUTS = 4, 2
AXES = {"batch": (0, 1, 2), "layer": (1, 2, 3), "instance": (1, 2)}


def image(batch=1, size=SIZE, inputs=INPUTS):
    return np.random.default_rng(0).normal(size=(batch, size, size, inputs)).astype(np.float32)


@pytest.mark.parametrize("kind", AXES)
def test_norms_normalise_over_exactly_their_axes(kind):
    x = 3 + 2 * image(5, SIZE, 4)
    norm = Normalization(kind)
    y, _ = norm.init_with_output(jax.random.key(0), x, train=True)
    expected = (x - x.mean(AXES[kind], keepdims=True)) / np.sqrt(x.var(AXES[kind], keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    first = Normalization(kind, channels_first=True)
    np.testing.assert_allclose(
        first.init_with_output(jax.random.key(0), x.transpose(3, 1, 2, 0), train=True)[0],
        y.transpose(3, 1, 2, 0),
        atol=1e-6,
    )
    # Changing one entry moves the normalised values of those entries that are normalised with it, and no others.
    index = (2, 1, 3, 2)
    changed = x.copy()
    changed[index] += 1
    moved = np.asarray(norm.init_with_output(jax.random.key(0), changed, train=True)[0] != y)
    axes_shared = [axis in AXES[kind] for axis in range(4)]
    together = np.ones(x.shape, bool)
    for axis, shared in enumerate(axes_shared):
        if not shared:
            here = np.arange(x.shape[axis]) == index[axis]
            together &= np.expand_dims(here, tuple(a for a in range(4) if a != axis))
    np.testing.assert_array_equal(moved, together)
    np.testing.assert_array_equal(normalized_with(kind, x.shape, index), together)


def test_group_norm_lies_between_layer_and_instance_norm():
    x = image(3, SIZE, 6)
    y, _ = Normalization("group", num_groups=3).init_with_output(jax.random.key(0), x)
    for group in range(3):
        one = np.asarray(y)[..., 2 * group : 2 * group + 2]
        np.testing.assert_allclose(one.mean((1, 2, 3)), 0, atol=1e-5)
        np.testing.assert_allclose(one.var((1, 2, 3)), 1, atol=1e-3)
    assert normalized_with("group", (3, 4, 4, 6), (0, 0, 0, 5), groups=3).sum() == 4 * 4 * 2
    for groups, kind in ((1, "layer"), (6, "instance")):
        same, other = (
            Normalization(k, num_groups=groups).init_with_output(jax.random.key(0), x)[0] for k in ("group", kind)
        )
        np.testing.assert_allclose(same, other, atol=1e-6)
    with pytest.raises(ValueError, match="num_groups=4 does not divide the 6 channels"):
        moments(x, "group", 4)


def test_batch_norm_gathers_running_averages_and_is_frozen_in_evaluation():
    x, norm = 3 + 2 * image(8), Normalization("batch", momentum=0.6)
    variables = norm.init(jax.random.key(0), x)
    for _ in range(2):
        _, changed = norm.apply(variables, x, train=True, mutable=["batch_stats"])
        variables = {**variables, **changed}
    kept = 0.6**2
    stats = variables["batch_stats"]
    np.testing.assert_allclose(stats["mean"], (1 - kept) * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], kept + (1 - kept) * x.var((0, 1, 2)), rtol=1e-5)
    alone, among = norm.apply(variables, x[:1]), norm.apply(variables, x)
    np.testing.assert_array_equal(alone[0], among[0])  # an image does not depend on its neighbours
    np.testing.assert_allclose(among, (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5), atol=1e-5)


def test_batch_norm_refuses_to_train_on_one_example():
    norm = Normalization("batch")
    variables = norm.init(jax.random.key(0), image(1))
    norm.apply(variables, image(1))
    with pytest.raises(ValueError, match="cannot train on a batch of 1"):
        norm.apply(variables, image(1), train=True, mutable=["batch_stats"])


def numbered(channels_first=False):
    """A norm whose kind is a number, images of 8 channels in its layout, and its variables, none of them as initial."""
    norm = NumberedNormalization(channels_first=channels_first)
    x = 3 + 2 * image(3, SIZE, 8)
    x = x.transpose(3, 1, 2, 0) if channels_first else x
    generator = np.random.default_rng(1)
    shapes = jax.eval_shape(norm.init, jax.random.key(0), x, 1)
    return norm, x, jax.tree.map(lambda leaf: generator.uniform(1, 2, leaf.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("channels_first", [False, True])
def test_a_norm_of_any_number_is_the_norm_of_that_kind(channels_first):
    """In training and in evaluation, and the running averages too."""
    norm, x, variables = numbered(channels_first)

    @jax.jit
    def by_number(number):
        return norm.apply(variables, x, number, True, mutable=["batch_stats"]), norm.apply(variables, x, number)

    for number, kind in enumerate(NORM_KINDS):
        (in_training, new), in_evaluation = by_number(number)
        if kind == "none":
            np.testing.assert_array_equal(in_training, x)
            np.testing.assert_array_equal(in_evaluation, x)
            continue
        expected = Normalization(kind, channels_first=channels_first)
        y, expected_new = expected.apply(variables, x, True, mutable=["batch_stats"])
        np.testing.assert_allclose(in_training, y, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(in_evaluation, expected.apply(variables, x), rtol=1e-4, atol=1e-5)
        if kind == "batch":  # under other kinds the averages mean nothing
            for name, value in expected_new["batch_stats"].items():
                np.testing.assert_allclose(new["batch_stats"][name], value, rtol=1e-4)


def test_a_numbered_norm_starts_as_batch_normalisation_does():
    norm, x, _ = numbered()
    variables, expected = (model.init(jax.random.key(0), x, *a) for model, a in ((norm, [1]), (Normalization(), [])))
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


@pytest.mark.parametrize("rows", [3, 1])
def test_statistics_are_those_of_the_global_batch(rows):
    """Rows split over a named axis, as pmap splits them; one row a device is enough where there are two devices."""
    norm, _, variables = numbered()
    x_DB = np.random.default_rng(2).normal(size=(2, rows, SIZE, SIZE, 8)).astype(np.float32)
    x_DB += np.arange(2).reshape(2, 1, 1, 1, 1)

    def train(x, number):
        return norm.apply(variables, x, number, True, mutable=["batch_stats"])

    on_devices = jax.jit(jax.vmap(train, (0, None), axis_name="data"))
    for kind in ("batch", "group"):
        y_DB, new = on_devices(x_DB, NORM_KINDS.index(kind))
        together, expected = train(x_DB.reshape(-1, SIZE, SIZE, 8), NORM_KINDS.index(kind))
        np.testing.assert_allclose(y_DB.reshape(together.shape), together, rtol=1e-4, atol=1e-5)
        if kind == "batch":
            for name, value in expected["batch_stats"].items():
                for device in (0, 1):
                    np.testing.assert_allclose(new["batch_stats"][name][device], value, rtol=1e-4, atol=1e-6)


def test_a_numbered_norm_refuses_to_train_on_one_example():
    norm, x, variables = numbered()
    norm.apply(variables, x[:1], 0)
    with pytest.raises(ValueError, match="cannot train on a batch of 1"):
        norm.apply(variables, x[:1], 0, True, mutable=["batch_stats"])
