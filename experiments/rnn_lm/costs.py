"""What training a recurrent language model costs: operations counted from the jaxpr, and wall time.

Axes: V vocabulary, F width of the cell, D width of the embeddings, T steps.
"""

import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from models.adaptive_softmax import choose_cutoffs
from models.rnn_lm import RecurrentConfig, RecurrentLM
from probes.operations import count
from probes.timing import seconds_a_call

# Sizes of which every combination is counted.
SIZES = {"V": (50, 100, 300), "F": (20, 40, 80), "D": (10, 30, 60)}
TERMS = ("V F", "F F", "F D", "V", "F", "D", "1")
LENGTHS = (8, 16, 32, 64, 128, 256)
# PyTorch's example of a word-level language model.
EXAMPLE = {"cell": "lstm", "num_layers": 2, "width": 200, "d_embedding": 200}
EXAMPLE_BATCH, EXAMPLE_LENGTH = 20, 35


def gradient_of_loss(config):
    """(the gradient function of a text's summed loss by the parameters, abstract parameters)."""
    model = RecurrentLM(config)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]

    def loss(params, tokens_BT):
        losses, _ = model.apply({"params": params}, tokens_BT[:, :-1], tokens_BT[:, 1:], method="losses")
        return losses.sum()

    return jax.grad(loss), params


def operations(config, length, batch_size=1):
    """Operations of the gradient over ``length`` steps."""
    gradient, params = gradient_of_loss(config)
    return count(gradient, params, jax.ShapeDtypeStruct((batch_size, length + 1), jnp.int32)).operations


def operations_of_a_step(config):
    """What one more step of backpropagation through time adds."""
    return operations(config, 3) - operations(config, 2)


def fitted_terms():
    """({term: coefficient}, the largest relative error of their sum) over all sizes, for Mikolov's sigmoid cell."""
    sizes = list(itertools.product(*SIZES.values()))
    costs = [operations_of_a_step(RecurrentConfig(V, "elman_sigmoid", width=F, d_embedding=D)) for V, F, D in sizes]
    design = np.array([[V * F, F * F, F * D, V, F, D, 1] for V, F, D in sizes], np.float64)
    coefficients = np.linalg.lstsq(design, np.array(costs, np.float64))[0]
    error = np.abs(design @ coefficients / costs - 1).max()
    return dict(zip(TERMS, coefficients, strict=True)), error


def operations_by_length(config):
    """Operations [len(LENGTHS)] of all T losses' gradient at once, and of each loss's by itself, added up.

    The second is what backpropagating every loss through all steps before it costs: of a loss at step t an affine
    function of t, which is counted at three t and extended.
    """
    _, params = gradient_of_loss(config)
    at_once = [operations(config, T) for T in LENGTHS]

    def alone(t):
        tokens = jax.ShapeDtypeStruct((1, t + 1), jnp.int32)

        def of_last(params, tokens):
            model = RecurrentLM(config)

            def loss(params):
                h_TBF, _ = model.apply({"params": params}, tokens[:, :-1], method="outputs")
                logits = model.apply({"params": params}, h_TBF[-1], method="logits")
                return jax.nn.logsumexp(logits) - logits[0, 0]

            return jax.grad(loss)(params)

        return count(of_last, params, tokens).operations

    first, second, last = alone(2), alone(3), alone(LENGTHS[-1])
    each = second - first
    if last != first + each * (LENGTHS[-1] - 2):
        raise ValueError("the cost of one loss's gradient is not affine in the number of steps")
    one_by_one = [sum(first + each * (t - 2) for t in range(1, T + 1)) for T in LENGTHS]
    return np.array(at_once, np.float64), np.array(one_by_one, np.float64)


def exponent(lengths, costs):
    """The power of the length with which costs grow: the slope of a line through their logarithms."""
    x, y = np.log(np.asarray(lengths, float)), np.log(np.asarray(costs, float))
    return np.polyfit(x, y, 1)[0]


def seconds_by_length(config, lengths, batch_size):
    """Wall time of the gradient at each length."""
    gradient, _ = gradient_of_loss(config)
    params = RecurrentLM(config).init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    compiled = jax.jit(gradient)
    return [seconds_a_call(compiled, params, jnp.zeros((batch_size, T + 1), jnp.int32)) for T in lengths]


def share_of_softmax(vocab_size):
    """The share of operations that the softmax layer has in a step of PyTorch's example model."""
    config = RecurrentConfig(vocab_size, **EXAMPLE)
    without = RecurrentConfig(1, **EXAMPLE)
    return 1 - operations_of_a_step(without) / operations_of_a_step(config)


def example_config(vocab_size, adaptive=False):
    """PyTorch's example model, with cutoffs for words whose frequencies follow Zipf's law."""
    cutoffs = zipf_cutoffs(vocab_size, EXAMPLE["width"]) if adaptive else ()
    return RecurrentConfig(vocab_size, **EXAMPLE, cutoffs=cutoffs)


def zipf_cutoffs(vocab_size, width):
    """Cutoffs of the least cost if a word's frequency is in proportion to 1 / (2.7 + its rank) (Mandelbrot 1953)."""
    return choose_cutoffs(1 / (2.7 + np.arange(vocab_size)), width)


def zipf_tokens(seed, vocab_size, shape):
    """Independent words with those frequencies, int32."""
    weights_V = 1 / (2.7 + np.arange(vocab_size))
    tokens = np.random.default_rng(seed).choice(vocab_size, int(np.prod(shape)), p=weights_V / weights_V.sum())
    return jnp.asarray(tokens.reshape(shape), jnp.int32)


OUTPUTS = ("full", "adaptive", "sampled", "none")
STEPS_A_CALL = 4


def training_steps(config, output, num_sampled=512):
    """(compiled ((params, states), tokens [steps, B, T + 1]) -> the first two after those steps, its first arguments).

    SGD, clipped; the steps are one program, as in training, so that memory is had once for all of them.
    ``output`` is one of OUTPUTS; with "none" the loss is a sum over the outputs, so that no softmax is computed.
    """
    model = RecurrentLM(config)
    params = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    optimizer = optax.chain(optax.clip_by_global_norm(0.25), optax.sgd(1.0))
    optimizer_state = optimizer.init(params)

    def loss(params, states, tokens, key):
        variables, inputs, targets = {"params": params}, tokens[:, :-1], tokens[:, 1:]
        if output == "none":
            h, states = model.apply(variables, inputs, states, method="outputs")
            return jnp.mean(h), states
        sampled = {"num_sampled": num_sampled, "rngs": {"dropout": key}} if output == "sampled" else {}
        losses, states = model.apply(variables, inputs, targets, states, method="losses", **sampled)
        return losses.mean(), states

    def step(carry, inputs):
        params, states = carry
        (_, states), gradients = jax.value_and_grad(loss, has_aux=True)(params, states, *inputs)
        updates, _ = optimizer.update(gradients, optimizer_state)
        return (optax.apply_updates(params, updates), states), None

    def steps(carry, tokens):
        keys = jax.random.split(jax.random.key(1), len(tokens))
        return jax.lax.scan(step, carry, (tokens, keys))[0]

    return jax.jit(steps, donate_argnums=0), (params, model.initial_states(EXAMPLE_BATCH))


def tokens_per_second(vocab_size, outputs=OUTPUTS, rounds=3):
    """{output: tokens a second} of training PyTorch's example model, in turns so that a slow moment meets all."""
    tokens = zipf_tokens(0, vocab_size, (STEPS_A_CALL, EXAMPLE_BATCH, EXAMPLE_LENGTH + 1))
    runs = {name: training_steps(example_config(vocab_size, name == "adaptive"), name) for name in outputs}
    calls = {name: call for name, (call, _) in runs.items()}
    carries = {name: jax.block_until_ready(calls[name](carry, tokens)) for name, (_, carry) in runs.items()}
    seconds = {name: [] for name in outputs}
    for turn in range(rounds):
        for name, call in calls.items():
            # A round takes about a second of each, however fast it is.
            repeats = 1 if turn == 0 else max(1, round(1 / (STEPS_A_CALL * min(seconds[name]))))
            began = time.perf_counter()
            for _ in range(repeats):
                carries[name] = call(carries[name], tokens)
            jax.block_until_ready(carries[name])
            seconds[name].append((time.perf_counter() - began) / (repeats * STEPS_A_CALL))
    return {name: EXAMPLE_BATCH * EXAMPLE_LENGTH / min(found) for name, found in seconds.items()}
