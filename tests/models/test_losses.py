"""Losses of tokens against probabilities by numpy, in chunks against the whole, in half precision, and in a switch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.losses import chunked_token_losses, switch_losses, token_losses
from models.transformer import Transformer, TransformerConfig

B, T, D, V = 2, 6, 5, 11
TARGETS_BT = np.random.default_rng(0).integers(0, V, (B, T))


def normal(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_token_losses_are_minus_log_probabilities():
    logits_BTV = 10 * normal(B, T, V)

    @jax.jit
    def losses_and_gradient(logits_BTV):
        _, pull_back = jax.vjp(lambda x: token_losses(x, TARGETS_BT), logits_BTV)
        return token_losses(logits_BTV, TARGETS_BT), pull_back(jnp.ones((B, T)))[0]

    losses_BT, gradient_BTV = losses_and_gradient(logits_BTV)
    probabilities_BTV = softmax(logits_BTV.astype(np.float64))
    expected_BT = -np.log(np.take_along_axis(probabilities_BTV, TARGETS_BT[..., None], -1)[..., 0])
    np.testing.assert_allclose(losses_BT, expected_BT, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient_BTV, probabilities_BTV - np.eye(V)[TARGETS_BT], atol=1e-5)
    far_apart_BTV = np.where(np.eye(V)[TARGETS_BT] == 1, -1e4, 1e4)
    np.testing.assert_allclose(losses_and_gradient(np.float32(far_apart_BTV))[0], 2e4, rtol=1e-3)


def test_chunked_losses_and_their_gradients_equal_whole_ones():
    @partial(jax.jit, static_argnums=2)
    def value_and_gradients(x_BTD, kernel_DV, num_chunks):
        def sum_of_squares(x_BTD, kernel_DV):
            if num_chunks is None:
                return (token_losses(x_BTD @ kernel_DV, TARGETS_BT) ** 2).sum()
            return (chunked_token_losses(x_BTD, kernel_DV, TARGETS_BT, num_chunks) ** 2).sum()

        return jax.value_and_grad(sum_of_squares, (0, 1))(x_BTD, kernel_DV)

    x_BTD, kernel_DV = normal(B, T, D), normal(D, V)
    whole, chunked = value_and_gradients(x_BTD, kernel_DV, None), value_and_gradients(x_BTD, kernel_DV, 4)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), chunked, whole)
    with pytest.raises(ValueError, match="12 tokens of a batch are not divisible by loss_chunks=5"):
        value_and_gradients(x_BTD, kernel_DV, 5)


def relative_error(approximate, exact):
    return np.linalg.norm(np.float64(approximate) - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize("num_chunks", [1, 32])
def test_gradients_of_chunks_in_half_precision_are_added_up_in_whole(num_chunks):
    x_BTD, kernel_DV = normal(8, 64, 16), normal(16, 5)
    targets_BT = np.random.default_rng(0).integers(0, 5, (8, 64))

    @jax.jit
    def half_gradient(kernel_DV):
        x_half_BTD = x_BTD.astype("bfloat16")
        return jax.grad(lambda k: chunked_token_losses(x_half_BTD, k, targets_BT, num_chunks).sum())(kernel_DV)

    # The gradient of the summed losses, x^T (p - y), in float64.
    difference_BTV = softmax(x_BTD.astype(np.float64) @ kernel_DV) - np.eye(5)[targets_BT]
    exact_DV = np.einsum("BTD,BTV->DV", x_BTD.astype(np.float64), difference_BTV)
    assert relative_error(half_gradient(kernel_DV), exact_DV) < 0.005


def test_gradients_of_an_embedding_row_are_added_up_in_whole():
    """A row's gradient is a sum over all places where its token stands."""
    tokens_BT = np.random.default_rng(0).integers(0, 3, (8, 64))

    def gradient(dtype):
        config = TransformerConfig(3, 64, num_layers=0, d_model=16, positions="none", dtype=dtype)
        model = Transformer(config)

        @jax.jit
        def compute(params):
            return jax.grad(lambda p: token_losses(model.apply({"params": p}, tokens_BT), tokens_BT).sum())(params)

        return compute(params)["embed"]

    params = {"embed": normal(3, 16) / 4, "unembed": {"kernel": normal(16, 3) / 4}}
    assert relative_error(gradient("bfloat16"), np.float64(gradient("float32"))) < 0.005


# --- The gradient within the branch of a switch.


def branch(size):
    """A loss of the first ``size`` rows that reads arrays, integers and a PRNG key, and what it counts beside it."""

    def loss(params, x_RD, targets_R, key):
        kept = jax.random.bernoulli(key, 0.7, (size, D))
        logits_RV = (x_RD[:size] * kept) @ params["kernel"] + params["bias"]
        right_R = logits_RV.argmax(-1) == targets_R[:size]
        return token_losses(logits_RV, targets_R[:size]).sum(), (right_R.sum(), kept.sum())

    return loss


BRANCHES = [branch(size) for size in (2, 3, 4)]
SWITCH_PARAMS = {"kernel": normal(D, V), "bias": normal(V)}


def switch_arguments(seed):
    rng = np.random.default_rng(seed)
    return jnp.float32(rng.standard_normal((4, D))), jnp.asarray(rng.integers(0, V, 4)), jax.random.key(seed)


def plain_switch(index, losses, params, *arguments):
    return jax.lax.switch(index, losses, params, *arguments)


def value_and_gradient(switch, index, params, arguments, scale):
    """((loss, counts), gradient) of ``scale`` times the loss: the cotangent that the switch gets is ``scale``."""

    def scaled(params):
        loss, counts = switch(index, BRANCHES, params, *arguments)
        return scale * loss, counts

    return jax.value_and_grad(scaled, has_aux=True)(params)


def assert_trees_equal(tree, expected):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), tree, expected)


@pytest.mark.parametrize("index", range(3))
def test_a_switch_of_losses_has_the_values_and_the_gradients_of_a_plain_switch(index):
    arguments = switch_arguments(0)
    run = jax.jit(value_and_gradient, static_argnums=0)
    ours = run(switch_losses, index, SWITCH_PARAMS, arguments, -2.5)
    assert_trees_equal(ours, run(plain_switch, index, SWITCH_PARAMS, arguments, -2.5))
    assert_trees_equal(ours, value_and_gradient(lambda i, b, *rest: b[i](*rest), index, SWITCH_PARAMS, arguments, -2.5))
    # Where nothing is differentiated, too.
    assert_trees_equal(
        switch_losses(index, BRANCHES, SWITCH_PARAMS, *arguments), BRANCHES[index](SWITCH_PARAMS, *arguments)
    )
    (_, counts), gradient = ours
    assert all(jnp.issubdtype(count.dtype, jnp.integer) for count in counts)
    assert all((np.abs(x) > 1e-3).any() for x in jax.tree.leaves(gradient))


@pytest.mark.parametrize(("index", "axis"), [(jnp.array([2, 0, 1, 2]), 0), (jnp.int32(1), None)])
def test_a_switch_of_losses_is_mapped_over_seeds_with_one_index_or_one_each(index, axis):
    params = jax.tree.map(lambda x: jnp.stack([x, -x, 2 * x, x**2]), SWITCH_PARAMS)
    scales = jnp.array([1.0, -2.0, 0.5, 3.0])
    each = [switch_arguments(seed) for seed in range(4)]
    arguments = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    mapped = jax.vmap(partial(value_and_gradient, switch_losses), (axis, 0, 0, 0))
    ours = jax.jit(mapped)(index, params, arguments, scales)
    for s, of_seed in enumerate(each):
        alone = value_and_gradient(
            plain_switch,
            index if axis is None else index[s],
            jax.tree.map(lambda x, s=s: x[s], params),
            of_seed,
            scales[s],
        )
        assert_trees_equal(jax.tree.map(lambda x, s=s: x[s], ours), alone)
    # One index for all seeds stays a switch, of which one branch runs.
    assert ("cond[" in str(jax.make_jaxpr(mapped)(index, params, arguments, scales))) == (axis is None)


def test_the_branches_of_a_switch_of_losses_save_nothing_for_each_others_backward_passes():
    """Outside the branches are the results alone: no array has the shape of what a branch saves."""
    arguments = switch_arguments(0)

    def saved_shapes(switch):
        program = jax.make_jaxpr(partial(value_and_gradient, switch))(1, SWITCH_PARAMS, arguments, 1.0)
        return {variable.aval.shape for equation in program.eqns for variable in equation.outvars}

    assert not {(2, V), (3, V), (4, V)} & saved_shapes(switch_losses)
    assert {(2, V), (3, V), (4, V)} <= saved_shapes(plain_switch)
