"""A token embedding, looked up and as a matrix product, with its gradient and its updates.

Axes: N tokens, V vocabulary, D width.
"""

import jax
import jax.numpy as jnp


def gather(table_VD, tokens_N):
    """Rows [N, D] of the table, taken by index; tokens must lie in 0 ... V-1."""
    return table_VD.at[tokens_N].get(mode="promise_in_bounds", wrap_negative_indices=False)


def product(table_VD, one_hot_NV):
    """Rows [N, D] of the table, as one-hot vectors times the table at full precision."""
    return jnp.matmul(one_hot_NV, table_VD, precision=jax.lax.Precision.HIGHEST)


def gather_gradient(table_VD, tokens_N, cotangent_ND):
    """dJ/dtable [V, D] of a lookup, as a dense array: each token's cotangent added to its row, zeros elsewhere."""
    return jax.vjp(lambda table: gather(table, tokens_N), table_VD)[1](cotangent_ND)[0]


def product_gradient(table_VD, one_hot_NV, cotangent_ND):
    """dJ/dtable [V, D] of the product: one-hot vectors, transposed, times the cotangents."""
    return jax.vjp(lambda table: product(table, one_hot_NV), table_VD)[1](cotangent_ND)[0]


def dense_update(table_VD, gradient_VD, learning_rate):
    """The table [V, D] after a step of gradient descent on all of it."""
    return table_VD - learning_rate * gradient_VD


def sparse_update(table_VD, tokens_N, cotangent_ND, learning_rate):
    """The table [V, D] after the same step without a dense gradient: only the rows of the tokens are touched."""
    steps_ND = -learning_rate * cotangent_ND
    return table_VD.at[tokens_N].add(steps_ND, mode="promise_in_bounds", wrap_negative_indices=False)
