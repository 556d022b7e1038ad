"""What momentum, Adam, Xavier initialisation and dropout do, measured: rates of convergence, steps, variances.

Axes: M methods, K condition numbers, P parameters, T steps, G parameters with gradients of different scales.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from reporting.ranks import rank_correlation
from training.optimizer import SGDConfig, sgd

METHODS = ("gradient descent", "heavy ball", "Nesterov")
CONDITIONS = (10.0, 100.0, 1000.0)  # condition numbers of the quadratics
SHOWN_CONDITION = 100.0  # the condition number whose distances are kept, for a figure
LAYERS = ((784, 10), (50, 1000), (300, 300))  # (fan_in, fan_out) of the kernels that Xavier's initialisation draws
DROPOUT_RATES = (0.1, 0.3, 0.5, 0.8)


def trajectory(optimizer, gradient, start_P, num_steps):
    """The parameters [num_steps + 1, P] before the first step and after each of ``gradient(x_P, step)``."""

    def advance(carry, step):
        x_P, state = carry
        updates, state = optimizer.update(gradient(x_P, step), state, x_P)
        x_P = x_P + updates
        return (x_P, state), x_P

    _, rest = jax.lax.scan(advance, (start_P, optimizer.init(start_P)), jnp.arange(num_steps))
    return jnp.concatenate([start_P[None], rest])


def theory(kappa):
    """(learning rates, momenta, rates of convergence) of METHODS on 1/2 x^T A x with eigenvalues from 1 to kappa.

    Source: Polyak 1964 for the heavy ball, Nesterov 2004, section 2.2.1; Lessard, Recht and Packard 2016, table 1.
    """
    root = np.sqrt(kappa)
    share = (root - 1) / (root + 1)
    return (
        np.array([2 / (kappa + 1), 4 / (root + 1) ** 2, 1 / kappa]),
        np.array([0.0, share**2, share]),
        np.array([(kappa - 1) / (kappa + 1), share, 1 - 1 / root]),
    )


def fitted_rate(distance_T):
    """The rate at which a distance falls, from a line through its logarithm over the later half of the run.

    Steps at which it has all but left the range of float64 are left out.
    """
    steps = np.flatnonzero(distance_T > 1e-280)
    steps = steps[len(steps) // 2 :]
    return np.exp(np.polyfit(steps, np.log(distance_T[steps]), 1)[0])


def measure_convergence(basis_PP, start_P, num_steps):
    """How METHODS converge on quadratics 1/2 x^T A x of several CONDITIONS, in float64.

    Args:
      basis_PP: eigenvectors of A, whose eigenvalues are spread geometrically from 1 to the condition number.
    Returns:
      {"rate_error" [methods]: largest relative error of the logarithm of the fitted rate; "fitted_rate",
      "expected_rate" [methods, conditions]; "steps_to_a_millionth" [methods]: NaN where never; "distance"
      [methods, steps]: to the minimum, of at most 800 steps}; the last two for the condition SHOWN_CONDITION.
    """
    matrices = np.array([basis_PP * np.geomspace(1, kappa, len(start_P)) @ basis_PP.T for kappa in CONDITIONS])
    rates, momenta, expected = np.array([theory(kappa) for kappa in CONDITIONS]).transpose(1, 2, 0)

    @partial(jax.jit, static_argnames="nesterov")
    def distances(rate, momentum, matrix, nesterov):
        def run(rate, momentum, matrix):
            optimizer = sgd(SGDConfig(learning_rate=rate, momentum=momentum, nesterov=nesterov))
            path = trajectory(optimizer, lambda x, _: matrix @ x, jnp.asarray(start_P), num_steps)
            return jnp.sqrt(jnp.sum(path**2, axis=-1))

        return jax.vmap(run)(rate, momentum, matrix)

    with jax.enable_x64(True):
        distance_MKT = np.array(
            [
                np.asarray(distances(rates[m], momenta[m], matrices, nesterov=method == "Nesterov"))
                for m, method in enumerate(METHODS)
            ]
        )
    fitted = np.apply_along_axis(fitted_rate, -1, distance_MKT)
    shown = CONDITIONS.index(SHOWN_CONDITION)
    near = distance_MKT[:, shown] <= 1e-6 * distance_MKT[:, shown, :1]
    return {
        "rate_error": np.abs(np.log(fitted) / np.log(expected) - 1).max(-1),
        "fitted_rate": fitted,
        "expected_rate": expected,
        "steps_to_a_millionth": np.where(near.any(-1), near.argmax(-1), np.nan),
        "distance": distance_MKT[:, shown, : min(num_steps, 800)],
    }


def measure_adam(noise_TG, scales_G, b1=0.9, b2=0.999, learning_rate=1e-3):
    """What Adam makes of gradients that are noise of several scales, or steady at them, in float64.

    Returns:
      {"means_error": the largest difference, in learning rates, of 50 steps from running means written out as sums;
      "first_step_error": relative, of the first steady step from the learning rate; "uncorrected_first_step": what it
      would be, in learning rates, without the correction; "size" [G]: root mean square steps on noise, in learning
      rates, over the later half; "noise_size": their mean; "spread": largest over least; "gain_correlation": of ranks,
      of the gain over SGD's steps and the gradient's size; "steady_size_error": as the first, over the later half}.
      Source: Kingma and Ba 2015, algorithm 1.
    """
    T, G = noise_TG.shape
    scaled_TG = noise_TG * scales_G
    with jax.enable_x64(True):

        @jax.jit
        def updates(gradients_TG):
            optimizer = optax.adam(learning_rate, b1, b2)
            path = trajectory(optimizer, lambda x, t: gradients_TG[t], jnp.zeros(G), T)
            return jnp.diff(path, axis=0) / learning_rate

        noisy_TG, steady_TG = np.asarray(updates(scaled_TG)), np.asarray(updates(np.ones((T, G)) * scales_G))
    settled = slice(T // 2, None)
    size_G = np.sqrt((noisy_TG[settled] ** 2).mean(0))
    sgd_size_G = np.sqrt((scaled_TG[settled] ** 2).mean(0))
    t = np.arange(50)
    ages = t[:, None] - t
    means = {b: (1 - b) * np.where(ages >= 0, b ** np.maximum(ages, 0), 0.0) for b in (b1, b2)}
    m, v = means[b1] @ scaled_TG[:50], means[b2] @ scaled_TG[:50] ** 2
    m_corrected, v_corrected = (x / (1 - b ** (t[:, None] + 1)) for x, b in ((m, b1), (v, b2)))
    return {
        "means_error": np.abs(noisy_TG[:50] + m_corrected / (np.sqrt(v_corrected) + 1e-8)).max(),
        "first_step_error": np.abs(np.abs(steady_TG[0]) - 1).max(),
        "uncorrected_first_step": np.median(np.abs(m[0]) / np.sqrt(v[0])),
        "size": size_G,
        "noise_size": size_G.mean(),
        "spread": size_G.max() / size_G.min(),
        "gain_correlation": rank_correlation(size_G / sgd_size_G, sgd_size_G),
        "steady_size_error": np.abs(np.abs(steady_TG[settled]) - 1).max(),
    }


def variance_ratios(kernel, key, num_rows):
    """How a kernel [fan_in, fan_out] changes the mean square of Gaussian rows, and how large its largest weight is.

    Returns:
      {"forward": of inputs, out over in; "backward": of gradients, likewise; "largest": over Xavier's bound
      sqrt(6 / (fan_in + fan_out))}. Source: Glorot and Bengio 2010, equations 8 to 12 and 16.
    """
    fan_in, fan_out = kernel.shape

    def ratio(key, matrix):
        x = jax.random.normal(key, (num_rows * len(matrix),)).reshape(num_rows, -1)
        return jnp.mean((x @ matrix) ** 2) / jnp.mean(x**2)

    forward_key, backward_key = jax.random.split(key)
    return {
        "forward": ratio(forward_key, kernel),
        "backward": ratio(backward_key, kernel.T),
        "largest": jnp.abs(kernel).max() / jnp.sqrt(6.0 / (fan_in + fan_out)),
    }


def dropout_moments(inputs_P, key, rates, num_masks):
    """What dropout keeps of a vector, over masks.

    Returns:
      {"mean_ratio": at each rate, the mean over masks, projected on the inputs, over the inputs; "variance_of_sum": at
      each rate, the variance over masks of the sum of outputs, over the sum of squared inputs; "evaluation_change": the
      largest change where dropout is off}. Source: Srivastava et al. 2014, section 4.
    """
    rows, power = jnp.broadcast_to(inputs_P, (num_masks, len(inputs_P))), jnp.sum(inputs_P**2)
    mean, spread = [], []
    for i, rate in enumerate(rates):
        rngs = {"dropout": jax.random.fold_in(key, i)}
        y = nn.Dropout(rate, deterministic=False).apply({}, rows, rngs=rngs)
        mean.append(jnp.mean(y, axis=0) @ inputs_P / power)
        spread.append(jnp.var(jnp.sum(y, axis=-1)) / power)
    kept = nn.Dropout(rates[0], deterministic=True).apply({}, inputs_P)
    return {
        "mean_ratio": jnp.stack(mean),
        "variance_of_sum": jnp.stack(spread),
        "evaluation_change": jnp.abs(kept - inputs_P).max(),
    }
