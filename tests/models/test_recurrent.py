"""Recurrent cells against their equations, one number at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.recurrent import ElmanCell, GRUCell, LSTMCell, ResetAfterGRUCell, unroll

F, D, T = 3, 2, 4


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def affine(params, names, x, h, column, bias=None):
    """One gate's value before its nonlinearity, summed in a plain loop."""
    bias = column if bias is None else bias
    of_input, of_state = (params[name] for name in names)
    total = params["bias"][bias]
    total += sum(x[d] * of_input["kernel"][d, column] for d in range(D))
    return total + sum(h[f] * of_state["kernel"][f, column] for f in range(F))


def elman_step(params, h, x):
    h = np.array([np.tanh(affine(params, ("input", "recurrent"), x, h, f)) for f in range(F)])
    return h, h


def gru_step(params, h, x):
    r = np.array([sigmoid(affine(params, ("input", "recurrent"), x, h, f)) for f in range(F)])
    z = np.array([sigmoid(affine(params, ("input", "recurrent"), x, h, F + f)) for f in range(F)])
    names = ("candidate_input", "candidate_recurrent")
    candidate = np.array([np.tanh(affine(params, names, x, r * h, f, 2 * F + f)) for f in range(F)])
    h = z * h + (1 - z) * candidate
    return h, h


def reset_after_gru_step(params, h, x):
    r = np.array([sigmoid(affine(params, ("input", "recurrent"), x, h, f)) for f in range(F)])
    z = np.array([sigmoid(affine(params, ("input", "recurrent"), x, h, F + f)) for f in range(F)])
    candidate = []
    for f in range(F):
        of_input = sum(x[d] * params["input"]["kernel"][d, 2 * F + f] for d in range(D)) + params["bias"][2 * F + f]
        of_state = sum(h[g] * params["recurrent"]["kernel"][g, 2 * F + f] for g in range(F))
        candidate.append(np.tanh(of_input + r[f] * of_state))
    h = z * h + (1 - z) * np.array(candidate)
    return h, h


def lstm_step(params, state, x):
    c, h = state
    i, f, g, o = (
        np.array([affine(params, ("input", "recurrent"), x, h, gate * F + f) for f in range(F)]) for gate in range(4)
    )
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (c, h), h


def random_params(cell):
    """Float64 numbers in the shapes of the cell's parameters."""
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(cell.init, jax.random.key(0), cell.initial_state(), jnp.zeros(D))["params"]
    return jax.tree.map(lambda leaf: generator.normal(size=leaf.shape), shapes)


@pytest.mark.parametrize(
    ("cell", "step"),
    [
        (ElmanCell(F), elman_step),
        (GRUCell(F), gru_step),
        (ResetAfterGRUCell(F), reset_after_gru_step),
        (LSTMCell(F), lstm_step),
    ],
)
def test_cells_are_their_equations(cell, step):
    x_TD = np.random.default_rng(1).normal(size=(T, D))
    with jax.enable_x64(True):
        params = random_params(cell)
        start = jax.tree.map(lambda a: np.zeros(a.shape), cell.initial_state())
        state, outputs = jax.tree.map(np.asarray, unroll(cell, params, start, x_TD))
    expected = []
    slow = start
    for x in x_TD:
        slow, output = step(params, slow, x)
        expected.append(output)
    np.testing.assert_allclose(outputs, expected, atol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), state, slow)


def test_the_gru_that_resets_after_the_product_is_pytorchs_without_its_second_bias():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: only benchmarks need it")
    cell, x_TD = ResetAfterGRUCell(F), np.random.default_rng(1).normal(size=(T, D)).astype(np.float32)
    params = jax.tree.map(np.float32, random_params(cell))
    _, outputs_TF = unroll(cell, params, cell.initial_state(), x_TD)
    theirs = torch.nn.GRU(D, F)
    weights = {
        "weight_ih_l0": params["input"]["kernel"].T,
        "weight_hh_l0": params["recurrent"]["kernel"].T,
        "bias_ih_l0": params["bias"],
        "bias_hh_l0": np.zeros(3 * F, np.float32),
    }
    theirs.load_state_dict({name: torch.tensor(x) for name, x in weights.items()})
    with torch.no_grad():
        np.testing.assert_allclose(outputs_TF, theirs(torch.tensor(x_TD))[0].numpy(), atol=1e-6)


def test_the_forget_gate_starts_at_its_bias_and_no_other_gate_does():
    params = LSTMCell(F, forget_bias=3.0).init(jax.random.key(0), LSTMCell(F).initial_state(), jnp.zeros(D))["params"]
    np.testing.assert_array_equal(params["bias"].reshape(4, F), np.array([0, 3, 0, 0])[:, None].repeat(F, 1))


def test_the_gradient_of_a_linear_cell_is_a_power_of_its_matrix():
    cell, steps = ElmanCell(F, activation="identity"), 6
    params = jax.tree.map(np.float32, random_params(cell))
    cotangent = np.ones(F, np.float32)

    def last(h):
        return unroll(cell, params, h, np.zeros((steps, D), np.float32))[0]

    measured = jax.vjp(last, np.zeros(F, np.float32))[1](cotangent)[0]
    expected = np.linalg.matrix_power(params["recurrent"]["kernel"].astype(np.float64), steps) @ cotangent
    np.testing.assert_allclose(measured, expected, rtol=1e-4)


@pytest.mark.parametrize("cell", [ElmanCell(F), ElmanCell(F, "sigmoid"), GRUCell(F), ResetAfterGRUCell(F), LSTMCell(F)])
def test_gradients_are_those_of_one_step_after_the_other(cell):
    """By the parameters, the first state and the inputs, of a function of all outputs and of the last state."""
    generator = np.random.default_rng(2)
    x_TBD = generator.normal(size=(T, 2, D))
    state = jax.tree.map(lambda a: generator.normal(size=a.shape), cell.initial_state((2,)))
    params = random_params(cell)

    def total(unrolled):
        last, outputs_T = unrolled
        return jnp.sum(jnp.sin(outputs_T)) + sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(last))

    def in_turn(params, state, x_TBD):
        outputs = []
        for x in x_TBD:
            state, output = cell.apply({"params": params}, state, x)
            outputs.append(output)
        return state, jnp.stack(outputs)

    with jax.enable_x64(True):
        ours = jax.jit(jax.grad(lambda *a: total(unroll(cell, *a)), (0, 1, 2)))(params, state, x_TBD)
        slow = jax.jit(jax.grad(lambda *a: total(in_turn(*a)), (0, 1, 2)))(params, state, x_TBD)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), ours, slow)
        assert all(jnp.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(ours))


def test_batches_of_any_shape():
    cell = LSTMCell(F)
    x_T = np.random.default_rng(0).normal(size=(T, 5, D)).astype(np.float32)
    params = jax.tree.map(np.float32, random_params(cell))
    _, together = unroll(cell, params, cell.initial_state((5,)), x_T)
    _, alone = unroll(cell, params, cell.initial_state(), x_T[:, 2])
    np.testing.assert_allclose(together[:, 2], alone, atol=1e-6)


@pytest.mark.parametrize("cell", [ElmanCell(F), GRUCell(F), ResetAfterGRUCell(F), LSTMCell(F)])
def test_sequences_one_behind_the_other_are_read_as_if_alone(cell):
    generator = np.random.default_rng(2)
    x_TBD = generator.normal(size=(T, 2, D))
    starts_TB = np.zeros((T, 2), bool)
    starts_TB[[2, 3], 1] = True  # the second row holds three sequences, of 2, 1 and 1 steps
    state = jax.tree.map(lambda a: generator.normal(size=a.shape), cell.initial_state((2,)))
    params = random_params(cell)

    def together(params, state, x_TBD):
        last, outputs_TBF = unroll(cell, params, state, x_TBD, starts_TB)
        return outputs_TBF, last

    def alone(params, state, x_TBD):
        rows = [jax.tree.map(lambda a, i=i: a[i], state) for i in range(2)]
        zeros = cell.initial_state()
        last_0, first_row = unroll(cell, params, rows[0], x_TBD[:, 0])
        pieces = [
            unroll(cell, params, start, x_TBD[begin:end, 1])
            for start, begin, end in [(rows[1], 0, 2), (zeros, 2, 3), (zeros, 3, 4)]
        ]
        second_row = jnp.concatenate([outputs for _, outputs in pieces])
        last = jax.tree.map(lambda *rows: jnp.stack(rows), last_0, pieces[-1][0])
        return jnp.stack([first_row, second_row], axis=1), last

    def gradients(read):
        return jax.grad(lambda *a: sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(read(*a))), (0, 1, 2))

    with jax.enable_x64(True):
        arguments = (params, state, x_TBD)
        ours = jax.jit(lambda *a: (together(*a), gradients(together)(*a)))(*arguments)
        slow = jax.jit(lambda *a: (alone(*a), gradients(alone)(*a)))(*arguments)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), ours, slow)
