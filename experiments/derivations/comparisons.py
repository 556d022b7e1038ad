"""Hand-derived gradients held against automatic differentiation, on random networks.

Axes: V classes, D and F widths of vectors, B examples, I and J positions in images, C channels.
"""

import jax
import jax.numpy as jnp
import numpy as np

from models import derivations

IMAGE_SIZE, KERNEL_SIZE, STRIDES = (7, 6), (3, 2), (1, 2)
CHAIN_LENGTH = 3
CHAINS = {
    "vanishing": (1.0, 0.1),
    "exploding": (1.5, 2.0),
}  # name: (scale, weight) of J = scale h_T, h_t = weight h_t-1


def draw(key, width, num_classes, num_channels, batch_size):
    """Random networks and inputs for `comparisons`: standard normal, matrices divided by the root of their fan-in.

    Vectors are ``width`` wide. Deterministic in ``key``.
    """
    F, V, C, B = width, num_classes, num_channels, batch_size
    shapes = {
        "softmax": {"z": (V,)},
        "residual": {"W1": (F, F), "b1": (F,), "W2": (F, F), "b2": (F,), "U": (V, F), "b3": (V,), "x": (F,)},
        "recurrent": {
            "W_h": (F, F),
            "W_e": (F, F),
            "b1": (F,),
            "U": (V, F),
            "b2": (V,),
            "earlier": (F,),
            "e_before": (F,),
            "e": (F,),
        },
        "convolution": {"x": (B, *IMAGE_SIZE, C), "kernel": (*KERNEL_SIZE, C, C), "delta": (B, *IMAGE_SIZE, C)},
        "two_layers": {"W1": (F, V), "b1": (F,), "W_out": (V, F), "b_out": (V,), "A_in": (V, B), "dA_out": (V, B)},
        "linear": {"W": (F, F), "delta": (F,), "h": (F,)},
    }
    flat, tree = jax.tree.flatten(shapes, is_leaf=lambda x: isinstance(x, tuple))
    sizes = [int(np.prod(shape)) for shape in flat]
    numbers = jnp.split(jax.random.normal(key, (sum(sizes),)), np.cumsum(sizes)[:-1])
    leaves = [x.reshape(s) / (s[1] ** 0.5 if len(s) == 2 else 1.0) for x, s in zip(numbers, flat, strict=True)]
    return jax.tree.unflatten(tree, leaves)


def errors(networks):
    """How far every formula is from automatic differentiation, at the precision of ``networks``, as `draw` makes them.

    Returns:
      {"error/FORMULA": largest absolute difference, "largest/FORMULA": largest absolute value of the derivative}.
    """
    measured = {}
    for name, (by_hand, automatic) in comparisons(networks).items():
        measured[f"error/{name}"] = jnp.abs(by_hand - automatic).max()
        measured[f"largest/{name}"] = jnp.abs(automatic).max()
    return measured


def comparisons(networks):
    """{formula: (by hand, by automatic differentiation)} on the networks and inputs of `draw`."""
    W, h = networks["linear"]["W"], networks["linear"]["h"]
    return {
        **softmax_and_relu(**networks["softmax"]),
        **residual(networks["residual"]),
        **recurrent(networks["recurrent"]),
        **convolution(**networks["convolution"]),
        **two_layers(networks["two_layers"]),
        "linear: dz/dh": (W, jax.jacobian(lambda h: W @ h)(h)),
    }


def softmax_and_relu(z):
    """The pairs of softmax, cross-entropy and ReLU; those of ReLU at zero, too."""
    y, with_zero = _target(z), jnp.append(z, 0.0)
    gradient = jax.grad(lambda z: -(y * jax.nn.log_softmax(z)).sum())
    return {
        "softmax: dp/dz": (derivations.softmax_jacobian(z), jax.jacobian(jax.nn.softmax)(z)),
        "cross-entropy: dJ/dz": (derivations.cross_entropy_gradient(z, y), gradient(z)),
        "ReLU: dh/dz": (derivations.relu_derivative(with_zero), jax.vmap(jax.grad(jax.nn.relu))(with_zero)),
    }


def residual(params):
    """The pairs of the residual network: its block's Jacobian, and dJ/dx."""
    x, y = params["x"], _target(params["b3"])

    def block(h1):
        return h1 + jax.nn.relu(params["W2"] @ h1 + params["b2"])

    def loss(x):
        z3 = params["U"] @ block(jax.nn.relu(params["W1"] @ x + params["b1"])) + params["b3"]
        return -(y * jax.nn.log_softmax(z3)).sum()

    h1 = derivations.residual_network(params, x)["h1"]
    return {
        "residual: dh3/dh1": (derivations.residual_block_jacobian(params, x), jax.jacobian(block)(h1)),
        "residual: dJ/dx": (derivations.residual_network_gradient(params, x, y), jax.grad(loss)(x)),
    }


def recurrent(arrays):
    """The pairs of a recurrent step, of the step before, and of both: dJ/dW of weights that the two steps share."""
    params = {name: arrays[name] for name in ("W_h", "W_e", "b1", "U", "b2")}
    earlier, e_before, e, y = arrays["earlier"], arrays["e_before"], arrays["e"], _target(arrays["b2"])

    def state(weights, previous, embedding, added):
        return jax.nn.sigmoid(weights["W_h"] @ previous + weights["W_e"] @ embedding + weights["b1"] + added)

    # delta_1 and delta_2 are derivatives with respect to zeros that are added where they are taken.
    def loss_of_step(weights, h_before, embedding, to_logits, to_state):
        logits = weights["U"] @ state(weights, h_before, embedding, to_state) + weights["b2"] + to_logits
        return -(y * jax.nn.log_softmax(logits)).sum()

    zeros_V, zeros_F = jnp.zeros_like(arrays["b2"]), jnp.zeros_like(earlier)
    h_before = state(params, earlier, e_before, zeros_F)
    names = ("dh'", "de", "delta_1", "delta_2")
    by_weights, *rest = jax.grad(loss_of_step, range(5))(params, h_before, e, zeros_V, zeros_F)
    now = {f"d{name}": x for name, x in by_weights.items()} | dict(zip(names, rest, strict=True))

    # One step back, with weights of its own: what the earlier step alone contributes.
    def loss_through_earlier(weights, earlier, e_before, to_state):
        return loss_of_step(params, state(weights, earlier, e_before, to_state), e, zeros_V, zeros_F)

    by_weights, *rest = jax.grad(loss_through_earlier, range(4))(params, earlier, e_before, zeros_F)
    then = {f"d{name}": by_weights[name] for name in ("W_e", "W_h", "b1")}
    then |= dict(zip(("dh'", "de", "delta_2"), rest, strict=True))

    def loss_of_both(weights):
        return loss_of_step(weights, state(weights, earlier, e_before, zeros_F), e, zeros_V, zeros_F)

    shared = {f"d{name}": x for name, x in jax.grad(loss_of_both)(params).items()}
    step = derivations.recurrent_gradients(params, h_before, e, y)
    back = derivations.recurrent_gradients_from_state(params, earlier, e_before, step["dh'"])
    return (
        {f"recurrent step: {name}": (step[name], now[name]) for name in step}
        | {f"one step back: {name}": (back[name], then[name]) for name in back}
        | {f"both steps: {name}": (step[name] + back[name], shared[name]) for name in ("dW_e", "dW_h", "db1")}
    )


def convolution(x, kernel, delta):
    """The pairs of a convolution's kernel gradient, one a stride; ``delta`` stands in for dJ/dz."""
    pairs = {}
    for stride in STRIDES:
        z, pull_back = jax.vjp(lambda kernel, stride=stride: derivations.convolution(x, kernel, stride), kernel)
        delta_z = delta[:, : z.shape[1], : z.shape[2]]
        by_hand = derivations.convolution_kernel_gradient(x, delta_z, KERNEL_SIZE, stride)
        pairs[f"convolution, stride {stride}: dJ/dw"] = (by_hand, pull_back(delta_z)[0])
    return pairs


def two_layers(params):
    """The pairs of the two-layer ReLU network: with respect to its weights, and to its input."""
    weights = {name: params[name] for name in derivations.LAYERS}

    def loss(weights, A_in):
        A1 = jax.nn.relu(weights["W1"] @ A_in + weights["b1"][:, None])
        return (params["dA_out"] * jax.nn.relu(weights["W_out"] @ A1 + weights["b_out"][:, None])).sum()

    by_weights, by_input = jax.grad(loss, (0, 1))(weights, params["A_in"])
    automatic = {f"d{name}": by_weights[name] for name in weights} | {"dA_in": by_input}
    by_hand = derivations.two_layer_gradients(weights, params["A_in"], params["dA_out"])
    return {f"two layers: {name}": (by_hand[name], automatic[name]) for name in automatic}


def _target(z_V):
    return jax.nn.one_hot(1, z_V.size, dtype=z_V.dtype)


# --- Single derivatives, by automatic differentiation.


def derivatives_at_zero():
    """Derivatives at zero of ReLU, and of a maximum with zero."""
    return {
        "at_zero/relu": np.asarray(jax.grad(jax.nn.relu)(0.0)),
        "at_zero/maximum": np.asarray(jax.grad(lambda z: jnp.maximum(z, 0.0))(0.0)),
    }


def chain_gradients():
    """dJ/dh_0 of CHAIN_LENGTH equal factors, one for each of CHAINS, and its difference from the formula."""
    measured = {}
    for name, (scale, weight) in CHAINS.items():
        automatic = float(jax.grad(derivations.chain)(1.0, weight, CHAIN_LENGTH, scale))
        by_hand = derivations.chain_gradient(weight, CHAIN_LENGTH, scale)
        measured[f"chain/{name}"] = np.float64(automatic)
        measured[f"chain/{name}_error"] = np.abs(automatic - by_hand)
    return measured


def transposition(W, delta, h):
    """dz/dh of z = W h against W transposed, and dJ/dh taken with it; and dz/dh of rows, z = h W."""
    jacobian, gradient = jax.jacobian(lambda h: W @ h)(h), jax.grad(lambda h: delta @ (W @ h))(h)
    wrong = delta @ W.T
    measured = {
        "linear/jacobian": jacobian,
        "linear/W": W,
        "linear/jacobian_error": jnp.linalg.norm(W.T - jacobian) / jnp.linalg.norm(jacobian),
        "linear/gradient_error": jnp.linalg.norm(wrong - gradient) / jnp.linalg.norm(gradient),
        "linear/gradient_cosine": wrong @ gradient / jnp.linalg.norm(wrong) / jnp.linalg.norm(gradient),
        "linear/error_for_rows": jnp.abs(jax.jacobian(lambda h: h @ W)(h) - W.T).max(),
    }
    return {name: np.asarray(array) for name, array in measured.items()}
