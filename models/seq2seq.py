"""Sequence to sequence with recurrent nets: a bidirectional GRU reads, a GRU with attention writes.

    h_s = [forward GRU; backward GRU] over the embedded source          annotations, Bahdanau et al. 2015, section 3.2
    d_0 = tanh(W [last forward state; last backward state])             the decoder's first state
    a_t = softmax over s of score(d_{t-1}, h_s)                         weights
    c_t = sum over s of a_ts h_s                                        context
    d_t = GRU(d_{t-1}, [y_{t-1}; c_t])                                  the decoder's state
    p_t = softmax(E tanh(W d_t + W' y_{t-1} + W'' c_t + b) + b')        E are the embeddings, of both languages

Each W and b is one of its own. What is read, y and the source's words e, are rows of E times the root of their width.
The score is additive, v tanh(W d + W' h + b) (Bahdanau et al. 2015), or dot, d h, or general, d W h (Luong et al.
2015); or there is none, and the decoder knows the source by its first state alone (Sutskever et al. 2014). All else is
the same, so that models differ in the score only; Luong et al. score with d_t where this decoder has d_{t-1}.

A state h_s knows of the whole sentence, so that it is not certain which word the decoder reads at s. Where the values
are words, c_t = sum over s of a_ts W e_s and d_0 = 0: states then only steer the weights, and the decoder knows the
source through the words that it attends to, and how it weighs them.

Axes: B sentences, T target time, S source time, E width of embeddings, F width of the decoder's state and of the
states h, D half of F, A width in which queries and keys are compared, G = 3 F gates, H attention maps (one, or
none), V vocabulary. Within, time comes first, [T, B, ...], as ``models.recurrent.unroll`` takes it.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp

from models.attention_loop import SCORES, Memory, unroll_decoder
from models.linear import add_bias, gaussian
from models.recurrent import ResetAfterGRUCell, unroll
from models.translator import Translator

VALUES = ("states", "words")


@dataclass(frozen=True)
class Seq2SeqConfig:
    """Shapes and kinds of a translator's parts; raises ValueError where they do not fit together."""

    vocab_size: int
    d_embed: int = 128
    d_hidden: int = 256  # of the decoder's state; half of it in each direction of the encoder
    d_attention: int = 128  # in which additive attention compares
    score: str = "additive"
    values: str = "states"  # what the weights sum: h_s, or of "words" W e_s, with d_0 = 0
    dropout: float = 0.0  # rate on embeddings and before the softmax

    def __post_init__(self):
        for name, value, allowed in (("score", self.score, SCORES), ("values", self.values, VALUES)):
            if value not in allowed:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(allowed)}")
        for name in ("vocab_size", "d_embed", "d_hidden", "d_attention"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.score == "none" and self.values == "words":
            raise ValueError("score=none reads the source's last states alone: it has no values; choose values=states")
        if self.d_hidden % 2:
            raise ValueError(f"d_hidden={self.d_hidden} must be even: half of it is the encoder's in each direction")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")

    @property
    def width_of_queries(self):
        """Width to which the decoder's state is mapped before it is compared with keys; 0 where it is not mapped."""
        return {"additive": self.d_attention, "general": self.d_hidden}.get(self.score, 0)


class RecurrentTranslator(nn.Module):
    """The model's parameters, and its functions; ``translator`` makes a ``models.translator.Translator`` of them."""

    config: Seq2SeqConfig

    def setup(self):
        c = self.config
        V, E, F, A = c.vocab_size, c.d_embed, c.d_hidden, c.width_of_queries

        def matrix(name, inputs, features):
            return self.param(name, gaussian(inputs**-0.5), (inputs, features), jnp.float32)

        def bias(name, features):
            return self.param(name, nn.initializers.zeros, (features,))

        def cell_params(key):
            cell = _encoder_cell(c)
            return cell.init(key, cell.initial_state(), jnp.zeros(E))["params"]

        self.embed = self.param("embed", gaussian(E**-0.5), (V, E), jnp.float32)
        self.unembed_bias = bias("unembed_bias", V)
        self.encoder_forward = self.param("encoder_forward", cell_params)
        self.encoder_backward = self.param("encoder_backward", cell_params)
        if c.values == "words":
            self.value_of_word = matrix("value_of_word", E, F)
        else:
            self.first_state = matrix("first_state", F, F)
        self.gates_of_word = matrix("gates_of_word", E, 3 * F)
        self.gates_bias = bias("gates_bias", 3 * F)
        # What reads the state d_{t-1}: the query, if any, and the gates, in one matrix.
        self.recurrent = matrix("recurrent", F, A + 3 * F)
        self.readout_of_state = matrix("readout_of_state", F, E)
        self.readout_of_word = matrix("readout_of_word", E, E)
        self.readout_bias = bias("readout_bias", E)
        if c.score != "none":
            self.gates_of_context = matrix("gates_of_context", F, 3 * F)
            self.readout_of_context = matrix("readout_of_context", F, E)
        if c.score == "additive":
            self.key = matrix("key", F, A)
            self.key_bias = bias("key_bias", A)
            self.score_vector = self.param("score_vector", gaussian(A**-0.5), (A,), jnp.float32)
        else:
            self.score_vector = None
        self.dropout = nn.Dropout(c.dropout)

    def __call__(self, source_BS, source_length_B, target_BT, replaced=None, deterministic=True):
        memory = self.read(source_BS, source_length_B, deterministic)
        return self.write(memory, target_BT, replaced, deterministic)

    def read(self, source_BS, source_length_B, deterministic=True):
        """The ``Memory`` of source sentences."""
        c = self.config
        # A row without words, such as one that fills up a batch, reads its first id: nothing is divided by zero.
        length_B = jnp.maximum(source_length_B, 1)
        is_word_SB = jnp.arange(source_BS.shape[1])[:, None] < length_B
        x_SBE = self.embed_tokens(source_BS.T, deterministic)
        h_SBF, last_BF = self.annotate(x_SBE, length_B, is_word_SB)
        if c.values == "words":
            values_SBF, state_BF = x_SBE @ self.value_of_word, jnp.zeros_like(last_BF)
        else:
            values_SBF, state_BF = h_SBF, jnp.tanh(last_BF @ self.first_state)
        if c.score == "none":
            return Memory(state_BF, is_word=is_word_SB.T)
        h_BSF, values_BSF = h_SBF.swapaxes(0, 1), values_SBF.swapaxes(0, 1)
        keys_BSA = h_BSF @ self.key + self.key_bias if c.score == "additive" else h_BSF
        return Memory(state_BF, values_BSF, keys_BSA, values_BSF @ self.gates_of_context, is_word_SB.T)

    def annotate(self, x_SBE, length_B, is_word_SB):
        """Annotations [S, B, F] by two GRUs, one in each direction, and the last state of both [B, F]."""
        cell = _encoder_cell(self.config)
        first_state = cell.initial_state(length_B.shape)
        # A sentence backwards begins with its last word; padding stays where it is.
        position_S1 = jnp.arange(len(x_SBE))[:, None]
        backwards_SB = jnp.where(is_word_SB, length_B - 1 - position_S1, position_S1)

        def reverse(x_SBD):
            return jnp.take_along_axis(x_SBD, backwards_SB[..., None], axis=0)

        def last(h_SBD):
            return jnp.take_along_axis(h_SBD, length_B[None, :, None] - 1, axis=0)[0]

        _, forward_SBD = unroll(cell, self.encoder_forward, first_state, x_SBE)
        _, backward_SBD = unroll(cell, self.encoder_backward, first_state, reverse(x_SBE))
        h_SBF = jnp.concatenate([forward_SBD, reverse(backward_SBD)], axis=-1)
        return h_SBF, jnp.concatenate([last(forward_SBD), last(backward_SBD)], axis=-1)

    def write(self, memory, target_BT, replaced=None, deterministic=True):
        """The logits [B, T, V] and weights [B, H, T, S] of translations that are known."""
        if replaced is not None:
            weights_BTS, is_replaced_BT = replaced
            replaced = weights_BTS.swapaxes(0, 1), is_replaced_BT.swapaxes(0, 1)
        _, weights_TBS, logits_TBV = self.write_tokens(memory, target_BT.T, replaced, deterministic)
        if weights_TBS is None:
            (B, T), S = target_BT.shape, memory.is_word.shape[1]
            return logits_TBV.swapaxes(0, 1), jnp.zeros((B, 0, T, S))
        return logits_TBV.swapaxes(0, 1), weights_TBS.swapaxes(0, 1)[:, None]

    def advance(self, memory, tokens_B):
        """The logits [B, V] after one more target token, and the memory with the decoder's new state."""
        state_1BF, _, logits_1BV = self.write_tokens(memory, tokens_B[None])
        return logits_1BV[0], memory._replace(state=state_1BF[0])

    def write_tokens(self, memory, tokens_TB, replaced=None, deterministic=True):
        """The states [T, B, F], weights [T, B, S] or None, and logits [T, B, V] where these tokens are read."""
        c = self.config
        y_TBE = self.embed_tokens(tokens_TB, deterministic)
        z_TBG = y_TBE @ self.gates_of_word + self.gates_bias
        state_TBF, weights_TBS = unroll_decoder(c.score, self.recurrent, self.score_vector, memory, z_TBG, replaced)
        readout_TBE = state_TBF @ self.readout_of_state + y_TBE @ self.readout_of_word + self.readout_bias
        if weights_TBS is not None:
            context_TBF = jnp.einsum("TBS,BSF->TBF", weights_TBS, memory.values)
            readout_TBE += context_TBF @ self.readout_of_context
        readout_TBE = self.dropout(jnp.tanh(readout_TBE), deterministic=deterministic)
        logits_NV = add_bias(readout_TBE.reshape(-1, c.d_embed) @ self.embed.T, self.unembed_bias)
        return state_TBF, weights_TBS, logits_NV.reshape(*tokens_TB.shape, c.vocab_size)

    def embed_tokens(self, tokens, deterministic):
        """Vectors [..., E] of tokens [...]."""
        E = self.config.d_embed
        return self.dropout(E**0.5 * jnp.asarray(self.embed)[tokens], deterministic=deterministic)


def _encoder_cell(config):
    return ResetAfterGRUCell(config.d_hidden // 2, parent=None)


def translator(config):
    """The ``models.translator.Translator`` of a config."""
    model = RecurrentTranslator(config)

    def init(key):
        one_B = jnp.ones(1, jnp.int32)
        return model.init(key, one_B[:, None], one_B, one_B[:, None])

    def forward(variables, source_BS, source_length_B, target_BT, rngs=None, replaced=None):
        return model.apply(
            variables, source_BS, source_length_B, target_BT, replaced, deterministic=not rngs, rngs=rngs or {}
        )

    def encode(variables, source_BS, source_length_B, max_length):
        return model.apply(variables, source_BS, source_length_B, method="read")

    def advance(variables, memory, tokens_B):
        return model.apply(variables, memory, tokens_B, method="advance")

    return Translator(model, init, forward, encode, advance)
