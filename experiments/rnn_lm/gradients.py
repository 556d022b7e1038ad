"""Hand-derived gradients of a recurrent language model, held against automatic differentiation of the model itself."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from models import derivations
from models.rnn_lm import RecurrentLM


def different_tokens(tokens_N):
    """The first four tokens of a text of which no two are equal, for gradients with respect to each embedding.

    Raises ValueError where the first 1,000 tokens have fewer than four different ones.
    """
    tokens = list(dict.fromkeys(tokens_N[:1000].tolist()))[:4]
    if len(tokens) < 4:
        raise ValueError("the held-out text has fewer than four different tokens")
    return np.array(tokens, np.int32)


def errors_of_hand_derived(config, variables, tokens):
    """Largest absolute differences in float64 between ``models.derivations`` and autodiff of a RecurrentLM.

    The model has one layer of sigmoid Elman cells. Four tokens are read: the first makes a state, the second is read
    at step t - 1 and the third at step t, whose target is the fourth. The gradients at step t, those one step back,
    and their sums with respect to the weights that both steps share are compared.

    Args:
      tokens: [4], int.
    Returns:
      {"now", "back", "both": the largest error; "largest": the largest derivative in absolute value}.
    """
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
        errors = jax.jit(partial(_errors, RecurrentLM(config)))(params, np.asarray(tokens, np.int32))
        return {name: np.asarray(error) for name, error in errors.items()}


def _errors(model, params, tokens):
    first, before, current, target = tokens[:, None]

    def read(params, token, states):
        return model.apply({"params": params}, token, states, method="read")[1]

    def loss(now, back, earlier, added):
        """Weights of the two steps apart, and zeros added to the state between them."""
        states = jax.tree.map(jnp.add, read(back, before, earlier), added)
        outputs = read(now, current, states)[-1]
        logits_1V = model.apply({"params": now}, outputs, method="logits")
        return -jax.nn.log_softmax(logits_1V)[0, target[0]]

    start = jax.tree.map(lambda x: x.astype(jnp.float64), model.initial_states(1))
    earlier = read(params, first, start)
    zeros = jax.tree.map(jnp.zeros_like, earlier)
    now, back, by_earlier, by_between = jax.grad(loss, (0, 1, 2, 3))(params, params, earlier, zeros)
    shared = jax.grad(lambda params: loss(params, params, earlier, zeros))(params)

    layer = params["layer_0"]
    weights = {
        "W_h": layer["recurrent"]["kernel"].T,
        "W_e": layer["input"]["kernel"].T,
        "b1": layer["bias"],
        "U": params["unembed"],
        "b2": params["unembed_bias"],
    }
    e_before, e = params["embed"][before[0]], params["embed"][current[0]]
    between = read(params, before, earlier)[0][0]
    y_V = jax.nn.one_hot(target[0], len(params["unembed"]), dtype=jnp.float64)
    step = derivations.recurrent_gradients(weights, between, e, y_V)
    one_back = derivations.recurrent_gradients_from_state(weights, earlier[0][0], e_before, step["dh'"])
    both = {name: step[name] + one_back[name] for name in ("dW_h", "dW_e", "db1")}

    expected = _layer_gradients(now, current, by_between) | {
        "dU": now["unembed"],
        "db2": now["unembed_bias"],
        "delta_1": now["unembed_bias"],
    }
    return {
        "now": _largest_difference(step, expected),
        "back": _largest_difference(one_back, _layer_gradients(back, before, by_earlier)),
        "both": _largest_difference(both, _layer_gradients(shared, current, zeros)),
        "largest": jnp.max(jnp.stack([jnp.abs(x).max() for x in expected.values()])),
    }


def _layer_gradients(gradients, token, by_previous):
    """Autodiff's gradients of the layer, by the names of ``models.derivations``."""
    layer = gradients["layer_0"]
    return {
        "dW_h": layer["recurrent"]["kernel"].T,
        "dW_e": layer["input"]["kernel"].T,
        "db1": layer["bias"],
        "delta_2": layer["bias"],  # with respect to W_h h' + W_e e + b1 it is the same
        "de": gradients["embed"][token[0]],
        "dh'": by_previous[0][0],
    }


def _largest_difference(ours, autodiff):
    return jnp.max(jnp.stack([jnp.abs(ours[name] - autodiff[name]).max() for name in ours]))
