"""The axes of a mesh: which of them split an array."""

import re

import jax
import jax.numpy as jnp
import pytest

from models.transformer import SHARDING, Transformer, TransformerConfig
from training.experiment import UserError
from training.parallel import choose
from training.partition import parse_sizes, partition
from training.step import leaves_by_path

RULES = (("special$", ("model", None)), ("kernel$", ("fsdp", "model")))


def test_partition_by_rule_by_default_and_where_it_does_not_fit():
    mesh = choose("mesh", "fsdp=2,model=4").mesh
    assert partition(mesh, RULES, "params/a/kernel", (6, 8)) == ("fsdp", "model")
    assert partition(mesh, RULES, "params/a/special", (8, 6)) == ("model", None)
    assert partition(mesh, RULES, "params/a/kernel", (6, 6)) == ("fsdp", None)
    assert partition(mesh, RULES, "params/a/kernel", (2, 3, 4)) == (None, None, "fsdp")  # no such rule
    assert partition(mesh, RULES, "params/other", (3, 8)) == (None, "fsdp")
    assert partition(mesh, RULES, "params/bias", (8,)) == (None,)
    assert partition(choose("mesh", "data=8").mesh, RULES, "params/a/kernel", (6, 8)) == ()


def test_the_rules_of_the_transformer_split_its_kernels_and_each_names_one():
    def shapes_of(scan_layers):
        model = Transformer(
            TransformerConfig(
                vocab_size=7,
                context_length=16,
                num_heads=2,
                d_model=16,
                d_mlp=32,
                bias=True,
                scan_layers=scan_layers,
            )
        )
        params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 16), int))["params"]
        return {path: leaf.shape for path, leaf in leaves_by_path(params)}

    shapes, repeated_shapes = shapes_of(scan_layers=False), shapes_of(scan_layers=True)
    mesh = choose("mesh", "data=2,fsdp=2,model=2").mesh
    for path, axes in (
        ("layer_0/attention/query/kernel", ("fsdp", "model", None)),
        ("layer_1/mlp_project/kernel", ("model", "fsdp")),
    ):
        assert partition(mesh, SHARDING, path, shapes[path]) == axes
    for pattern, _ in SHARDING:
        assert any(re.search(pattern, path) for path in [*shapes, *repeated_shapes]), pattern


def test_sizes_are_read_as_they_are_written():
    assert parse_sizes("data=4,model=2") == {"data": 4, "model": 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rows=2", "the axes are data, fsdp, model"),
        ("data=2,data=2", "once each"),
        ("data=x", "not of the form"),
        ("data=0", "not of the form"),
        ("data", "not of the form"),
    ],
)
def test_sizes_of_another_form_are_refused(text, says):
    with pytest.raises(UserError, match=says):
        parse_sizes(text)
