"""Sentences read in both directions by LSTMs, and transitions scored from four words' encodings.

The bidirectional encoder serves two parsers: TransitionEncoder here (Kiperwasser and Goldberg 2016) and the biaffine
one. Sentences come in buckets, one a row with padding behind it, or packed, several a row; ``segments`` tells them
apart, and a sentence's encodings are the same in either and alone.

Axes: B rows, T positions of a row, with ROOT before each sentence, D width of an embedding, F width of an LSTM in one
direction, J decisions of a row, P places of the stack and buffer, H width of the scorer's hidden layer, K transitions.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp

from models.mlp import activation_function, gaussian_kernel
from models.recurrent import LSTMCell, unroll

NUM_PLACES = 4  # s1, s2, s3 and b1, whose encodings choose a transition


@dataclass(frozen=True)
class EncoderConfig:
    """Shapes and kinds of the encoder's parts; raises ValueError where they make no encoder."""

    num_words: int  # ids that stand for no word, ROOT and unknown words included, as below for tags
    num_tags: int
    d_embed: int = 100  # of a word, and of a tag
    width: int = 200  # of each direction
    num_layers: int = 2
    dropout: float = 0.33  # rate below each layer and on the encodings; one mask for all positions of a row
    word_dropout: float = 0.2  # rate of whole words, and of whole tags, that are not seen in training
    use_words: bool = True
    use_tags: bool = True

    def __post_init__(self):
        for name in ("num_words", "num_tags", "d_embed", "width", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("dropout", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in [0, 1)")
        if not (self.use_words or self.use_tags):
            raise ValueError("use_words=False and use_tags=False leave nothing to read; set one of them to True")


class Encoder(nn.Module):
    """Encodings [B, T, 2 F] of words by layers of LSTMs in both directions (Graves and Schmidhuber 2005).

    Takes ids of words and tags [B, T] and ``segments`` [B, T], a number for each sentence of a row; the state starts
    anew where it changes. Whole words and tags are dropped as in Dozat and Manning 2017, and masks are shared by all
    positions as in Gal and Ghahramani 2016. Dropout takes the random stream ``dropout``.
    """

    config: EncoderConfig

    @nn.compact
    def __call__(self, words_BT, tags_BT, segments_BT, deterministic=True):
        c = self.config
        embeddings = []
        for name, ids_BT, count in [("word", words_BT, c.num_words), ("tag", tags_BT, c.num_tags)]:
            if getattr(c, f"use_{name}s"):
                embed = nn.Embed(count, c.d_embed, embedding_init=nn.initializers.normal(1.0), name=f"{name}_embed")
                drop = nn.Dropout(c.word_dropout, broadcast_dims=(2,), deterministic=deterministic)
                embeddings.append(drop(embed(ids_BT.T)))
        x_TBD = jnp.concatenate(embeddings, axis=-1)

        segments_TB = segments_BT.T
        changes_TB = segments_TB[1:] != segments_TB[:-1]
        first_B = jnp.ones_like(segments_TB[:1], bool)
        begins_TB = jnp.concatenate([first_B, changes_TB])
        ends_TB = jnp.concatenate([changes_TB, first_B])
        drop = nn.Dropout(c.dropout, broadcast_dims=(0,), deterministic=deterministic)
        for i in range(c.num_layers):
            x_TBD = drop(x_TBD)
            forward_TBF = self.read(f"layer_{i}_forward", x_TBD, begins_TB)
            backward_TBF = self.read(f"layer_{i}_backward", x_TBD[::-1], ends_TB[::-1])[::-1]
            x_TBD = jnp.concatenate([forward_TBF, backward_TBF], axis=-1)
        return drop(x_TBD).swapaxes(0, 1)

    def read(self, name, x_TBD, starts_TB):
        """The outputs [T, B, F] of one LSTM."""
        cell = LSTMCell(self.config.width, parent=None)
        state = cell.initial_state(x_TBD.shape[1:2])
        params = self.param(name, lambda key: cell.init(key, cell.initial_state(), x_TBD[0, 0])["params"])
        return unroll(cell, params, state, x_TBD, starts_TB)[1]


class TransitionEncoder(nn.Module):
    """Logits of transitions by a hidden layer over the encodings of s1, s2, s3 and b1 (Kiperwasser and Goldberg 2016).

    A hidden layer's input is a sum of four terms, one a place, and so are computed for every word before any decision
    is made: ``encode`` gives what a word would add as s1, as s2, as s3 and as b1, and ``score`` adds up four rows.
    """

    config: EncoderConfig
    num_transitions: int
    d_hidden: int = 100
    activation: str = "relu"  # a name in models.mlp.ACTIVATIONS

    def setup(self):
        self.encoder = Encoder(self.config)
        self.places = nn.Dense(
            NUM_PLACES * self.d_hidden, use_bias=False, kernel_init=gaussian_kernel("lecun", NUM_PLACES**-0.5)
        )
        self.nothing = self.param("nothing", nn.initializers.zeros, (NUM_PLACES * self.d_hidden,))
        self.bias = self.param("bias", nn.initializers.zeros, (self.d_hidden,))
        self.transitions = nn.Dense(self.num_transitions, kernel_init=gaussian_kernel("xavier"))

    def __call__(self, words_BT, tags_BT, segments_BT, positions, deterministic=True):
        return self.score(self.encode(words_BT, tags_BT, segments_BT, deterministic), positions)

    def encode(self, words_BT, tags_BT, segments_BT, deterministic=True):
        """What each word adds in each place, [B, T + 1, P H]; the last row is what a place without a word adds."""
        words_BTD = self.places(self.encoder(words_BT, tags_BT, segments_BT, deterministic))
        nothing_B1D = jnp.broadcast_to(self.nothing, (len(words_BTD), 1, self.nothing.shape[0]))
        return jnp.concatenate([words_BTD, nothing_B1D], axis=1)

    def score(self, h_BTD, positions):
        """Logits [B, K] of one decision a row by the positions [B, 4] of s1, s2, s3 and b1, -1 where there is none.

        Of several decisions a row, positions [B, J, 4], they are [B, J, K].
        """
        B, rows, _ = h_BTD.shape
        first = jnp.arange(B).reshape(B, *[1] * (positions.ndim - 1)) * rows
        index = NUM_PLACES * (first + jnp.where(positions < 0, rows - 1, positions)) + jnp.arange(NUM_PLACES)
        rows_ND = h_BTD.reshape(-1, self.d_hidden)
        # Four gathers: one of [..., 4, H] and a sum over its axis would be several times slower on CPU.
        hidden = self.bias + sum(rows_ND[index[..., place]] for place in range(NUM_PLACES))
        return self.transitions(activation_function(self.activation)(hidden))
