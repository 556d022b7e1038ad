"""Training with and without clipping."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.rnn_lm.clipping import train_exploding_network


def test_clipping_changes_steps_with_large_gradients_only():
    rows_BN = jnp.asarray(np.random.default_rng(0).integers(0, 5, (2, 30)), jnp.int32)
    measured = train_exploding_network(
        jax.random.key(0),
        5,
        rows_BN,
        width=6,
        gain=1.0,
        length=10,
        num_steps=4,
        learning_rates=(0.0, 0.1),
        clips=(jnp.inf, 1e3, 1e-3),
    )
    (still, losses), (_, norms) = measured["clipping/losses"], measured["clipping/norms"]
    np.testing.assert_array_equal(still[0], still[2])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    np.testing.assert_allclose(losses[2], losses[2, 0], rtol=0.1)
    assert norms[0, 0] == norms[2, 0] > 1e-3
    assert losses[0, 3] < losses[2, 3]
