"""The recurrent language model: embeddings, layers of recurrent cells, and a softmax, full or adaptive.

    e = E x,    h = cell(h', e),    p = softmax(U h + b2)

With the cell ``elman_sigmoid`` this is the model of Mikolov et al. 2010. The hidden states go in and come out, so that
a text can be read in pieces: training carries them from one piece to the next, and generation from token to token.

Axes: B sequences, T time, D width of the embeddings, F width of the cells, V vocabulary. States are a tuple with those
of each layer. Within, time comes first, [T, B, ...], as ``models.recurrent.unroll`` takes it.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.adaptive_softmax import AdaptiveSoftmax, sampled_losses
from models.decoding import Decoder
from models.linear import add_bias
from models.losses import token_losses
from models.recurrent import ElmanCell, GRUCell, LSTMCell, unroll

CELLS = {
    "elman_sigmoid": lambda config: ElmanCell(config.width, "sigmoid", parent=None),
    "elman_tanh": lambda config: ElmanCell(config.width, "tanh", parent=None),
    "gru": lambda config: GRUCell(config.width, parent=None),
    "lstm": lambda config: LSTMCell(config.width, config.forget_bias, parent=None),
}


@dataclass(frozen=True)
class RecurrentConfig:
    """Shapes and kinds of a recurrent language model's parts; raises ValueError where they do not fit together."""

    vocab_size: int
    cell: str = "lstm"
    num_layers: int = 1
    d_embedding: int = 128
    width: int = 128
    dropout: float = 0.0  # rate on the embeddings, between layers and on the last outputs
    tied_unembedding: bool = False
    forget_bias: float = 1.0  # what an LSTM's forget gates start with
    cutoffs: tuple[int, ...] = ()  # of an adaptive softmax; without any the softmax is full
    num_positions: int = 0  # position vectors added to the embeddings, in turn; 0: none

    def __post_init__(self):
        if self.cell not in CELLS:
            raise ValueError(f"cell={self.cell!r} is not one of {', '.join(CELLS)}")
        for name in ("vocab_size", "num_layers", "d_embedding", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")
        if self.tied_unembedding and self.width != self.d_embedding:
            raise ValueError(
                f"a tied unembedding needs width={self.width} to equal d_embedding={self.d_embedding}: "
                "the last outputs are multiplied by the embeddings"
            )
        if self.tied_unembedding and self.cutoffs:
            raise ValueError(
                "the rows of an adaptive softmax have several widths, so they cannot be tied to embeddings"
            )
        if self.cutoffs and self.cutoffs[-1] != self.vocab_size:
            raise ValueError(f"cutoffs={self.cutoffs} must end at vocab_size={self.vocab_size}")

    @property
    def adaptive(self):
        """The adaptive softmax, or None."""
        return AdaptiveSoftmax(self.width, self.cutoffs) if self.cutoffs else None


def uniform(key, shape):
    """Uniform numbers in [-0.1, 0.1], drawn flat."""
    return jax.random.uniform(key, (shape[0] * shape[1],), minval=-0.1, maxval=0.1).reshape(shape)


class RecurrentLM(nn.Module):
    """``(tokens [B, T], states or None) -> (logits [B, T, V], states)``; of an adaptive softmax, log-probabilities.

    Parameters: embed [V, D]; layer_i, those of its cell; unembed [V, F] unless tied, and unembed_bias [V], or the
    adaptive softmax's; positions [P, D] where there are any. Dropout takes the random stream ``dropout``.
    """

    config: RecurrentConfig

    def setup(self):
        c = self.config
        self.embed = self.param("embed", uniform, (c.vocab_size, c.d_embedding))
        if c.num_positions:
            self.positions = self.param("positions", uniform, (c.num_positions, c.d_embedding))

        def init_cell(inputs):
            cell = CELLS[c.cell](c)
            return lambda key: cell.init(key, cell.initial_state(), jnp.zeros(inputs))["params"]

        widths = [c.d_embedding] + [c.width] * (c.num_layers - 1)
        self.layers = [self.param(f"layer_{i}", init_cell(inputs)) for i, inputs in enumerate(widths)]
        if c.adaptive:
            self.adaptive = self.param("adaptive", c.adaptive.init)
        else:
            self.unembed = self.embed if c.tied_unembedding else self.param("unembed", uniform, (c.vocab_size, c.width))
            self.unembed_bias = self.param("unembed_bias", nn.initializers.zeros, (c.vocab_size,))

    def initial_states(self, batch_size):
        """Zeros for ``batch_size`` sequences."""
        cell = CELLS[self.config.cell](self.config)
        return tuple(cell.initial_state((batch_size,)) for _ in range(self.config.num_layers))

    def __call__(self, tokens_BT, states=None, deterministic=True, first_position=0):
        h_TBF, states = self.outputs(tokens_BT, states, deterministic, first_position)
        return self.logits(h_TBF).swapaxes(0, 1), states

    def outputs(self, tokens_BT, states=None, deterministic=True, first_position=0):
        """(the last layer's outputs [T, B, F], states)."""
        states = self.initial_states(tokens_BT.shape[0]) if states is None else states
        x_TB = self.embed_tokens(tokens_BT.T, first_position)
        cell, new_states = CELLS[self.config.cell](self.config), []
        for params, state in zip(self.layers, states, strict=True):
            state, x_TB = unroll(cell, params, state, self.drop(x_TB, deterministic))
            new_states.append(state)
        return self.drop(x_TB, deterministic), tuple(new_states)

    def embed_tokens(self, tokens_TB, first_position):
        """Embeddings [T, B, D], with those of positions added where there are any."""
        x_TBD = self.embed[tokens_TB]
        if not self.config.num_positions:
            return x_TBD
        positions_T = (first_position + jnp.arange(tokens_TB.shape[0])) % self.config.num_positions
        return x_TBD + self.positions[positions_T][:, None]

    def drop(self, x, deterministic):
        """x with a share ``dropout`` of its numbers set to zero and the others scaled up (Srivastava et al. 2014)."""
        if deterministic or not self.config.dropout:
            return x
        # 16 bits decide on a number, so that two share a draw of 32.
        threshold = round(self.config.dropout * 2**16)
        draws = jax.random.bits(self.make_rng("dropout"), (-(-x.size // 2),), jnp.uint32)
        bits = jax.lax.bitcast_convert_type(draws, jnp.uint16).reshape(-1)[: x.size].reshape(x.shape)
        kept = bits >= threshold
        return jnp.where(kept, x / (1 - threshold / 2**16), 0.0)

    def read(self, tokens_B, states, position=0):
        """(the last layer's outputs [B, F], states) after one more token; no dropout."""
        x_B = self.embed_tokens(tokens_B[None], position)[0]
        cell, new_states = CELLS[self.config.cell](self.config), []
        for params, state in zip(self.layers, states, strict=True):
            state, x_B = cell.apply({"params": params}, state, x_B)
            new_states.append(state)
        return x_B, tuple(new_states)

    def logits(self, h):
        """Logits [..., V] of outputs [..., F]; log-probabilities where the softmax is adaptive."""
        rows = h.reshape(-1, h.shape[-1])
        if self.config.adaptive:
            logits = self.config.adaptive.log_probabilities(self.adaptive, rows)
        else:
            logits = add_bias(rows @ self.unembed.T, self.unembed_bias)
        return logits.reshape(*h.shape[:-1], -1)

    def losses(self, tokens_BT, targets_BT, states=None, deterministic=True, num_sampled=0):
        """(cross-entropy [B, T] in nats of each target, states).

        With ``num_sampled`` it is an estimate from so many sampled words, which needs the random stream ``dropout``.
        """
        h_TBF, states = self.outputs(tokens_BT, states, deterministic)
        rows, targets = h_TBF.reshape(-1, h_TBF.shape[-1]), targets_BT.T.reshape(-1)
        if self.config.adaptive:
            losses = self.config.adaptive.losses(self.adaptive, rows, targets)
        elif num_sampled:
            key = self.make_rng("dropout")
            losses = sampled_losses(key, self.unembed, self.unembed_bias, rows, targets, num_sampled)
        else:
            losses = token_losses(self.logits(rows), targets)
        return losses.reshape(h_TBF.shape[:2]).T, states

    def losses_on_own_samples(self, tokens_BT, targets_BT, share_T, key, states=None):
        """Cross-entropy of the targets where some inputs are the model's own samples in place of the true tokens.

        At step t > 0 an input is with probability ``share_T[t]`` a sample of the distribution that the model gave at
        step t - 1: 0 is teacher forcing, 1 is free running, what lies between is scheduled sampling (Bengio et al.
        2015). No gradient flows through samples. There is no dropout.

        Returns:
          (losses [B, T], the tokens that were read [B, T], states).
        """
        B, T = tokens_BT.shape
        states = self.initial_states(B) if states is None else states

        def step(carry, inputs):
            states, own_B = carry
            t, true_B, targets_B = inputs
            choice, draw = jax.random.split(jax.random.fold_in(key, t))
            read_B = jnp.where((t > 0) & (jax.random.uniform(choice, (B,)) < share_T[t]), own_B, true_B)
            h_BF, states = self.read(read_B, states, t)
            logits_BV = self.logits(h_BF)
            own_B = jax.random.categorical(draw, jax.lax.stop_gradient(logits_BV)).astype(own_B.dtype)
            return (states, own_B), (token_losses(logits_BV, targets_B), read_B)

        inputs = (jnp.arange(T), tokens_BT.T, targets_BT.T)
        (states, _), (losses_TB, read_TB) = jax.lax.scan(step, (states, tokens_BT[:, 0]), inputs)
        return losses_TB.T, read_TB.T, states


def last_outputs(config, states):
    """The last layer's outputs [..., F], which are a part of its state."""
    return CELLS[config.cell](config).hidden(states[-1])


def by_layer(states):
    """The states as a dict, as a model's variables keep them."""
    return {f"layer_{i}": state for i, state in enumerate(states)}


def decoder(module):
    """The Decoder of a RecurrentLM: its cache holds hidden states and the position, so no text is too long for it."""

    def start(batch_size):
        return {"states": module.initial_states(batch_size), "position": jnp.int32(0)}

    def advance(variables, cache, tokens_BT):
        params = {"params": variables["params"]}
        states, position = cache["states"], cache["position"]
        h_TBF, states = module.apply(params, tokens_BT, states, first_position=position, method="outputs")
        logits_BV = module.apply(params, h_TBF[-1], method="logits")
        return logits_BV, {"states": states, "position": position + tokens_BT.shape[1]}

    return Decoder(start, advance, None)
