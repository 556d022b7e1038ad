"""Perplexity and cross-entropy: what must hold between them, tried on random models.

Axes: M models, N predictions, V vocabulary.
"""

import jax
import jax.numpy as jnp
import numpy as np


def perplexity(log_probabilities_N):
    """The geometric mean of 1 / p over predictions, as a product of N-th roots and not by its logarithm."""
    return jnp.prod(jnp.exp(-log_probabilities_N) ** (1 / log_probabilities_N.size))


def perplexity_identities(seed=0, vocab_size=10_000, num_models=20, num_predictions=50):
    """What claims about perplexity compare, in float64.

    Returns a dict: the uniform model's ``uniform_perplexity`` and ``uniform_nats``; of random models the largest
    relative ``identity_error`` between perplexity and exp(mean cross-entropy), the share of pairs that both ``order``
    alike, and the largest ``direction_error``, 1 - cosine of their gradients with respect to the logits.
    """
    generator = np.random.default_rng(seed)
    with jax.enable_x64(True):
        uniform_N = jnp.full(num_predictions, -jnp.log(jnp.float64(vocab_size)))
        normal_MNV = generator.normal(size=(num_models, num_predictions, 50))
        logits_MNV = normal_MNV * generator.uniform(0.5, 2, (num_models, 1, 1))
        targets_N = generator.integers(0, 50, num_predictions)

        def target_log_probabilities(logits_NV):
            return jax.nn.log_softmax(logits_NV)[jnp.arange(num_predictions), targets_N]

        def perplexity_of_logits(logits_NV):
            return perplexity(target_log_probabilities(logits_NV))

        def cross_entropy(logits_NV):
            return -target_log_probabilities(logits_NV).mean()

        perplexities_M, gradients_MNV = jax.jit(jax.vmap(jax.value_and_grad(perplexity_of_logits)))(logits_MNV)
        entropies_M, entropy_gradients_MNV = jax.jit(jax.vmap(jax.value_and_grad(cross_entropy)))(logits_MNV)
        a, b = gradients_MNV.reshape(num_models, -1), entropy_gradients_MNV.reshape(num_models, -1)
        cosines_M = (a * b).sum(1) / jnp.linalg.norm(a, axis=1) / jnp.linalg.norm(b, axis=1)
        ordered_MM = (perplexities_M[:, None] < perplexities_M) == (entropies_M[:, None] < entropies_M)
        return {
            "uniform_perplexity": np.asarray(perplexity(uniform_N)),
            "uniform_nats": np.asarray(-uniform_N.mean()),
            "identity_error": np.asarray(jnp.abs(perplexities_M / jnp.exp(entropies_M) - 1).max()),
            "order": np.asarray(ordered_MM.mean()),
            "direction_error": np.asarray((1 - cosines_M).max()),
        }
