"""Softmax and its loss: the gradient, limits of the temperature, large logits, and a loss that is a vector.

Axes: N examples, D dimensions, K classes.
"""

import jax
import jax.numpy as jnp
import numpy as np

from models.losses import token_losses

TEMPERATURES = (1e-9, 1e9)
LARGEST_LOGIT = 1e4
NUM_DIFFERENTIATED = 64  # examples whose losses are differentiated


def properties(params, points_ND, labels_N):
    """`gradients`, `limits` and `stability` together, for a classifier's {"kernel" [D, K], "bias" [K] or absent}."""
    params = {name: np.asarray(x, np.float64) for name, x in params.items()}
    points_ND, labels_N = np.asarray(points_ND, np.float64), np.asarray(labels_N)
    logits_NK = points_ND @ params["kernel"] + params.get("bias", 0.0)
    large_NK = LARGEST_LOGIT * logits_NK / np.abs(logits_NK).max()
    with jax.enable_x64(True):
        exact = gradients(params, points_ND[:NUM_DIFFERENTIATED], labels_N[:NUM_DIFFERENTIATED]) | limits(logits_NK)
    measured = exact | stability(large_NK.astype(np.float32), labels_N)
    return {name: np.asarray(x) for name, x in measured.items()}


def gradients(params, points_ND, labels_N):
    """Errors of y_hat - y, and of what vjp says of a loss with one entry a point, against their definitions."""
    logits_NK = points_ND @ params["kernel"] + params.get("bias", 0.0)
    y_NK = np.eye(logits_NK.shape[1])[labels_N]

    def losses(kernel):
        return token_losses(points_ND @ kernel + params.get("bias", 0.0), labels_N)

    by_hand_NK = jax.nn.softmax(logits_NK) - y_NK
    automatic_NK = jax.grad(lambda z: token_losses(z, labels_N).sum())(logits_NK)
    _, pull_back = jax.vjp(losses, params["kernel"])
    gradient_of_sum = jax.grad(lambda kernel: losses(kernel).sum())(params["kernel"])
    jacobian_NDK = points_ND[:, :, None] * np.asarray(by_hand_NK)[:, None, :]
    rows_NDK = jax.vmap(lambda cotangent: pull_back(cotangent)[0])(np.eye(len(labels_N)))
    try:
        jax.grad(losses)(params["kernel"])
        refused = 0.0
    except TypeError:
        refused = 1.0
    return {
        "logit_gradient_error": jnp.abs(by_hand_NK - automatic_NK).max(),
        "grad_refuses_a_vector": refused,
        "cotangent_of_ones_error": jnp.abs(pull_back(np.ones(len(labels_N)))[0] - gradient_of_sum).max(),
        "jacobian_error": jnp.abs(rows_NDK - jacobian_NDK).max(),
        "jacobian_shape": np.array(rows_NDK.shape),
    }


def limits(logits_NK):
    """Largest total variation of softmax(z / T) from the argmax's one-hot at T -> 0, and from uniform at T -> inf."""
    cold_NK, hot_NK = (jax.nn.softmax(logits_NK / temperature) for temperature in TEMPERATURES)
    one_hot_NK = np.eye(logits_NK.shape[1])[logits_NK.argmax(1)]
    tied = jax.nn.softmax(jnp.array([1.0, 1.0, 0.0]) / TEMPERATURES[0])
    return {
        "cold_distance": jnp.abs(cold_NK - one_hot_NK).sum(1).max() / 2,
        "hot_distance": jnp.abs(hot_NK - 1 / logits_NK.shape[1]).sum(1).max() / 2,
        "tied_distance": jnp.abs(tied - jnp.array([0.5, 0.5, 0.0])).sum() / 2,
    }


def stability(logits_NK, labels_N):
    """Errors of loss and gradient in float32 for logits up to LARGEST_LOGIT, and how often the definition overflows."""
    exact_NK = logits_NK.astype(np.float64)
    shifted_NK = exact_NK - exact_NK.max(1, keepdims=True)
    label_index = np.arange(len(labels_N)), labels_N
    exact_N = np.log(np.exp(shifted_NK).sum(1)) - shifted_NK[label_index]
    exact_gradient_NK = np.exp(shifted_NK) / np.exp(shifted_NK).sum(1, keepdims=True)
    exact_gradient_NK[label_index] -= 1
    losses_N = np.asarray(token_losses(logits_NK, labels_N), np.float64)
    gradient_NK = np.asarray(jax.grad(lambda z: token_losses(z, labels_N).sum())(logits_NK), np.float64)
    with np.errstate(all="ignore"):
        naive_N = -np.log((np.exp(logits_NK) / np.exp(logits_NK).sum(1, keepdims=True))[label_index])
    return {
        "stable_loss_error": np.max(np.abs(losses_N - exact_N)) / LARGEST_LOGIT,
        "stable_gradient_error": np.abs(gradient_NK - exact_gradient_NK).max(),
        "naive_not_finite": np.mean(~np.isfinite(naive_N)),
    }
