"""What a linear classifier reads off the residual stream: multinomial logistic regression on activations.

Axes: N examples, D features, C classes, B sequences, T time, L layers.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from models.losses import token_losses
from probes import sites


@partial(jax.jit, static_argnames=("num_classes", "num_steps"))
def fit_and_predict(train_ND, train_labels_N, test_ND, num_classes, num_steps=100, weight_decay=1e-3):
    """The class [N] that a linear classifier, fitted to the training examples, puts first for each test example.

    Multinomial logistic regression (Alain and Bengio 2016, section 3), every feature standardised by its mean and
    standard deviation over the training examples. The loss is the mean cross-entropy plus weight_decay / 2 times the
    squared norm of the weights: convex, so ``num_steps`` of Adam over all examples need no random start.

    Args:
      train_labels_N: classes 0 ... num_classes - 1.
    """
    dtype = jnp.promote_types(train_ND.dtype, jnp.float32)
    train_ND, test_ND = train_ND.astype(dtype), test_ND.astype(dtype)
    mean_D, deviation_D = train_ND.mean(0), train_ND.std(0)
    # A feature that is the same in all training examples tells nothing; rounding must not make it look as if it varied.
    varies_D = deviation_D > 1e-5 * jnp.abs(mean_D)
    scale_D = jnp.where(varies_D, 1 / jnp.where(varies_D, deviation_D, 1), 0)
    train_ND, test_ND = (train_ND - mean_D) * scale_D, (test_ND - mean_D) * scale_D

    def logits(weights, x_ND):
        return x_ND @ weights["kernel_DC"] + weights["bias_C"]

    def loss(weights):
        losses_1N = token_losses(logits(weights, train_ND)[None], train_labels_N[None])
        return losses_1N.mean() + weight_decay / 2 * (weights["kernel_DC"] ** 2).sum()

    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, num_steps))

    def step(_, carry):
        weights, state = carry
        updates, state = optimizer.update(jax.grad(loss)(weights), state)
        return optax.apply_updates(weights, updates), state

    zeros = {"kernel_DC": jnp.zeros((train_ND.shape[1], num_classes), dtype), "bias_C": jnp.zeros(num_classes, dtype)}
    weights, _ = jax.lax.fori_loop(0, num_steps, step, (zeros, optimizer.init(zeros)))
    return logits(weights, test_ND).argmax(-1)


@partial(jax.jit, static_argnames=("model", "num_tokens"))
def previous_token_probe(model, variables, train_tokens_BT, test_tokens_BT, num_tokens):
    """How well a linear classifier reads the previous token off the residual stream after 0, 1 ... L layers.

    One classifier is fitted to each depth of the stream, over positions 2 ... T-1 together. Position 1 is left out: it
    follows BOS where there is one, and tells nothing. On sequences of random tokens the embedding is at chance,
    1 / num_tokens; attention moved there what is above chance.

    Args:
      train_tokens_BT, test_tokens_BT: different sequences; from position 1 on, ids 0 ... num_tokens - 1.
    Returns:
      accuracies [L + 1, T - 2] on the test sequences, at positions 2 ... T-1: of the embedding, after layer 0, ...
    Raises:
      ValueError: the model has no layers, or T exceeds its context.
    """

    def streams_and_labels(tokens_BT):
        observe = {site: lambda x_BTD: x_BTD[:, 2:] for site in ("layer_*/residual_in", "residual_out")}
        _, activations = sites.apply(model, variables, tokens_BT, observe=observe)
        return jnp.stack([*activations.values()]), tokens_BT[:, 1:-1]

    train_LBTD, train_labels_BT = streams_and_labels(train_tokens_BT)
    test_LBTD, test_labels_BT = streams_and_labels(test_tokens_BT)

    def accuracy_at_depth(streams):
        train_ND, test_ND = (x_BTD.reshape(-1, x_BTD.shape[-1]) for x_BTD in streams)
        predicted_N = fit_and_predict(train_ND, train_labels_BT.reshape(-1), test_ND, num_tokens)
        return (predicted_N.reshape(test_labels_BT.shape) == test_labels_BT).mean(0)

    return jax.lax.map(accuracy_at_depth, (train_LBTD, test_LBTD))
