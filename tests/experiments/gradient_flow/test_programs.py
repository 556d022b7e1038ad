"""What programs say of themselves, on programs whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.gradient_flow.programs import compiled_temporary_bytes, in_segments, longest_chain, saved_bytes

W = np.random.default_rng(0).normal(size=(6, 3, 3)).astype(np.float32) / 2
X = np.ones((2, 3), np.float32)


def layer(w, h):
    return jnp.tanh(h @ w)


def unrolled(weights, h):
    for w in weights:
        h = layer(w, h)
    return h


def scanned(weights, h):
    return jax.lax.scan(lambda h, w: (layer(w, h), None), h, weights)[0]


@pytest.mark.parametrize("run", [unrolled, scanned, jax.jit(unrolled), lambda w, h: in_segments(layer, w, h, 2)])
def test_layers_in_sequence_wait_for_each_other(run):
    assert longest_chain(run, W, X) == 6


def test_products_side_by_side_do_not_wait():
    assert longest_chain(lambda w, h: sum(h @ w[i] for i in range(6)), W, X) == 1
    assert longest_chain(lambda w, h: (h + 1, h @ w[0] @ w[1]), W, X) == 2
    assert longest_chain(lambda w, h: jax.vmap(lambda row: layer(w[0], row))(h), W, X) == 1
    assert longest_chain(lambda w, h: h + 1, W, X) == 0
    # A scan whose turns do not read each other's products is not a chain.
    assert longest_chain(lambda w, h: jax.lax.scan(lambda c, w: (c, h @ w), 0.0, w)[1], W, X) == 1


def test_loops_without_a_length_are_refused():
    with pytest.raises(ValueError, match="length of a while"):
        longest_chain(lambda h: jax.lax.while_loop(lambda h: h.sum() < 9, lambda h: h @ W[0], h), X)


def test_saved_bytes_of_products():
    x, y = (np.ones(n, np.float32) for n in (100, 100))
    assert saved_bytes(lambda x: 3.0 * x, x) <= 4  # linear: at most the factor
    assert saved_bytes(lambda x, y: x * y, x, y) == 800  # both factors
    assert saved_bytes(lambda x: jnp.sin(jnp.sin(x)), x) == 800  # two cosines


def test_rematerialisation_saves_the_inputs_only():
    x = np.ones(100, np.float32)
    assert saved_bytes(jax.checkpoint(lambda x: jnp.sin(jnp.sin(jnp.sin(x)))), x) == 400


def test_scratch_memory_grows_with_depth():
    wide = np.ones((64, 256), np.float32)

    def loss(w, h):
        return jnp.sum(scanned(w, h))

    shallow, deep = (compiled_temporary_bytes(loss, np.zeros((depth, 256, 256), np.float32), wide) for depth in (2, 10))
    assert deep - shallow >= 8 * wide.nbytes


def test_segments_compute_the_same_and_must_divide():
    for length in (1, 2, 3, 6):
        np.testing.assert_allclose(in_segments(layer, W, X, length), unrolled(W, X), rtol=1e-5)
        measured = jax.grad(lambda w, n=length: in_segments(layer, w, X, n).sum())(W)
        np.testing.assert_allclose(measured, jax.grad(lambda w: unrolled(w, X).sum())(W), atol=1e-5)
    with pytest.raises(ValueError, match="Segments of 4 layers do not divide 6"):
        in_segments(layer, W, X, 4)
