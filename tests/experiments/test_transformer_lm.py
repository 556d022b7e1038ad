"""The Transformer on text: what it refuses, memory-mapped text, chunked losses, the peers' settings."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments
from data import tokens
from models.losses import chunked_token_losses, token_losses
from models.transformer import Transformer, TransformerConfig
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
    experiment = experiments.load("transformer_lm")
    return override(experiment.config, SMALL | {"corpus": str(corpus), "tokenizer": "char"} | overrides)


def test_chunked_losses_and_their_gradients_equal_whole_ones():
    x, kernel = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(2, 6, 5), (5, 11)]))
    targets = jax.random.randint(jax.random.key(2), (2, 6), 0, 11)

    def whole(x, kernel):
        return (token_losses(x @ kernel, targets) ** 2).sum()

    def chunked(x, kernel):
        return (chunked_token_losses(x, kernel, targets, 4) ** 2).sum()

    for a, b in zip(
        *(jax.tree.leaves(jax.value_and_grad(f, (0, 1))(x, kernel)) for f in (whole, chunked)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    with pytest.raises(ValueError, match="12 tokens of a batch are not divisible by loss_chunks=5"):
        chunked_token_losses(x, kernel, targets, 5)


@pytest.mark.parametrize("num_chunks", [pytest.param(1, marks=pytest.mark.slow), 32])
def test_gradients_in_half_precision_are_added_up_in_whole(num_chunks):
    """Of the unembedding over chunks, and of an embedding row over all the places where its token stands."""
    x, kernel = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(8, 64, 16), (16, 5)]))
    targets = jax.random.randint(jax.random.key(2), (8, 64), 0, 5)

    def gradient(dtype, num_chunks):
        return jax.grad(lambda k: chunked_token_losses(x.astype(dtype), k, targets, num_chunks).sum())(kernel)

    whole, half = gradient("float32", 1), gradient("bfloat16", num_chunks)
    assert jnp.linalg.norm(half - whole) < 0.005 * jnp.linalg.norm(whole)
    model = Transformer(TransformerConfig(vocab_size=3, context_length=64, num_layers=0, d_model=16, positions="none"))
    variables = model.init(jax.random.key(0), targets % 3)

    def of_embedding(dtype):
        module = model.clone(config=replace(model.config, dtype=dtype))
        return jax.grad(lambda v: token_losses(module.apply(v, targets % 3), targets % 3).sum())(variables)

    whole, half = (of_embedding(dtype)["params"]["embed"] for dtype in ("float32", "bfloat16"))
    assert jnp.linalg.norm(half - whole) < 0.01 * jnp.linalg.norm(whole)


def test_loss_is_that_of_the_next_character_however_it_is_computed(corpus):
    experiment = experiments.load("transformer_lm")
    task = experiment.task(small(corpus))
    variables = task.init(jax.random.key(0))
    batch = task.batch(0, 3, task.data)
    np.testing.assert_array_equal(batch["tokens"][:, 1:], batch["targets"][:, :-1])
    loss = jax.jit(task.loss)(variables, batch, {"dropout": jax.random.key(0)})
    apply = jax.jit(task.model.apply)
    by_hand = -jax.nn.log_softmax(apply(variables, batch["tokens"]))
    by_hand = jnp.take_along_axis(by_hand, batch["targets"][..., None], -1)
    np.testing.assert_allclose(loss.sum, by_hand.sum(), rtol=1e-5)
    assert loss.weight == 2 * 16
    chunked = jax.jit(experiment.task(small(corpus, loss_chunks=4)).loss)(variables, batch, {})
    np.testing.assert_allclose(chunked.sum, loss.sum, rtol=1e-5)
    total, weight = jax.jit(task.evaluate)(variables, task.data)["loss"]
    windows = task.data["validation"].astype(int)
    losses = token_losses(apply(variables, windows[:, :-1]), windows[:, 1:])
    np.testing.assert_allclose(total / weight, losses.mean(), rtol=1e-5)


def test_text_larger_than_memory_is_read_from_disk(corpus, monkeypatch):
    monkeypatch.setattr(tokens, "MEMORY_MAPPED_BYTES", 100)
    task = experiments.load("transformer_lm").task(small(corpus))
    assert task.batch_on_host
    assert set(task.data) == {"validation", "by_position"}
    batch, again, other = task.batch(0, 1), task.batch(0, 1), task.batch(1, 1)
    np.testing.assert_array_equal(batch["tokens"], again["tokens"])
    assert (batch["tokens"] != other["tokens"]).any()
    np.testing.assert_array_equal(batch["tokens"][:, 1:], batch["targets"][:, :-1])


@pytest.mark.parametrize(
    ("field", "value"),
    [("loss_chunks", 3), ("loss_chunks", 0), ("context_length", 2), ("eval_windows", -1), ("position_windows", -1)],
)
def test_numbers_that_do_not_fit_are_refused_before_training(corpus, field, value):
    with pytest.raises(ValueError, match=field):
        experiments.load("transformer_lm").task(small(corpus, **{field: value}))


def test_a_text_shorter_than_the_context_is_refused(corpus):
    with pytest.raises(ValueError, match="context_length"):
        experiments.load("transformer_lm").task(small(corpus, context_length=400))


def test_peers_losses_are_judged_only_at_their_settings(corpus):
    experiment = experiments.load("transformer_lm")
    found = {claim.id: claim for claim in experiment.claims({})}
    assert found["1a"].passed is None
    preset = override(experiment.config, experiment.presets["nanogpt_cpu"].overrides)
    assert (preset.num_layers, preset.context_length, preset.batch_size, preset.num_steps) == (4, 64, 12, 2000)
    assert preset.optimizer.learning_rate == 1e-3
    assert preset.dropout == 0


def test_the_shape_of_gpt2_has_its_parameters():
    experiment = experiments.load("transformer_lm")
    config = override(experiment.config, experiment.presets["gpt2_124m"].overrides)
    module, _ = experiment.language_model(config, 50257)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1), int))["params"]
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 124_439_808
    assert replace(config, num_layers=1) != config
