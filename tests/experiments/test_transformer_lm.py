"""The Transformer on text: what it refuses, memory-mapped text, chunked losses, the peers' settings.

A small run in test_every_experiment.py covers generation.py and figures.py.
"""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import tokens
from data.tokens import read_corpus
from experiments.transformer_lm.claims import TINY_SHAKESPEARE_SHA256, at_setting_of_peer
from experiments.transformer_lm.experiment import EXPERIMENT, language_model, task
from experiments.transformer_lm.presets import NANOGPT_CPU
from models.losses import token_losses
from training.config import override

SMALL = {
    "tokenizer": "byte",
    "max_characters": 20_000,
    "context_length": 16,
    "num_layers": 2,
    "num_heads": 2,
    "d_model": 16,
    "d_mlp": 16,
    "num_steps": 2,
    "batch_size": 2,
    "eval_windows": 4,
    "position_windows": 6,
    "eval_batch_size": 2,
    "eval_every": 2,
    "checkpoint_every": 2,
}
ARMS = ("deep",)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("to be, or not to be: that is the question.\n" * 60)
    return path


def small(corpus, **overrides):
    return override(EXPERIMENT.config, SMALL | {"corpus": str(corpus), "tokenizer": "char"} | overrides)


def test_loss_is_that_of_the_next_character_however_it_is_computed(corpus):
    made = task(small(corpus, num_layers=1))
    variables = jax.jit(made.init)(jax.random.key(0))
    batch = made.batch(0, 3, made.data)
    np.testing.assert_array_equal(batch["tokens"][:, 1:], batch["targets"][:, :-1])
    loss = jax.jit(made.loss)(variables, batch, {"dropout": jax.random.key(0)})
    apply = jax.jit(made.model.apply)
    by_hand = -jax.nn.log_softmax(apply(variables, batch["tokens"]))
    by_hand = jnp.take_along_axis(by_hand, batch["targets"][..., None], -1)
    np.testing.assert_allclose(loss.sum, by_hand.sum(), rtol=1e-5)
    assert loss.weight == 2 * 16
    chunked = jax.jit(task(small(corpus, num_layers=1, loss_chunks=4)).loss)(variables, batch, {})
    np.testing.assert_allclose(chunked.sum, loss.sum, rtol=1e-5)
    total, weight = jax.jit(made.evaluate)(variables, made.data)["loss"]
    windows = made.data["validation"].astype(int)
    losses = token_losses(apply(variables, windows[:, :-1]), windows[:, 1:])
    np.testing.assert_allclose(total / weight, losses.mean(), rtol=1e-5)


def test_text_larger_than_memory_is_read_from_disk(corpus, monkeypatch):
    monkeypatch.setattr(tokens, "MEMORY_MAPPED_BYTES", 100)
    made = task(small(corpus))
    assert made.batch_on_host
    assert set(made.data) == {"validation", "by_position"}
    batch, again, other = made.batch(0, 1), made.batch(0, 1), made.batch(1, 1)
    np.testing.assert_array_equal(batch["tokens"], again["tokens"])
    assert (batch["tokens"] != other["tokens"]).any()
    np.testing.assert_array_equal(batch["tokens"][:, 1:], batch["targets"][:, :-1])


@pytest.mark.parametrize(
    ("field", "value"),
    [("loss_chunks", 3), ("loss_chunks", 0), ("context_length", 2), ("eval_windows", -1), ("position_windows", -1)],
)
def test_numbers_that_do_not_fit_are_refused_before_training(corpus, field, value):
    with pytest.raises(ValueError, match=field):
        task(small(corpus, **{field: value}))


def test_a_text_shorter_than_the_context_is_refused(corpus):
    with pytest.raises(ValueError, match="context_length"):
        task(small(corpus, context_length=400))


def test_peers_losses_are_judged_only_at_their_settings(corpus, monkeypatch):
    measure = at_setting_of_peer(NANOGPT_CPU, lambda result: "judged")
    preset = override(EXPERIMENT.config, NANOGPT_CPU)
    assert measure(SimpleNamespace(config=replace(preset, num_steps=2001))) == "another setting than the peer's"
    at_setting = SimpleNamespace(config=replace(preset, corpus=str(corpus), seed=3))
    assert measure(at_setting) == "the corpus is not tiny_shakespeare"
    shakespeare = SimpleNamespace(sha256=TINY_SHAKESPEARE_SHA256)
    monkeypatch.setattr("experiments.transformer_lm.claims.read_corpus", lambda config, length: shakespeare)
    assert measure(at_setting) == "judged"


def test_the_peers_settings_are_those_that_they_publish():
    preset = override(EXPERIMENT.config, EXPERIMENT.presets["nanogpt_cpu"].overrides)
    assert (preset.num_layers, preset.context_length, preset.batch_size, preset.num_steps) == (4, 64, 12, 2000)
    assert preset.optimizer.learning_rate == 1e-3
    assert preset.dropout == 0


def test_the_shape_of_gpt2_has_its_parameters():
    config = override(EXPERIMENT.config, EXPERIMENT.presets["gpt2_124m"].overrides)
    module, _ = language_model(config, 50257)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1), int))["params"]
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 124_439_808


def test_arms_share_their_text(corpus):
    config = small(corpus)
    assert read_corpus(config) is read_corpus(replace(config, num_layers=1))
