"""Markov chains, a fresh random transition matrix for each sequence (Edelman et al. 2024, section 2).

Axes: B sequences, T tokens, K states, P permutations of the states.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

ROW_KINDS = ("dirichlet", "doubly_stochastic")


def check(num_states, rows="dirichlet"):
    """Raises ValueError where no such chain exists, or where its states have too many permutations."""
    if num_states < 2:
        raise ValueError(f"num_states={num_states} must be at least 2")
    if rows not in ROW_KINDS:
        raise ValueError(f"rows={rows!r} is not one of {', '.join(ROW_KINDS)}")
    if rows == "doubly_stochastic" and num_states > 5:
        raise ValueError(f"num_states={num_states} must be at most 5 for doubly stochastic rows")


def stationary_distribution(transition_KK):
    """The distribution pi [K] that a chain with transition matrix P keeps: pi (I - P + E) = 1, where E is all ones."""
    K = transition_KK.shape[-1]
    return jnp.linalg.solve((jnp.eye(K) - transition_KK + 1.0).T, jnp.ones(K))


def random_transitions(key, batch_size, num_states, rows="dirichlet"):
    """Random transition matrices [B, K, K].

    ``rows`` is one of ROW_KINDS. "dirichlet": rows are independent and uniform on the simplex. "doubly_stochastic":
    columns sum to one as well, so that all states are equally frequent. Such matrices are permutation matrices mixed
    with weights uniform on the simplex, which by Birkhoff's theorem reach every doubly stochastic matrix.
    """
    # Exponential random numbers over their sum are uniform on the simplex.
    if rows == "doubly_stochastic":
        permutations_PKK = np.eye(num_states)[list(itertools.permutations(range(num_states)))]
        rates_BP = jax.random.exponential(key, (batch_size, len(permutations_PKK)))
        return jnp.einsum("BP,PKJ->BKJ", rates_BP / rates_BP.sum(-1, keepdims=True), permutations_PKK)
    rates_BKK = jax.random.exponential(key, (batch_size, num_states, num_states))
    return rates_BKK / rates_BKK.sum(-1, keepdims=True)


def markov(key, batch_size, context_length, num_states, rows="dirichlet"):
    """A batch of chains, each with its own ``random_transitions`` and a first state from its stationary distribution.

    Returns:
      {"tokens": [B, T], "targets": [B, T], the token after each token, "transition": [B, K, K]}.
    """
    transition_key, uniform_key = jax.random.split(key)
    transition_BKK = random_transitions(transition_key, batch_size, num_states, rows)
    first_BK = jax.vmap(stationary_distribution)(transition_BKK)
    uniform_TB = jax.random.uniform(uniform_key, (context_length + 1, batch_size))

    def draw(probabilities_BK, uniform_B):
        is_lower_state_BK = uniform_B[:, None] >= jnp.cumsum(probabilities_BK, axis=-1)
        return jnp.minimum(is_lower_state_BK.sum(-1), num_states - 1)

    def advance(state_B, uniform_B):
        row_BK = jnp.take_along_axis(transition_BKK, state_B[:, None, None], axis=1)[:, 0]
        state_B = draw(row_BK, uniform_B)
        return state_B, state_B

    start_B = draw(first_BK, uniform_TB[0])
    _, rest_TB = jax.lax.scan(advance, start_B, uniform_TB[1:])
    chain_BT = jnp.concatenate([start_B[None], rest_TB]).T
    return {"tokens": chain_BT[:, :-1], "targets": chain_BT[:, 1:], "transition": transition_BKK}


def reference_predictions(batch):
    """The next-token distributions [B, T, K] of four predictors, each of which knows more than the one before.

    Returns:
      {"uniform": all tokens equally likely; "unigram": token counts so far plus one; "bigram": transition counts so far
      plus one, the Bayes predictor under the Dirichlet(1) prior except for what the first state tells; "true": the
      transition matrix}.
    """
    tokens_BT, targets_BT, transition_BKK = batch["tokens"], batch["targets"], batch["transition"]
    K = transition_BKK.shape[-1]
    token_BTK = jax.nn.one_hot(tokens_BT, K)
    next_BTK = jax.nn.one_hot(targets_BT, K)
    unigram_BTK = jnp.cumsum(token_BTK, axis=1) + 1.0
    pairs_BTKK = token_BTK[:, :, :, None] * next_BTK[:, :, None, :]
    earlier_BTKK = jnp.cumsum(pairs_BTKK, axis=1) - pairs_BTKK
    bigram_BTK = jnp.einsum("BTK,BTKJ->BTJ", token_BTK, earlier_BTKK) + 1.0
    weights = {
        "uniform": jnp.ones_like(token_BTK),
        "unigram": unigram_BTK,
        "bigram": bigram_BTK,
        "true": jnp.take_along_axis(transition_BKK, tokens_BT[:, :, None], axis=1),
    }
    return {name: weights_BTK / jnp.sum(weights_BTK, -1, keepdims=True) for name, weights_BTK in weights.items()}


def reference_losses(batch):
    """{predictor: losses [B, T] in nats} of the four ``reference_predictions``."""
    next_BTK = jax.nn.one_hot(batch["targets"], batch["transition"].shape[-1])
    predictions = reference_predictions(batch)
    return {name: -jnp.log(jnp.sum(predicted_BTK * next_BTK, -1)) for name, predicted_BTK in predictions.items()}
