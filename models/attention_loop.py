"""The loop of a decoder with attention: a GRU whose gates read what the weights of each step pick from a memory.

Axes: B sentences, T target time, S source time, F width of the state, A width of queries and keys, G = 3 F gates,
P = A + G columns of the matrix that reads the state.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.recurrent import ResetAfterGRUCell

SCORES = ("additive", "dot", "general", "none")


class Memory(NamedTuple):
    """What the decoder knows of source sentences: its state, and where there is attention what this reads.

    state:           [B, F]
    values:          [B, S, F]
    keys:            [B, S, A], or [B, S, F] where the state itself is compared
    gates_of_values: [B, S, G], what a value adds to the gates at weight 1; so the loop needs no product with contexts
    is_word:         [B, S], false at padding
    """

    state: Any
    values: Any = None
    keys: Any = None
    gates_of_values: Any = None
    is_word: Any = None


def unroll_decoder(score, kernel, vector_A, memory, z_TBG, replaced=None):
    """The states [T, B, F] after each step, and the weights [T, B, S]; these are None where there is no attention.

    Differentiable in reverse mode only, and not by the rows of ``replaced``.

    Args:
      score: one of SCORES.
      kernel: [F, A + G], what reads the state: the query, and the gates of ``models.recurrent.ResetAfterGRUCell``. A is
        0 where the state itself is compared.
      vector_A: of additive attention, else None.
      memory: the ``Memory`` of the source sentences.
      z_TBG: what the words read add to the gates.
      replaced: (weights [T, B, S], is_replaced [T, B]) of rows that take the place of the loop's own, or None.
    """
    state_BF, _, keys_BSA, gates_BSG, is_word_BS = memory
    return _unroll(score, kernel, vector_A, state_BF, keys_BSA, gates_BSG, z_TBG, is_word_BS, replaced)


def attend(score, query_BA, vector_A, keys_BSA, is_word_BS):
    """Weights [B, S] of sentences' words, one query a sentence; they sum to one, and are 0 where there is no word."""
    if score == "additive":
        scores_BS = jnp.tanh(query_BA[:, None] + keys_BSA) @ vector_A
    else:
        scores_BS = jnp.einsum("BA,BSA->BS", query_BA, keys_BSA)
    return jax.nn.softmax(jnp.where(is_word_BS, scores_BS, -jnp.inf))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _unroll(score, kernel, vector_A, state_BF, keys_BSA, gates_BSG, z_TBG, is_word_BS, replaced):
    """Differentiated by hand in two places, for speed: the gradients of the kernel and of the values' gates.

    Automatic differentiation adds these two up one step at a time; here each is one product over all steps.
    """
    loop = _make_loop(score, kernel, None, gates_BSG, is_word_BS, replaced)
    return loop(_zero_products(kernel, z_TBG), vector_A, state_BF, keys_BSA, z_TBG)[0]


def _make_loop(score, kernel, transposed, gates_BSG, is_word_BS, replaced):
    """The loop, as a function of what it is differentiated by automatically; it takes all else for constant."""

    def loop(zeros_TBP, vector_A, state_BF, keys_BSA, z_TBG):
        cell = ResetAfterGRUCell(state_BF.shape[-1], parent=None)
        A = kernel.shape[1] - z_TBG.shape[-1]

        def step(state_BF, inputs):
            zeros_BP, z_BG, replaced = inputs
            # The gradient of what is added to the product is that of the product.
            product_BP = _multiply(state_BF, kernel, transposed) + zeros_BP
            weights_BS = None
            if score != "none":
                weights_BS = attend(score, product_BP[:, :A] if A else state_BF, vector_A, keys_BSA, is_word_BS)
                if replaced is not None:
                    weights_BS = jnp.where(replaced[1][:, None], replaced[0], weights_BS)
                z_BG = z_BG + jnp.einsum("BS,BSG->BG", weights_BS, gates_BSG)
            new_BF, _ = cell.update(state_BF, cell.merge(z_BG, product_BP[:, A:]))
            return new_BF, (new_BF, weights_BS, state_BF)

        _, (new_TBF, weights_TBS, old_TBF) = jax.lax.scan(step, state_BF, (zeros_TBP, z_TBG, replaced))
        return (new_TBF, weights_TBS), old_TBF

    return loop


def _zero_products(kernel, z_TBG):
    return jnp.zeros((*z_TBG.shape[:2], kernel.shape[1]), z_TBG.dtype)


def _forward(score, kernel, vector_A, state_BF, keys_BSA, gates_BSG, z_TBG, is_word_BS, replaced):
    # Once, before the loop: XLA would transpose it in every step of the backward pass.
    transposed = jax.lax.optimization_barrier(kernel.T)
    loop = _make_loop(score, kernel, transposed, gates_BSG, is_word_BS, replaced)
    inputs = _zero_products(kernel, z_TBG), vector_A, state_BF, keys_BSA, z_TBG
    outputs, pull_back, old_TBF = jax.vjp(loop, *inputs, has_aux=True)
    return outputs, (pull_back, old_TBF, outputs[1])


def _backward(score, saved, cotangents):
    pull_back, old_TBF, weights_TBS = saved
    grad_product_TBP, grad_vector, grad_state, grad_keys, grad_z_TBG = pull_back(cotangents)
    F, P = old_TBF.shape[-1], grad_product_TBP.shape[-1]
    grad_kernel = old_TBF.reshape(-1, F).T @ grad_product_TBP.reshape(-1, P)
    grad_gates = None if score == "none" else jnp.einsum("TBS,TBG->BSG", weights_TBS, grad_z_TBG)
    return grad_kernel, grad_vector, grad_state, grad_keys, grad_gates, grad_z_TBG, None, None


_unroll.defvjp(_forward, _backward)


@jax.custom_vjp
def _multiply(x, kernel, transposed):
    """``x @ kernel``; its backward pass multiplies by the transposed kernel, and returns no gradient of the kernel."""
    return x @ kernel


_multiply.defvjp(
    lambda x, kernel, transposed: (x @ kernel, transposed), lambda transposed, grad: (grad @ transposed, None, None)
)
