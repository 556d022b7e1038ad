"""Summaries of arms: which module is described, and what stands there where none is."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from training.experiment import Measurement, Task
from training.summary import find_model, summarize


class Model(nn.Module):
    """A module within which another is called."""

    width: int

    @nn.compact
    def __call__(self, x, train=False):
        hidden = jnp.tanh(nn.Dense(self.width)(x))
        return nn.Dense(1)(hidden)


def init_model(key):
    return Model(5).init(key, jnp.zeros((7, 3)))


def init_copies(key):
    return jax.vmap(init_model)(jax.random.split(key, 4))


def init_by_hand(key):
    return {"params": {"b": jnp.zeros(2), "a": {"w": jnp.zeros((3, 2))}}}


def make_task(init):
    return Task(model=None, init=init, evaluate=None)


def test_the_one_module_that_init_calls_is_found_with_inputs_of_one_row():
    module, variables, inputs = find_model(init_model)
    assert module == Model(5)
    assert variables["params"]["Dense_0"]["kernel"].shape == (3, 5)
    assert [(x.shape, x.dtype) for x in inputs] == [((1, 3), jnp.float32)]


def test_none_is_found_where_init_calls_none_or_makes_something_else_of_its_variables():
    assert find_model(init_by_hand) is None
    assert find_model(init_copies) is None


def test_every_arm_has_its_parameters_counted_and_what_is_no_module_is_listed_by_leaf():
    tasks = {
        "network": make_task(init_model),
        "again": make_task(init_model),
        "by_hand": make_task(init_by_hand),
        "exact": Measurement(measure=lambda key: {}),
    }
    text = summarize(tasks, lambda module, variables, inputs: f"{type(module).__name__}\non {inputs[0].shape}")
    assert [line.split() for line in text.splitlines()] == [
        ["network:", "26", "parameters"],
        ["Model"],
        ["on", "(1,", "3)"],
        ["again:", "26", "parameters"],
        ["Model"],
        ["on", "(1,", "3)"],
        ["by_hand:", "8", "parameters"],
        ["a/w", "(3,", "2)", "6"],
        ["b", "(2,)", "2"],
        ["exact:", "a", "measurement;", "it", "trains", "nothing"],
    ]
