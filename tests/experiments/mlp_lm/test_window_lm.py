"""The fixed-window neural LM: its equation, its parts, reading by pieces, and the check of prompts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mlp_lm import window_lm
from experiments.mlp_lm.window_lm import WindowConfig, WindowLM, prompt_errors
from models.sampling import generate

V, D, F, ORDER = 11, 4, 6, 4
WHOLE = {"activation": "relu", "direct": True, "layernorm": True, "residual": True, "num_hidden": 2}


def make(**options):
    """(module, variables with every parameter random)."""
    module = WindowLM(WindowConfig(V, order=ORDER, d_embed=D, d_hidden=F, padding=2, **options))
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, ORDER - 1), jnp.int32))
    random = np.random.default_rng(0)
    return module, jax.tree.map(lambda x: jnp.asarray(0.5 * random.normal(size=x.shape), jnp.float32), shapes)


@pytest.fixture(scope="module")
def plain():
    return make()


@pytest.fixture(scope="module")
def whole():
    return make(**WHOLE)


WINDOWS_BW = np.random.default_rng(1).integers(0, V, (5, ORDER - 1))


def test_the_equation_of_the_paper(plain):
    module, variables = plain
    p = jax.tree.map(np.asarray, variables["params"])
    x_BE = p["embed"]["embedding"][WINDOWS_BW].reshape(5, -1)
    h_BF = np.tanh(x_BE @ p["hidden_0_in"]["kernel"] + p["hidden_0_in"]["bias"])
    expected_BV = h_BF @ p["unembed"]["kernel"] + p["unembed"]["bias"]
    np.testing.assert_allclose(module.apply(variables, WINDOWS_BW), expected_BV, rtol=2e-5, atol=1e-5)


def test_direct_connections_layernorm_and_residual(whole):
    module, variables = whole
    p = jax.tree.map(np.asarray, variables["params"])

    def layer(x, i):
        y = x @ p[f"hidden_{i}_in"]["kernel"] + p[f"hidden_{i}_in"]["bias"]
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
        return np.maximum(y * p[f"norm_{i}"]["scale"] + p[f"norm_{i}"]["bias"], 0)

    x_BE = p["embed"]["embedding"][WINDOWS_BW].reshape(5, -1)
    h_BF = layer(x_BE, 0)
    h_BF = h_BF + layer(h_BF, 1)
    expected_BV = h_BF @ p["unembed"]["kernel"] + p["unembed"]["bias"] + x_BE @ p["direct"]["kernel"]
    np.testing.assert_allclose(module.apply(variables, WINDOWS_BW), expected_BV, rtol=1e-4, atol=1e-4)


def test_every_place_of_the_window_counts_and_has_its_own_weights(plain):
    module, variables = plain
    before_V = module.apply(variables, jnp.array([1, 2, 3]))
    for changed in ([4, 2, 3], [1, 4, 3], [1, 2, 4], [3, 2, 1]):
        assert np.abs(module.apply(variables, jnp.array(changed)) - before_V).max() > 1e-3


def test_dropout_is_on_only_where_asked():
    module, variables = make(dropout=0.5)
    still_BV = module.apply(variables, WINDOWS_BW)
    np.testing.assert_array_equal(module.apply(variables, WINDOWS_BW), still_BV)
    noisy_BV = module.apply(variables, WINDOWS_BW, deterministic=False, rngs={"dropout": jax.random.key(0)})
    assert np.abs(noisy_BV - still_BV).max() > 0.1


@pytest.mark.parametrize("length", [1, ORDER - 1, ORDER, ORDER + 1])
def test_a_single_prompt_of_any_length_is_continued_as_by_whole_windows(whole, length):
    module, variables = whole
    prompt_T = np.random.default_rng(2).integers(0, V, length)
    text = [2] * (ORDER - 1) + prompt_T.tolist()
    apply = jax.jit(module.apply)
    for _ in range(6):
        text.append(int(apply(variables, jnp.array(text[-(ORDER - 1) :])).argmax()))
    decoder = window_lm.decoder(module)
    written_T = generate(decoder, variables, jax.random.key(0), prompt_T, 6, temperature=0)
    np.testing.assert_array_equal(written_T, text[-6:])


def test_reading_in_pieces_is_one_pass_over_all_windows(whole):
    module, variables = whole
    tokens_BT = jnp.asarray(np.random.default_rng(3).integers(0, V, (3, 7)))
    windows_BTW = window_lm.windows(tokens_BT, module.config)
    np.testing.assert_array_equal(windows_BTW[0, 0], [2, 2, 2])
    np.testing.assert_array_equal(windows_BTW[0, 1], [2, 2, tokens_BT[0, 0]])
    np.testing.assert_array_equal(windows_BTW[0, 6], tokens_BT[0, 3:6])
    logits_BTV = module.apply(variables, windows_BTW)
    decoder = window_lm.decoder(module)
    advance = jax.jit(decoder.advance)
    for pieces in ([1, 1, 1, 1, 1, 1], [6], [2, 4], [4, 1, 1]):
        cache, read = decoder.start(3), 0
        for size in pieces:
            logits_BV, cache = advance(variables, cache, tokens_BT[:, read : read + size])
            read += size
        np.testing.assert_allclose(logits_BV, logits_BTV[:, 6], rtol=1e-5, atol=1e-5)


def test_a_model_that_ignores_its_prompt_is_caught(whole):
    module, variables = whole
    text_N = np.random.default_rng(4).integers(0, V, ORDER + 1)
    decoder = window_lm.decoder(module)
    assert prompt_errors(module, decoder, variables, text_N).sum() == 0
    forgetful = decoder._replace(advance=lambda v, cache, tokens: decoder.advance(v, 0 * cache, tokens))
    assert prompt_errors(module, forgetful, variables, text_N).sum() > 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"order": 1}, "order=1 must be at least 2"),
        ({"d_hidden": 0}, "d_hidden=0"),
        ({"activation": "sine"}, "'sine' is not one of .*relu.*tanh"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"padding": 11}, "padding=11 must be one of the 11 tokens"),
    ],
)
def test_a_wrong_config_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        WindowConfig(V, **options)


def test_a_window_of_another_length_is_refused(plain):
    module, variables = plain
    with pytest.raises(ValueError, match="order 4 reads windows of 3 tokens, not 5"):
        module.apply(variables, jnp.zeros((1, 5), jnp.int32))
