"""Statements about gradients that are exact, checked in float64: derivatives, Jacobians, norms, linear recurrences."""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import numpy as np

from models.mlp import MLP
from models.residual import ResidualBlock
from probes.gradient_flow import fit_line

RADII = (0.8, 1.0, 1.25)  # spectral radii of linear recurrent networks


@functools.cache
def measure_exact() -> Mapping[str, np.ndarray]:
    """All measurements of this file, {name: number or array}; no seed is in them, so they are made once."""
    with jax.enable_x64(True):
        return measure_sigmoid() | measure_residual_jacobian() | measure_norms() | measure_linear_rnn()


def measure_sigmoid():
    """The sigmoid's derivative against its formula, and what a gradient is multiplied by on its way through."""
    z = np.concatenate([np.linspace(-30, 30, 6001), [0.0]])
    gradient = np.where(np.arange(z.size) % 2, -3.0, 2.0)
    value, backward = jax.vjp(jax.nn.sigmoid, z)
    factor = np.asarray(backward(gradient)[0]) / gradient
    value = np.asarray(value)
    return {
        "sigmoid_error": np.abs(factor - value * (1 - value)).max(),
        "sigmoid_greatest": factor.max(),
        "sigmoid_least": factor.min(),
    }


def measure_residual_jacobian():
    """The Jacobian of h3 = h1 + h2, h2 = relu(z2), z2 = h1 W + b against I + (dh2/dz2)(dz2/dh1)."""
    generator = np.random.default_rng(0)
    W, b, h1 = generator.normal(size=(6, 6)), generator.normal(size=6), generator.normal(size=6)
    params = {"layer_0": {"kernel": W, "bias": b}}
    block = ResidualBlock(MLP((6,), output_activation="relu", dtype="float64"))
    measured = jax.jacobian(lambda h1: block.apply({"params": {"body": params}}, h1))(h1)
    formula = np.eye(6) + np.diag(h1 @ W + b > 0).astype(float) @ W.T
    return {"residual_jacobian_error": np.abs(np.asarray(measured) - formula).max()}


def measure_norms():
    """LayerNorm on constant rows with and without its epsilon, and which axes the norms look along."""
    constant = np.repeat([[-2.0], [0.0], [0.5], [3.0]], 8, axis=1)
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(4, 8))
    with_other_rows = np.concatenate([rows[:1], generator.normal(size=(3, 8))])
    layer_change = layer_norm(rows, 1e-6)[0] - layer_norm(with_other_rows, 1e-6)[0]
    batch_change = batch_norm(rows)[0] - batch_norm(with_other_rows)[0]
    return {
        "layernorm_without_epsilon_fails": np.mean(~np.isfinite(layer_norm(constant, 0.0))),
        "layernorm_with_epsilon": np.abs(layer_norm(constant, 1e-6)).max(),
        "layernorm_reads_other_rows": np.abs(layer_change).max(),
        "batchnorm_reads_other_rows": np.abs(batch_change).max(),
    }


def layer_norm(x, epsilon):
    """Rows of x [B, D] as flax's LayerNorm normalises them, without scale and bias."""
    return np.asarray(nn.LayerNorm(epsilon=epsilon, use_bias=False, use_scale=False).apply({}, x))


def batch_norm(x):
    """Rows of x [B, D] as flax's BatchNorm normalises them in training, without scale and bias."""
    module = nn.BatchNorm(use_running_average=False, use_bias=False, use_scale=False)
    statistics = {"mean": np.zeros(x.shape[1]), "var": np.ones(x.shape[1])}
    return np.asarray(module.apply({"batch_stats": statistics}, x, mutable=["batch_stats"])[0])


def measure_linear_rnn():
    """Growth a step of gradients in h_t = h_{t-1} W, far back in time, against the log of W's spectral radius."""
    generator, errors, slopes = np.random.default_rng(0), [], []
    W, gradient = generator.normal(size=(32, 32)), generator.normal(size=32)
    W /= np.abs(np.linalg.eigvals(W)).max()
    for radius in RADII:
        g, log_norms = gradient, [0.0]
        for _ in range(1000):
            g = radius * W @ g
            log_norms.append(log_norms[-1] + np.log(np.linalg.norm(g)))
            g = g / np.linalg.norm(g)
        slopes.append(fit_line(np.arange(200, 1001), log_norms[200:])[0])
        errors.append(abs(slopes[-1] - np.log(radius)))
    return {"linear_rnn_error": max(errors), "linear_rnn_slopes": np.array(slopes)}
