"""Summaries against counts by hand, and the formula of the receptive field against its measurement."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.cnn.airbench import Airbench
from models import summary
from models.cnn import CNN, ImageMLP, ResidualCNN
from models.convolution import convolve, max_pool
from models.receptive_field import IMAGE, Field, after_window, extent, measured_field
from models.recurrent import GRUCell, LSTMCell
from models.rnn_lm import RecurrentConfig, RecurrentLM
from models.transformer import Transformer, TransformerConfig
from training import run
from training.experiment import Task

IMAGE_32 = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)


def layers_of(module, *inputs):
    variables = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return summary.layers(module, variables, inputs), variables


def totals(found):
    return sum(layer.parameters for layer in found), sum(layer.macs for layer in found)


def test_the_table_of_the_default_network():
    found, _ = layers_of(CNN(), IMAGE_32)
    assert [layer.parameters for layer in found] == [224, 0, 0, 16, 1168, 0, 0, 0, 10250]
    assert [layer.receptive_field for layer in found] == [3, 3, 4, 4, 8, 8, 10, IMAGE, IMAGE]
    assert [layer.shape[1:] for layer in found][:3] == [(32, 32, 8), (32, 32, 8), (16, 16, 8)]
    products = {"convolution_0": 32 * 32 * 27 * 8, "convolution_1": 16 * 16 * 72 * 16, "linear": 1024 * 10}
    assert {layer.path: layer.macs for layer in found if layer.macs} == products
    assert totals(found) == (11658, 526336)
    lines = summary.text(found).split("\n")
    assert len(lines) == 11
    assert " ".join(lines[1].split()) == "convolution_0 Convolution 1 x 32 x 32 x 8 224 221,184 3"
    assert lines[-2].split()[-1] == "image"
    assert lines[-1].split() == ["total", "11,658", "526,336"]


def test_branches_are_followed_to_where_they_join():
    found, _ = layers_of(ResidualCNN(channels=(4, 8), num_blocks=2), IMAGE_32)
    fields = {layer.path: layer.receptive_field for layer in found}
    assert fields["stage_0_block_1_add"] == 11  # five convolutions of 3 x 3 with stride 1
    assert fields["stage_1_block_0_shortcut_convolution"] == 11  # of 1 x 1
    assert fields["stage_1_block_0_out_convolution"] == 11 + 2 + 4
    assert fields["stage_1_block_0_add"] == 17
    assert fields["linear"] == IMAGE


def test_an_image_norm_sees_the_image_and_a_batch_norm_does_not():
    for norm, field in (("batch", 4), ("instance", IMAGE), ("layer", IMAGE), ("group", IMAGE)):
        found, _ = layers_of(CNN(norm=norm), IMAGE_32)
        assert {layer.path: layer.receptive_field for layer in found}["norm_0"] == field


@pytest.mark.parametrize("module", [CNN(padding="VALID"), Airbench(widths=(4, 8)), ImageMLP(hidden=(3, 5))])
def test_parameters_add_up(module):
    found, variables = layers_of(module, IMAGE_32)
    assert totals(found)[0] == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert found[-1].receptive_field == IMAGE


class Unread(nn.Module):
    """Uses the parameters of a module within a module without calling either."""

    @nn.compact
    def __call__(self, x):
        inner = self.param("outer", lambda key: {"inner": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}})["inner"]
        return x @ inner["kernel"] + inner["bias"]


def test_parameters_of_modules_that_are_not_called_are_counted():
    found, _ = layers_of(Unread(), jax.ShapeDtypeStruct((1, 3), jnp.float32))
    assert totals(found) == (8, 6)


@pytest.mark.parametrize("cell", ["elman_tanh", "gru", "lstm"])
def test_a_model_that_applies_other_models_within(cell):
    """Its cells are applied by themselves, in a loop over time, and asked for a state without parameters."""
    T, V, D, F = 5, 11, 3, 4
    model = RecurrentLM(RecurrentConfig(vocab_size=V, cell=cell, num_layers=2, d_embedding=D, width=F))
    tokens = jax.ShapeDtypeStruct((1, T), jnp.int32)
    found, variables = layers_of(model, tokens)
    gates = {"elman_tanh": 1, "gru": 3, "lstm": 4}[cell]
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert totals(found) == (count, T * (gates * F * (D + F + F + F) + F * V))
    assert run.summary({"a": task_of(model, tokens)}, lambda *model: summary.text(summary.layers(*model))).split() == [
        "a:", f"{count:,}", "parameters", *summary.text(found).split()
    ]  # fmt: skip


def task_of(model, inputs):
    return Task(model=model, init=lambda key: model.init(key, jnp.zeros(inputs.shape, inputs.dtype)), evaluate=None)


@pytest.mark.parametrize("scan_layers", [False, True])
def test_a_transformer_counts_products_of_weights_and_of_attention(scan_layers):
    T, D, V, L, H = 8, 16, 11, 3, 2
    options = {"vocab_size": V, "context_length": T, "num_layers": L, "num_heads": H, "d_model": D, "use_mlp": True}
    names = TransformerConfig.__dataclass_fields__
    options = {name: value for name, value in options.items() if name in names}
    config = TransformerConfig(**options, scan_layers=scan_layers, attention="explicit")
    found, variables = layers_of(Transformer(config), jax.ShapeDtypeStruct((1, T), jnp.int32))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    weights = [leaf.size for path, leaf in jax.tree_util.tree_flatten_with_path(variables["params"])[0]
               if "kernel" in str(path)]  # fmt: skip
    assert totals(found) == (count, T * sum(weights) + L * 2 * T * T * D)
    assert all(layer.receptive_field is None for layer in found)
    assert "receptive field" not in summary.text(found)
    queries = [layer for layer in found if layer.path.endswith("attention/query")]
    assert sum(layer.parameters for layer in queries) >= L * D * D


@pytest.mark.parametrize(("cell", "gates"), [(LSTMCell(4), 4), (GRUCell(4), 3)])
def test_a_recurrent_cell(cell, gates):
    found, variables = layers_of(cell, cell.initial_state((1,)), jnp.zeros((1, 3)))
    assert totals(found)[0] == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert totals(found)[1] == gates * 4 * (3 + 4)


def test_fields_grow_by_windows_and_jumps():
    field = Field()
    for window in ((3, 1), (2, 2), (3, 1), (2, 2)):
        field = after_window(field, *window)
    assert field == Field(10, 4)
    assert after_window(Field(3, 2), 3, stride=2, dilation=2) == Field(11, 4)


def random_network(rng):
    options = {
        "kernel_size": int(rng.integers(1, 6)),
        "stride": int(rng.integers(1, 3)),
        "pool": int(rng.integers(1, 4)),
        "channels": tuple(int(c) for c in rng.integers(2, 6, size=rng.integers(1, 4))),
        "activation": str(rng.choice(["leaky_relu", "relu", "gelu", "tanh"])),
        "norm": str(rng.choice(["batch", "none"])),
        "norm_place": str(rng.choice(["between", "convolution"])),
        "padding": str(rng.choice(["SAME", "VALID"])),
    }
    return options | {"pool_after": tuple(np.flatnonzero(rng.random(len(options["channels"])) < 0.7).tolist())}


def image_size(options):
    """Of an image in whose middle the whole receptive field lies."""
    field = Field()
    for layer in range(len(options["channels"])):
        field = after_window(field, options["kernel_size"], options["stride"])
        if layer in options["pool_after"]:
            field = after_window(field, options["pool"], options["pool"])
    return field.size + 4 * field.jump + 8


def check_formula_against_measurement(options):
    size = image_size(options)
    model = CNN(image_shape=(size, size, 2), layout="BHWC", **options)
    variables = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, size, size, 2)))
    found = summary.layers(model, variables, (jax.ShapeDtypeStruct((1, size, size, 2), jnp.float32),))
    last = found[[layer.kind for layer in found].index("Flatten") - 1]

    def features(x):
        _, seen = model.apply(variables, x, capture_intermediates=lambda module, _: module.name == last.path)
        return seen["intermediates"][last.path]["__call__"][0]

    mask = measured_field(features, (size, size, 2), num_images=100)
    assert not np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).any(), "the field meets the edge"
    assert extent(mask) == (last.receptive_field, last.receptive_field), options


def test_the_formula_is_what_input_gradients_show():
    options = {"channels": (3, 4), "kernel_size": 3, "stride": 1, "pool": 2, "pool_after": (0, 1)}
    check_formula_against_measurement(options)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_the_formula_holds_for_random_networks(seed):
    rng = np.random.default_rng(seed)
    options = random_network(rng)
    while image_size(options) > 120:
        options = random_network(rng)
    check_formula_against_measurement(options)


def test_one_image_does_not_show_the_whole_field_behind_max_pooling():
    kernel = jnp.ones((3, 3, 1, 1))

    def features(x):
        return max_pool(convolve(x, kernel), 2)

    assert extent(measured_field(features, (12, 12, 1))) == (4, 4)
    one = measured_field(features, (12, 12, 1), num_images=1)
    assert extent(one) == (3, 3)  # of four places where the maximum may be, one
