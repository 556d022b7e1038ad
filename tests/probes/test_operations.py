"""Counting operations and bytes: closed forms, and a count that must grow where the work does."""

import jax
import jax.numpy as jnp
import pytest

from probes.operations import Cost, count

FLOAT = 4  # bytes


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_a_matrix_product_reads_both_and_writes_one():
    assert count(jnp.matmul, array(3, 5), array(5, 7)) == Cost(2 * 3 * 5 * 7, FLOAT * (15 + 35 + 21))


def test_a_batched_product_counts_every_batch_element():
    assert count(lambda a, b: jnp.einsum("bik,bkj->bij", a, b), array(4, 3, 5), array(4, 5, 7)).operations == (
        2 * 4 * 3 * 5 * 7
    )


def test_elementwise_operations_and_sums():
    assert count(lambda x: jnp.exp(x) + 1.0, array(10)) == Cost(20, FLOAT * 40)
    assert count(jnp.sum, array(6, 4)).operations == 23
    assert count(lambda x: x.max(1), array(6, 4)).operations == 18
    assert count(lambda x: jax.lax.cumsum(x, axis=0), array(6, 4)).operations == 20
    assert count(lambda x: jax.lax.argmax(x, 1, jnp.int32), array(6, 4)).operations == 18


def test_float64_takes_twice_the_bytes_of_float32():
    with jax.enable_x64(True):
        assert count(jnp.matmul, *[array(4, 4, dtype=jnp.float64)] * 2).bytes == 8 * 48


def test_a_scan_is_its_length_times_its_body():
    def step(h, x):
        return jnp.tanh(x + h), h

    body = count(step, array(8), array(8))
    for length in (1, 10, 1000):
        assert count(lambda x: jax.lax.scan(step, jnp.zeros(8), x)[0], array(length, 8)).operations == (
            length * body.operations
        )


def test_nested_scans_and_static_loops_multiply():
    def inner(x):
        return jax.lax.fori_loop(0, 5, lambda _, x: x * 2.0, x)

    assert count(lambda x: jax.lax.fori_loop(0, 7, lambda _, x: inner(x), x), array(3)).operations == 3 * 5 * 7


def test_backpropagation_through_a_scan_is_linear_in_its_length():
    def loss(w, x):
        return jax.lax.scan(lambda h, x: (jnp.tanh(h @ w + x), None), jnp.zeros(4), x)[0].sum()

    costs = [count(jax.grad(loss), array(4, 4), array(T, 4)).operations for T in (10, 20, 40)]
    assert costs[2] - costs[1] == 2 * (costs[1] - costs[0]) > 0


def test_calls_are_looked_into():
    def f(x):
        return jnp.sin(x) * x

    plain = count(f, array(5))
    assert plain.operations == 10
    assert count(jax.jit(f), array(5)) == plain
    assert count(jax.checkpoint(f), array(5)) == plain
    assert count(jax.nn.relu, array(5)).operations == 5  # a custom derivative around a maximum


def test_rematerialisation_computes_the_forward_pass_twice():
    def cost(f):
        return count(jax.value_and_grad(lambda x: f(x).sum()), array(5)).operations

    def f(x):
        return jnp.sin(jnp.sin(x))

    assert cost(jax.checkpoint(f)) == cost(f) + 5  # the inner sine


def test_a_branch_counts_as_the_branch_of_most_operations():
    def branches(flag, x):
        return jax.lax.cond(flag, lambda x: x @ x, lambda x: x + 1.0, x)

    assert count(branches, array(dtype=jnp.bool_), array(4, 4)).operations == 2 * 4**3


def test_what_no_result_depends_on_is_not_counted():
    def wasteful(x, w):
        jax.jit(lambda x: x @ w)(x)
        return x + 1.0

    assert count(wasteful, array(6), array(6, 1000)).operations == 6

    def half_used(x, w):
        return jax.jit(lambda x: (x @ w, x * 2.0))(x)[1]

    assert count(half_used, array(6), array(6, 1000)).operations == 6


def test_a_gather_is_charged_for_what_it_takes():
    def take(table, index):
        return table.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)

    costs = [count(take, array(V, 16), array(5, dtype=jnp.int32)) for V in (10, 100_000)]
    assert costs[0] == costs[1] == Cost(0, 2 * FLOAT * 5 * 16 + 4 * 5)


def test_a_scatter_touches_what_it_updates():
    def add(table, index, updates):
        return table.at[index].add(updates, mode="promise_in_bounds", wrap_negative_indices=False)

    cost = count(add, array(1000, 16), array(5, dtype=jnp.int32), array(5, 16))
    assert cost == Cost(5 * 16, 3 * FLOAT * 5 * 16 + 4 * 5)


def test_convolution_and_pooling():
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert count(convolve, array(2, 8, 8, 3), array(3, 3, 3, 5)).operations == 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)

    def pool(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    assert count(pool, array(2, 8, 8, 3)).operations == (2 * 4 * 4 * 3) * 3


def test_grouped_convolution_multiplies_within_its_group():
    def convolve(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=4)

    assert count(convolve, array(1, 6, 6, 8), array(3, 3, 2, 8)).operations == 2 * (6 * 6 * 8) * (3 * 3 * 2)


def test_integers_and_relabelling_are_no_operations():
    assert count(lambda x: (x + 1) * 2, array(10, dtype=jnp.int32)).operations == 0
    assert count(lambda x: x.reshape(5, 2).T, array(10)) == Cost(0, 0)


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="while loop"):
        count(lambda n, x: jax.lax.fori_loop(0, n, lambda _, x: x * 2.0, x), 3, array(3))
    with pytest.raises(ValueError, match="no rule"):
        count(jnp.linalg.cholesky, array(3, 3))
