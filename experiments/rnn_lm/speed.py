"""Wall time of training recurrent language models: by the length of the text, and by the kind of softmax.

Axes: B rows, T steps.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.rnn_lm.costs import MANY_WORDS, WORDS, example_config, gradient_of_loss, zipf_weights
from models.rnn_lm import RecurrentConfig, RecurrentLM
from probes.timing import seconds_a_call

TIMED_LENGTHS = (32, 64, 128, 256)  # steps T
TIMED_OUTPUTS = {WORDS: ("full", "adaptive", "none"), MANY_WORDS: ("full", "adaptive", "sampled")}
EXAMPLE_BATCH, EXAMPLE_LENGTH = 20, 35  # of PyTorch's example
STEPS_A_CALL, ROUNDS = 4, 3
NUM_SAMPLED = 512  # words that the sampled softmax draws a step


def measure_speeds():
    """``seconds`` [len(TIMED_LENGTHS)] of the gradient, and ``tokens_per_second/VOCABULARY/OUTPUT`` of training."""
    sigmoid = RecurrentConfig(1000, "elman_sigmoid", width=128, d_embedding=128)
    measured = {"seconds": np.array(seconds_by_length(sigmoid, TIMED_LENGTHS, batch_size=8))}
    for size, outputs in TIMED_OUTPUTS.items():
        for output, speed in tokens_per_second(size, outputs).items():
            measured[f"tokens_per_second/{size}/{output}"] = np.asarray(speed)
    return measured


def seconds_by_length(config, lengths, batch_size):
    """Wall time of the gradient at each length."""
    gradient, _ = gradient_of_loss(config)
    params = RecurrentLM(config).init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    compiled = jax.jit(gradient)
    return [seconds_a_call(compiled, params, jnp.zeros((batch_size, T + 1), jnp.int32)) for T in lengths]


def tokens_per_second(vocab_size, outputs):
    """{output: tokens a second} of training PyTorch's example model with each kind of softmax.

    The kinds take turns, so that a slow moment of the machine meets all of them; the fastest turn counts.
    """
    tokens_NBT = zipf_tokens(0, vocab_size, (STEPS_A_CALL, EXAMPLE_BATCH, EXAMPLE_LENGTH + 1))
    runs = {output: training_steps(vocab_size, output) for output in outputs}
    calls = {output: call for output, (call, _) in runs.items()}
    carries = {output: jax.block_until_ready(calls[output](carry, tokens_NBT)) for output, (_, carry) in runs.items()}
    seconds = {output: [] for output in outputs}
    for turn in range(ROUNDS):
        for output, call in calls.items():
            # A round takes about a second of each, however fast it is.
            repeats = 1 if turn == 0 else max(1, round(1 / (STEPS_A_CALL * min(seconds[output]))))
            start = time.perf_counter()
            for _ in range(repeats):
                carries[output] = call(carries[output], tokens_NBT)
            jax.block_until_ready(carries[output])
            seconds[output].append((time.perf_counter() - start) / (repeats * STEPS_A_CALL))
    return {output: EXAMPLE_BATCH * EXAMPLE_LENGTH / min(times) for output, times in seconds.items()}


def training_steps(vocab_size, output):
    """Training steps of PyTorch's example model as one program, so that memory is had once for all of them.

    Steps are SGD, clipped. ``output`` is "full", "adaptive", "sampled" or "none"; with "none" the loss is a sum over
    the outputs, so that no softmax is computed.

    Returns:
      (compiled ((params, states), tokens [steps, B, T + 1]) -> params and states after those steps, its first
      (params, states)).
    """
    num_sampled = NUM_SAMPLED if output == "sampled" else 0
    model = RecurrentLM(example_config(vocab_size, adaptive=output == "adaptive"))
    params = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    optimizer = optax.chain(optax.clip_by_global_norm(0.25), optax.sgd(1.0))
    optimizer_state = optimizer.init(params)

    def loss(params, states, tokens_BT, key):
        inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
        if output == "none":
            h_TBF, states = model.apply({"params": params}, inputs_BT, states, method="outputs")
            return jnp.mean(h_TBF), states
        losses_BT, states = model.apply(
            {"params": params},
            inputs_BT,
            targets_BT,
            states,
            num_sampled=num_sampled,
            rngs={"dropout": key},
            method="losses",
        )
        return losses_BT.mean(), states

    def step(carry, inputs):
        params, states = carry
        (_, states), gradients = jax.value_and_grad(loss, has_aux=True)(params, states, *inputs)
        updates, _ = optimizer.update(gradients, optimizer_state)
        return (optax.apply_updates(params, updates), states), None

    def steps(carry, tokens_NBT):
        keys = jax.random.split(jax.random.key(1), len(tokens_NBT))
        return jax.lax.scan(step, carry, (tokens_NBT, keys))[0]

    return jax.jit(steps, donate_argnums=0), (params, model.initial_states(EXAMPLE_BATCH))


def zipf_tokens(seed, vocab_size, shape):
    """Independent words whose frequencies follow `costs.zipf_weights`, int32."""
    weights_V = zipf_weights(vocab_size)
    tokens = np.random.default_rng(seed).choice(vocab_size, int(np.prod(shape)), p=weights_V / weights_V.sum())
    return jnp.asarray(tokens.reshape(shape), jnp.int32)
