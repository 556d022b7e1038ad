"""Summaries against counts by hand; tests/models/test_receptive_field.py has their receptive fields."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from experiments.cnn.airbench import Airbench
from models import summary
from models.cnn import CNN, ImageMLP, ResidualCNN
from models.receptive_field import IMAGE
from models.recurrent import GRUCell, LSTMCell
from models.rnn_lm import RecurrentConfig, RecurrentLM
from models.transformer import Transformer, TransformerConfig
from training.experiment import Task
from training.summary import summarize

IMAGE_32 = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)


def layers_of(module, *inputs):
    variables = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return summary.layers(module, variables, inputs), variables


def totals(layers):
    return sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers)


def test_the_table_of_the_default_network():
    layers, _ = layers_of(CNN(), IMAGE_32)
    assert [layer.parameters for layer in layers] == [224, 0, 0, 16, 1168, 0, 0, 0, 10250]
    assert [layer.receptive_field for layer in layers] == [3, 3, 4, 4, 8, 8, 10, IMAGE, IMAGE]
    assert [layer.shape[1:] for layer in layers][:3] == [(32, 32, 8), (32, 32, 8), (16, 16, 8)]
    products = {"convolution_0": 32 * 32 * 27 * 8, "convolution_1": 16 * 16 * 72 * 16, "linear": 1024 * 10}
    assert {layer.path: layer.macs for layer in layers if layer.macs} == products
    assert totals(layers) == (11658, 526336)
    lines = summary.text(layers).split("\n")
    assert len(lines) == 11
    assert " ".join(lines[1].split()) == "convolution_0 Convolution 1 x 32 x 32 x 8 224 221,184 3"
    assert lines[-2].split()[-1] == "image"
    assert lines[-1].split() == ["total", "11,658", "526,336"]


def test_branches_are_followed_to_where_they_join():
    layers, _ = layers_of(ResidualCNN(channels=(4, 8), num_blocks=2), IMAGE_32)
    fields = {layer.path: layer.receptive_field for layer in layers}
    assert fields["stage_0_block_1_add"] == 11  # five convolutions of 3 x 3 with stride 1
    assert fields["stage_1_block_0_shortcut_convolution"] == 11  # of 1 x 1
    assert fields["stage_1_block_0_out_convolution"] == 11 + 2 + 4
    assert fields["stage_1_block_0_add"] == 17
    assert fields["linear"] == IMAGE


def test_an_image_norm_sees_the_image_and_a_batch_norm_does_not():
    for norm, field in (("batch", 4), ("instance", IMAGE), ("layer", IMAGE), ("group", IMAGE)):
        layers, _ = layers_of(CNN(norm=norm), IMAGE_32)
        assert {layer.path: layer.receptive_field for layer in layers}["norm_0"] == field


@pytest.mark.parametrize("module", [CNN(padding="VALID"), Airbench(widths=(4, 8)), ImageMLP(hidden=(3, 5))])
def test_parameters_add_up(module):
    layers, variables = layers_of(module, IMAGE_32)
    assert totals(layers)[0] == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert layers[-1].receptive_field == IMAGE


class Unread(nn.Module):
    """Uses the parameters of a module within a module without calling either."""

    @nn.compact
    def __call__(self, x):
        inner = self.param("outer", lambda key: {"inner": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}})["inner"]
        return x @ inner["kernel"] + inner["bias"]


def test_parameters_of_modules_that_are_not_called_are_counted():
    layers, _ = layers_of(Unread(), jax.ShapeDtypeStruct((1, 3), jnp.float32))
    assert totals(layers) == (8, 6)


@pytest.mark.parametrize("cell", ["elman_tanh", "gru", "lstm"])
def test_a_model_that_applies_other_models_within(cell):
    """Its cells are applied by themselves, in a loop over time, and asked for a state without parameters."""
    T, V, D, F = 5, 11, 3, 4
    model = RecurrentLM(RecurrentConfig(vocab_size=V, cell=cell, num_layers=2, d_embedding=D, width=F))
    tokens = jax.ShapeDtypeStruct((1, T), jnp.int32)
    layers, variables = layers_of(model, tokens)
    gates = {"elman_tanh": 1, "gru": 3, "lstm": 4}[cell]
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert totals(layers) == (count, T * (gates * F * (D + F + F + F) + F * V))
    task = Task(model=model, init=lambda key: model.init(key, jnp.zeros((1, T), jnp.int32)), evaluate=None)
    text = summarize({"a": task}, lambda *model: summary.text(summary.layers(*model)))
    assert text.split() == ["a:", f"{count:,}", "parameters", *summary.text(layers).split()]


@pytest.mark.parametrize("scan_layers", [False, True])
def test_a_transformer_counts_products_of_weights_and_of_attention(scan_layers):
    T, D, V, L, H = 8, 16, 11, 3, 2
    config = TransformerConfig(
        V, T, num_layers=L, num_heads=H, d_model=D, scan_layers=scan_layers, attention="explicit"
    )
    layers, variables = layers_of(Transformer(config), jax.ShapeDtypeStruct((1, T), jnp.int32))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    weights = [leaf.size for path, leaf in leaves if "kernel" in str(path)]
    assert totals(layers) == (count, T * sum(weights) + L * 2 * T * T * D)
    assert all(layer.receptive_field is None for layer in layers)
    assert "receptive field" not in summary.text(layers)
    queries = [layer for layer in layers if layer.path.endswith("attention/query")]
    assert sum(layer.parameters for layer in queries) >= L * D * D


@pytest.mark.parametrize(("cell", "gates"), [(LSTMCell(4), 4), (GRUCell(4), 3)])
def test_a_recurrent_cell(cell, gates):
    layers, variables = layers_of(cell, cell.initial_state((1,)), jnp.zeros((1, 3)))
    assert totals(layers)[0] == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert totals(layers)[1] == gates * 4 * (3 + 4)
