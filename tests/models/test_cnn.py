"""Convolutional networks against their definition."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.cnn.airbench import Airbench, dirac_kernel, whitening_kernel, with_whitening
from models.cnn import CNN, ConvolutionBlock, ImageMLP, ResidualCNN, equal_width
from models.convolution import LAYOUTS, METHODS, PADDINGS, convolve, edges, max_pool, to_layout
from models.normalization import Normalization, moments, normalized_with

SIZE, INPUTS, CHANNELS = 4, 2, 3


def image(batch=1, size=SIZE, inputs=INPUTS):
    return np.random.default_rng(0).normal(size=(batch, size, size, inputs)).astype(np.float32)


def kernel_of(size, inputs=INPUTS, channels=CHANNELS):
    return np.random.default_rng(1).normal(size=(size, size, inputs, channels)).astype(np.float32)


def convolved(x, kernel, stride=1, dilation=1, padding="SAME"):
    """A convolution of one image, summed in plain loops."""
    size, k = x.shape[0], kernel.shape[0]
    low, high = edges(size, k, stride, dilation, padding)
    count = (size + low + high - (k - 1) * dilation - 1) // stride + 1
    out = np.zeros((count, count, kernel.shape[-1]))
    for i, j, a, b in product(range(count), range(count), range(k), range(k)):
        row, column = i * stride + a * dilation - low, j * stride + b * dilation - low
        if padding == "CIRCULAR":
            row, column = row % size, column % size
        if 0 <= row < size and 0 <= column < size:
            out[i, j] += x[row, column] @ kernel[a, b]
    return out


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("padding", "size", "stride", "dilation"),
    [("SAME", 3, 1, 1), ("SAME", 2, 2, 1), ("SAME", 3, 2, 2), ("VALID", 3, 2, 1), ("CIRCULAR", 3, 1, 1)],
)
def test_all_ways_to_convolve_are_the_sum_of_the_definition(method, padding, size, stride, dilation):
    x, kernel = image(2, 7), kernel_of(size)
    expected = [convolved(one, kernel, stride, dilation, padding) for one in x]
    for layout in LAYOUTS:
        run = jax.jit(
            partial(convolve, stride=stride, dilation=dilation, padding=padding, method=method, layout=layout)
        )
        found = run(to_layout(x, layout), kernel)
        np.testing.assert_allclose(to_layout(found, layout), expected, atol=1e-5)


def test_same_padding_is_what_xla_calls_same():
    assert set(PADDINGS) == {"SAME", "VALID", "CIRCULAR"}
    for size, k, stride, dilation in product((5, 8), (1, 2, 3, 5), (1, 2, 3), (1, 2)):
        (expected,) = jax.lax.padtype_to_pads((size,), ((k - 1) * dilation + 1,), (stride,), "SAME")
        assert edges(size, k, stride, dilation) == expected


@pytest.mark.parametrize("method", METHODS)
def test_convolution_is_linear_in_image_and_kernel(method):
    # Small integers, so that floating point is exact and the two sides may be compared bit by bit.
    rng = np.random.default_rng(2)
    x, y = rng.integers(-8, 9, size=(2, 3, 5, 5, INPUTS)).astype(np.float32)
    k, l = rng.integers(-8, 9, size=(2, 3, 3, INPUTS, CHANNELS)).astype(np.float32)

    conv = jax.jit(partial(convolve, method=method))

    def relu(x):
        return np.maximum(x, 0)

    assert np.array_equal(conv(2 * x - 3 * y, k), 2 * conv(x, k) - 3 * conv(y, k))
    assert np.array_equal(conv(x, 2 * k - 3 * l), 2 * conv(x, k) - 3 * conv(x, l))
    assert not np.array_equal(relu(conv(-x, k)), -relu(conv(x, k)))


@pytest.mark.parametrize(("method", "layout"), [("product", "BHWC"), ("product", "CHWB"), ("convolution", "BHWC")])
def test_gradients_of_a_convolution_equal_the_hand_formulas(method, layout):
    """dJ/dK[p, q] = sum over images and places of x[place + (p, q)]^T dJ/dy[place], and dJ/dx the reverse."""
    x, kernel = image(2, 5), kernel_of(3)
    cotangent = np.random.default_rng(3).normal(size=(2, 5, 5, CHANNELS)).astype(np.float32)

    @jax.jit
    def pull(cotangent):
        convolution = partial(convolve, method=method, layout=layout)
        return jax.vjp(convolution, to_layout(x, layout), jnp.asarray(kernel))[1](cotangent)

    by_x, by_kernel = np.zeros((2, 7, 7, INPUTS)), np.zeros_like(kernel)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for b, i, j, p, q in product(range(2), range(5), range(5), range(3), range(3)):
        by_kernel[p, q] += np.outer(padded[b, i + p, j + q], cotangent[b, i, j])
        by_x[b, i + p, j + q] += kernel[p, q] @ cotangent[b, i, j]
    found_x, found_kernel = pull(to_layout(jnp.asarray(cotangent), layout))
    np.testing.assert_allclose(found_kernel, by_kernel, atol=1e-4)
    np.testing.assert_allclose(to_layout(found_x, layout), by_x[:, 1:-1, 1:-1], atol=1e-4)


@pytest.mark.parametrize(("size", "window", "stride"), [(6, 2, None), (7, 2, None), (7, 3, 2), (3, 3, None)])
def test_max_pooling_takes_the_largest_of_each_window_and_its_gradient_goes_there(size, window, stride):
    x = image(2, size)
    step = stride or window
    count = (size - window) // step + 1

    @jax.jit
    def run(x, cotangent):
        y, pull = jax.vjp(lambda x: max_pool(x, window, stride), x)
        return y, pull(cotangent)[0]

    weights = 1.0 + np.add.outer(np.arange(count), np.arange(count))[None, :, :, None]
    y, found = run(x, jnp.asarray(np.broadcast_to(weights, (2, count, count, INPUTS)), jnp.float32))
    gradient = np.zeros_like(x)
    for b, i, j, c in product(range(2), range(count), range(count), range(INPUTS)):
        rows, columns = slice(i * step, i * step + window), slice(j * step, j * step + window)
        patch = x[b, rows, columns, c]
        assert y[b, i, j, c] == patch.max()
        gradient[b, rows, columns, c] += (patch == patch.max()) * (1 + i + j)
    np.testing.assert_allclose(found, gradient, atol=1e-6)


def test_of_equal_entries_the_first_gets_the_gradient():
    """As in PyTorch: the gradient of a window is not lost, nor given to all, where an image is flat."""
    x = jnp.asarray([[0, 0, 1, 2], [0, 0, 2, 2], [5, 5, 3, 3], [5, 6, 3, 3.0]])[None, :, :, None]
    gradient = jax.jit(jax.grad(lambda x: max_pool(x, 2).sum()))(x)[0, :, :, 0]
    np.testing.assert_array_equal(gradient, [[1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]])
    # Forward mode and second derivatives go through, too.
    tangent = jnp.arange(16.0).reshape(x.shape)
    forward = jax.jit(lambda x, t: jax.jvp(lambda x: max_pool(x, 2), (x,), (t,))[1])(x, tangent)
    np.testing.assert_array_equal(forward[0, :, :, 0], [[0, 3], [13, 10]])
    second = jax.jit(lambda x, t: jax.jvp(jax.grad(lambda x: (max_pool(x, 2) ** 2).sum()), (x,), (t,))[1])(x, tangent)
    assert second.sum() == 2 * (0 + 3 + 10 + 13)


@pytest.mark.parametrize("padding", ["SAME", "CIRCULAR"])
def test_a_block_convolves_and_rectifies(padding):
    block = ConvolutionBlock(CHANNELS, padding=padding)
    variables = block.init(jax.random.key(0), image())
    kernel = np.asarray(variables["params"]["convolution"]["kernel"])
    expected = np.maximum(convolved(image()[0], kernel, padding=padding), 0)
    np.testing.assert_allclose(block.apply(variables, image())[0], expected, atol=1e-5)


AXES = {"batch": (0, 1, 2), "layer": (1, 2, 3), "instance": (1, 2)}


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
        same, other = (Normalization(k, num_groups=groups).init_with_output(jax.random.key(0), x)[0]
                       for k in ("group", kind))  # fmt: skip
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


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="norm='power' is not one of none, batch, layer, instance, group"):
        ConvolutionBlock(CHANNELS, norm="power").init(jax.random.key(0), image())
    with pytest.raises(ValueError, match="padding='FULL' is not one of SAME"):
        convolve(image(), kernel_of(3), padding="FULL")
    with pytest.raises(ValueError, match="a window of 5 x 5 does not fit into an image of 4 x 4"):
        convolve(image(), kernel_of(5), padding="VALID")


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
        pytest.param(Airbench(image_shape=(8, 8, 3), widths=(4, 6)), marks=pytest.mark.slow),
    ],
    ids=lambda model: type(model).__name__,
)
def test_networks_compute_the_same_in_either_layout(model):
    x = jnp.asarray(image(4, 8, 3))
    variables = model.clone(layout="BHWC").init(jax.random.key(0), x)
    if isinstance(model, Airbench):
        variables = with_whitening(variables, kernel_of(2, 3, 24))

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


def test_airbench_has_its_parameters_and_starts_by_handing_on_its_inputs():
    found = shapes(Airbench())
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    assert count(found["params"]) == 24 + convolutions + 2 * (64 + 256 + 256) + 2560
    assert found["frozen"]["whitening"]["kernel"].shape == (2, 2, 3, 24)
    kernel = dirac_kernel(jax.random.key(0), (3, 3, 2, 5))
    np.testing.assert_array_equal(convolve(image(), kernel)[..., :2], image())
    assert np.abs(kernel[..., 2:]).max() <= 18**-0.5


def test_whitening_makes_patches_uncorrelated_with_variance_one():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(64, 8, 8, 3)).astype(np.float32).cumsum(1) @ rng.normal(size=(3, 3)).astype(np.float32)
    kernel = whitening_kernel(images, epsilon=0.0)
    y = np.asarray(convolve(images, kernel, padding="VALID"))[..., :12].reshape(-1, 12)
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(12), atol=1e-3)
    np.testing.assert_array_equal(kernel[..., :12], -kernel[..., 12:])
    model = Airbench(widths=(2, 2), image_shape=(16, 16, 3))
    variables = with_whitening(model.init(jax.random.key(0), jnp.zeros((2, 16, 16, 3))), kernel)
    assert model.apply(variables, jnp.ones((2, 16, 16, 3))).shape == (2, 10)
