"""Perplexity and cross-entropy: identities on models that are random.

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
    alike, and the largest ``direction_error``, 1 - cosine of their gradients by the logits.
    """
    generator = np.random.default_rng(seed)
    with jax.enable_x64(True):
        uniform_N = jnp.full(num_predictions, -jnp.log(jnp.float64(vocab_size)))
        logits_MNV = generator.normal(size=(num_models, num_predictions, 50)) * generator.uniform(
            0.5, 2, (num_models, 1, 1)
        )
        targets_N = generator.integers(0, 50, num_predictions)

        def of_targets(logits_NV):
            return jax.nn.log_softmax(logits_NV)[jnp.arange(num_predictions), targets_N]

        def by_product(logits_NV):
            return perplexity(of_targets(logits_NV))

        def cross_entropy(logits_NV):
            return -of_targets(logits_NV).mean()

        gradients = (jax.jit(jax.vmap(jax.value_and_grad(f))) for f in (by_product, cross_entropy))
        (products_M, of_products), (entropies_M, of_entropies) = (f(logits_MNV) for f in gradients)
        a, b = of_products.reshape(num_models, -1), of_entropies.reshape(num_models, -1)
        cosines_M = (a * b).sum(1) / jnp.linalg.norm(a, axis=1) / jnp.linalg.norm(b, axis=1)
        ordered = (products_M[:, None] < products_M) == (entropies_M[:, None] < entropies_M)
        return {
            "uniform_perplexity": np.asarray(perplexity(uniform_N)),
            "uniform_nats": np.asarray(-uniform_N.mean()),
            "identity_error": np.asarray(jnp.abs(products_M / jnp.exp(entropies_M) - 1).max()),
            "order": np.asarray(ordered.mean()),
            "direction_error": np.asarray((1 - cosines_M).max()),
        }
