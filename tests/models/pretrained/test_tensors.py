"""Arrays of every family as parameters: the model computes what the reference library computed."""

import jax
import numpy as np

from models.pretrained.folder import load
from models.pretrained.text import pad_left
from models.sampling import generate
from models.transformer import decoder


def prompts(reference):
    return [row[visible] for row, visible in zip(reference["padded_BT"], reference["visible_BT"], strict=True)]


def test_logits_are_the_references(reference_folder, reference_model):
    reference = np.load(reference_folder / "reference.npz")
    module, variables = reference_model
    # One batch: a whole sequence, and prompts padded on the left to its length.
    tokens_BT, positions_BT, visible_BT = pad_left([reference["tokens_BT"][0], *prompts(reference)], 96)
    logits_BTV = jax.jit(module.apply)(variables, tokens_BT, positions_BT=positions_BT, visible_BK=visible_BT)
    np.testing.assert_allclose(logits_BTV[:1], reference["logits_BTV"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(logits_BTV[1:, -1], reference["last_logits_BV"], atol=1e-4, rtol=0)


def test_greedy_generation_is_the_references(reference_folder):
    reference = np.load(reference_folder / "reference.npz")
    module, variables = load(reference_folder, context_length=24)
    tokens_BT, _, visible_BT = pad_left(prompts(reference), 24, num_new_tokens=12)
    key = jax.random.key(0)
    greedy_BT = generate(decoder(module), variables, key, tokens_BT, 12, visible_BT=visible_BT, temperature=0.0)
    np.testing.assert_array_equal(greedy_BT, reference["greedy_BT"])


def test_parameters_are_those_of_the_module(reference_model):
    module, variables = reference_model
    shapes = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 1), np.int32))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), variables) == jax.tree.map(lambda x: (x.shape, x.dtype), shapes)
