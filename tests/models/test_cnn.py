"""Networks of images: their parameters, their options, and the arguments by which one program serves several."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.cnn import CNN, ConvolutionBlock, ImageMLP, ResidualCNN, equal_width
from models.convolution import LAYOUTS, convolve
from models.normalization import NORM_KINDS

SIZE, INPUTS, CHANNELS = 4, 2, 3


def image(batch=1, size=SIZE, inputs=INPUTS):
    return np.random.default_rng(0).normal(size=(batch, size, size, inputs)).astype(np.float32)


@pytest.mark.parametrize("padding", ["SAME", "CIRCULAR"])
def test_a_block_convolves_and_rectifies(padding):
    block = ConvolutionBlock(CHANNELS, padding=padding)
    variables = block.init(jax.random.key(0), image())
    expected = jax.nn.relu(convolve(image(), variables["params"]["convolution"]["kernel"], padding=padding))
    np.testing.assert_allclose(block.apply(variables, image()), expected, atol=1e-5)


def test_unknown_norms_are_refused():
    with pytest.raises(ValueError, match="norm='power' is not one of none, batch, layer, instance, group"):
        ConvolutionBlock(CHANNELS, norm="power").init(jax.random.key(0), image())


def shapes(module, size=32, inputs=3, **kwargs):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((2, size, size, inputs)), **kwargs))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_default_network_has_the_parameters_of_the_table():
    params = shapes(CNN())["params"]
    names = ("convolution_0", "norm_0", "convolution_1", "linear")
    assert [count(params[name]) for name in names] == [224, 16, 1168, 10250]
    assert (count(params), count(shapes(CNN())["batch_stats"])) == (11658, 16)
    assert count(shapes(CNN(padding="VALID"))["params"]) == 7178


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"image_shape": (28, 28, 1)}, "images are 32 x 32 x 3"),
        ({"channels": (2,) * 6}, "block 5 leaves an image of 1 x 1, too small to pool by 2"),
        ({"norm_place": "after"}, "norm_place='after'"),
    ],
)
def test_a_network_that_does_not_fit_says_why(options, error):
    with pytest.raises(ValueError, match=error):
        shapes(CNN(**options))


def test_an_mlp_of_equal_parameters_has_at_least_as_many_and_one_unit_less_has_not():
    target = count(shapes(CNN())["params"])
    width = equal_width(target, 3072, 10)
    assert count(shapes(ImageMLP(hidden=(width,)))["params"]) >= target
    assert count(shapes(ImageMLP(hidden=(width - 1,)))["params"]) < target


@pytest.mark.slow
def test_options_of_the_network_change_what_they_say():
    x = jnp.asarray(image(2, 8, 3))
    for options in (
        {"norm": "none", "pool_after": (0,)},
        {"norm": "group", "num_groups": 2, "norm_place": "convolution"},
        {"stride": 2, "pool": 1, "kernel_size": 5},
    ):
        model = CNN(image_shape=(8, 8, 3), channels=(4, 6), **options)
        variables = model.init(jax.random.key(0), x)
        expected = {"none": [], "group": ["norm_0", "norm_1"]}.get(options.get("norm"), ["norm_0"])
        assert [name for name in sorted(variables["params"]) if name.startswith("norm")] == expected
        out, _ = model.apply(variables, x, train=True, mutable=["batch_stats"])
        assert out.shape == (2, 10)
        assert np.array_equal(model.apply(variables, x), out) == (options.get("norm") in ("none", "group"))


@pytest.mark.parametrize(
    "model",
    [
        CNN(image_shape=(8, 8, 3), channels=(4, 6), norm_place="convolution"),
        pytest.param(
            ResidualCNN(image_shape=(8, 8, 3), channels=(4, 6), norm="group", num_groups=2), marks=pytest.mark.slow
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_networks_compute_the_same_in_either_layout(model):
    x = jnp.asarray(image(4, 8, 3))
    variables = model.clone(layout="BHWC").init(jax.random.key(0), x)

    @partial(jax.jit, static_argnums=0)
    def run(layout, params):
        def loss(params):
            out = model.clone(layout=layout).apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return (out[0] ** 2).sum(), out

        return jax.grad(loss, has_aux=True)(params)

    (first, last) = (run(layout, variables["params"]) for layout in LAYOUTS)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), first, last)


def test_a_residual_network_adds_its_input_and_halves_its_stages():
    model = ResidualCNN(image_shape=(8, 8, 3), channels=(4, 6), norm="none", num_blocks=2, layout="BHWC")
    x = jnp.asarray(image(2, 8, 3))
    variables = model.init(jax.random.key(0), x)
    _, seen = model.apply(variables, x, capture_intermediates=True)
    seen = {name: value["__call__"][0] for name, value in seen["intermediates"].items() if name != "__call__"}
    np.testing.assert_array_equal(
        seen["stage_0_block_1_add"], seen["stage_0_block_0_out_activation"] + seen["stage_0_block_1_out_convolution"]
    )
    assert seen["stage_1_block_0_add"].shape == (2, 4, 4, 6)
    assert "stage_1_block_0_shortcut_convolution" in seen
    assert "stage_0_block_0_shortcut_convolution" not in seen


# --- Arguments of the CNN's call.


def test_a_norm_number_gives_the_network_with_that_norm():
    """In training and in evaluation, and the running averages of batch normalisation too."""
    x = jax.random.normal(jax.random.key(0), (3, 4, 4, 1))
    model = CNN(image_shape=(4, 4, 1), norm_place="convolution")
    shapes = jax.eval_shape(model.init, jax.random.key(1), x)
    generator = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: generator.uniform(0.1, 1, leaf.shape).astype(np.float32), shapes)

    @jax.jit
    def by_number(norm_number):
        in_training = model.apply(variables, x, True, norm_number=norm_number, mutable=["batch_stats"])
        return in_training, model.apply(variables, x, norm_number=norm_number)

    @jax.jit
    def by_attribute():
        networks = {kind: model.clone(norm=kind) for kind in NORM_KINDS}
        return {
            kind: (network.apply(variables, x, True, mutable=["batch_stats"]), network.apply(variables, x))
            for kind, network in networks.items()
        }

    for kind, ((expected, expected_new), expected_later) in by_attribute().items():
        (logits, new), later = by_number(NORM_KINDS.index(kind))
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(later, expected_later, rtol=1e-4, atol=1e-5)
        if kind == "batch":
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), new, expected_new)


def test_a_norm_number_needs_the_variables_of_batch_normalisation():
    model = CNN(image_shape=(4, 4, 1), norm="layer")
    with pytest.raises(ValueError, match="norm_number=2 needs norm='batch'"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((2, 4, 4, 1)), norm_number=2))


def test_dropout_keeps_the_mean_and_drops_the_share_that_is_asked_for():
    x = jnp.ones((1000, 2, 2, 1))
    model = CNN(image_shape=(2, 2, 1), channels=(), norm="none")
    params = {"linear": {"kernel": jnp.eye(4, 10), "bias": jnp.zeros(10)}}
    logits = model.apply({"params": params}, x, dropout_rate=0.25, dropout_key=jax.random.key(0))
    inputs = np.asarray(logits)[:, :4]
    assert set(np.unique(inputs).round(4)) == {0.0, np.float32(4 / 3).round(4)}
    assert inputs.mean() == pytest.approx(1, abs=0.03)
