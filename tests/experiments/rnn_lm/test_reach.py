"""How far back gradients reach: against powers of a matrix, and one differentiation for each state."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.rnn_lm.reach import gradient_reach
from models.rnn_lm import RecurrentConfig, RecurrentLM, last_outputs


def test_reach_of_a_linear_recurrence_is_a_power_and_meets_its_bound():
    """h' = h W with W orthogonal times .8: every Jacobian has one singular value, .8."""
    W = 0.8 * np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0].astype(np.float32)
    norms, bounds = gradient_reach(
        lambda h, x: h @ W + x, jnp.ones(3), jnp.zeros((5, 3)), lambda h: 2 * h[0], bounds=True
    )
    np.testing.assert_allclose(norms, np.log(2) + np.arange(6) * np.log(0.8), atol=1e-5)
    np.testing.assert_allclose(bounds, norms, atol=1e-5)


def test_reach_is_the_gradient_by_each_state_and_below_its_bound():
    """Against one differentiation for each state that the loss is restarted from."""
    model = RecurrentLM(RecurrentConfig(6, "lstm", width=4, d_embedding=3))
    variables = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    tokens = [0, 3, 1, 5]

    def step(states, token):
        return model.apply(variables, token[None], states, method="read")[1]

    def loss(states):
        return jnp.sin(last_outputs(model.config, states)).sum()

    reach = jax.jit(lambda: gradient_reach(step, model.initial_states(1), jnp.array(tokens), loss, bounds=True))
    norms, bounds = reach()

    @jax.jit
    def one_by_one():
        states, log_norms = [model.initial_states(1)], []
        for token in tokens:
            states.append(step(states[-1], jnp.int32(token)))
        for k in range(5):

            def from_there(state, k=k):
                for token in tokens[4 - k :]:
                    state = step(state, jnp.int32(token))
                return loss(state)

            leaves = jax.tree.leaves(jax.grad(from_there)(states[4 - k]))
            log_norms.append(jnp.log(jnp.sqrt(sum((g**2).sum() for g in leaves))))
        return jnp.stack(log_norms)

    np.testing.assert_allclose(norms, one_by_one(), atol=1e-4)
    assert (norms <= bounds + 1e-5).all()
    assert bounds[0] == norms[0]
