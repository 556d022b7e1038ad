"""Hand-derived gradients of a recurrent language model, held against automatic differentiation of the model itself."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from models import derivations
from models.rnn_lm import RecurrentLM


def errors_of_hand_derived(config, variables, tokens):
    """Largest absolute differences in float64 between ``models.derivations`` and autodiff of a RecurrentLM.

    The model has one layer of sigmoid Elman cells. Four tokens are read: the first makes a state, the second is read
    at step t - 1 and the third at step t, whose target is the fourth. The gradients at step t, those one step back,
    and their sums by the weights that both steps share are compared.

    Args:
      tokens: [4], int.
    Returns:
      {"now", "back", "both": the largest error; "largest": the largest derivative in absolute value}.
    """
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
        found = jax.jit(partial(_errors, RecurrentLM(config)))(params, np.asarray(tokens, np.int32))
        return {name: np.asarray(error) for name, error in found.items()}


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
    weights = {"W_h": layer["recurrent"]["kernel"].T, "W_e": layer["input"]["kernel"].T, "b1": layer["bias"]}
    weights |= {"U": params["unembed"], "b2": params["unembed_bias"]}
    e_before, e = params["embed"][before[0]], params["embed"][current[0]]
    between = read(params, before, earlier)[0][0]
    y_V = jax.nn.one_hot(target[0], len(params["unembed"]), dtype=jnp.float64)
    step = derivations.recurrent_gradients(weights, between, e, y_V)
    one_back = derivations.recurrent_gradients_from_state(weights, earlier[0][0], e_before, step["dh'"])

    def of_layer(gradients, token, by_previous):
        layer = gradients["layer_0"]
        found = {"dW_h": layer["recurrent"]["kernel"].T, "dW_e": layer["input"]["kernel"].T, "db1": layer["bias"]}
        # The derivative by the sum W_h h' + W_e e + b1 is that by b1.
        return found | {"delta_2": layer["bias"], "de": gradients["embed"][token[0]], "dh'": by_previous[0][0]}

    expected = of_layer(now, current, by_between)
    expected |= {"dU": now["unembed"], "db2": now["unembed_bias"], "delta_1": now["unembed_bias"]}
    expected_back = of_layer(back, before, by_earlier)
    both = {name: step[name] + one_back[name] for name in ("dW_h", "dW_e", "db1")}
    pairs = {
        "now": (step, expected),
        "back": (one_back, expected_back),
        "both": (both, of_layer(shared, current, zeros)),
    }
    found = {
        name: jnp.max(jnp.stack([jnp.abs(ours[key] - autodiff[key]).max() for key in ours]))
        for name, (ours, autodiff) in pairs.items()
    }
    return found | {"largest": jnp.max(jnp.stack([jnp.abs(x).max() for x in expected.values()]))}
