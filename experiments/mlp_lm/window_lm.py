"""The fixed-window neural language model of Bengio et al. (2003): the next token from the last n-1.

The embeddings of the n-1 tokens stand side by side, one vector of (n-1) D numbers, below a hidden layer and a softmax
over the vocabulary. A text that is shorter than the window is filled up from the left with a padding token.

Axes: B sequences, T tokens, W window (n-1 tokens), D width of an embedding, F hidden width, V vocabulary.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models.decoding import Decoder
from models.mlp import activation_function
from models.site import Site

PROMPT_TOKENS = 8  # tokens that are written after each prompt


@dataclass(frozen=True)
class WindowConfig:
    """Shapes and kinds of a window model's parts; raises ValueError where they make no model."""

    vocab_size: int
    order: int = 4  # n: a token is predicted from the n-1 before it
    d_embed: int = 64
    d_hidden: int = 128
    num_hidden: int = 1  # number of hidden layers
    activation: str = "tanh"  # a name in models.mlp.ACTIVATIONS
    direct: bool = False  # connections from the embeddings to the logits
    layernorm: bool = False  # before each activation
    residual: bool = False  # around each hidden layer but the first, which changes the width
    dropout: float = 0.0  # rate on the embeddings and the hidden layers
    embed_scale: float = 0.1  # standard deviation of the embeddings at the start
    padding: int = 0  # the token that stands before the first one

    def __post_init__(self):
        least = {"vocab_size": 2, "order": 2, "d_embed": 1, "d_hidden": 1, "num_hidden": 1}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {minimum}")
        activation_function(self.activation)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")
        if not 0 <= self.padding < self.vocab_size:
            raise ValueError(f"padding={self.padding} must be one of the {self.vocab_size} tokens")

    @property
    def window(self):
        """W, the tokens that a prediction sees: n-1."""
        return self.order - 1


class WindowLM(nn.Module):
    """y = b + U h + W x, with h = tanh(d + H x) and x the embeddings side by side (Bengio et al. 2003, equation 1).

    W is there where the config's ``direct`` is true; the config also says how many hidden layers there are, and whether
    they have LayerNorm (Ba et al. 2016) and residual connections (He et al. 2016). Maps windows [..., W] of ids to
    logits [..., V]; raises ValueError for windows of another length. Sites: embed [..., W, D], hidden_i [..., F].
    """

    config: WindowConfig

    @nn.compact
    def __call__(self, tokens_BW, deterministic=True):
        c = self.config
        if tokens_BW.shape[-1] != c.window:
            length = tokens_BW.shape[-1]
            raise ValueError(f"a model of order {c.order} reads windows of {c.window} tokens, not {length}")

        def drop(x):
            return nn.Dropout(c.dropout)(x, deterministic=deterministic) if c.dropout else x

        embed = nn.Embed(c.vocab_size, c.d_embed, embedding_init=nn.initializers.normal(c.embed_scale), name="embed")
        x_BWD = Site(name="embed_site")(embed(tokens_BW))
        x_BE = drop(x_BWD).reshape(*tokens_BW.shape[:-1], c.window * c.d_embed)
        h_BF = x_BE
        for i in range(c.num_hidden):
            layer_BF = nn.Dense(c.d_hidden, name=f"hidden_{i}_in")(h_BF)
            if c.layernorm:
                layer_BF = nn.LayerNorm(name=f"norm_{i}")(layer_BF)
            layer_BF = activation_function(c.activation)(layer_BF)
            h_BF = Site(name=f"hidden_{i}")(h_BF + layer_BF if c.residual and i else layer_BF)
        logits_BV = nn.Dense(c.vocab_size, name="unembed")(drop(h_BF))
        if c.direct:
            # Zero at first, so that they add only what the hidden layer lacks.
            direct = nn.Dense(c.vocab_size, use_bias=False, kernel_init=nn.initializers.zeros, name="direct")
            logits_BV += direct(x_BE)
        return logits_BV


def windows(tokens_BT, config):
    """The window before each token [B, T, W], and so the inputs whose targets are ``tokens_BT``; padded at the left."""
    T = tokens_BT.shape[1]
    padded = jnp.pad(tokens_BT, ((0, 0), (config.window, 0)), constant_values=config.padding)
    return padded[:, jnp.arange(T)[:, None] + jnp.arange(config.window)]


def decoder(module):
    """The Decoder of a WindowLM: its cache is the last n-1 tokens [B, W], and so nothing limits a text's length."""
    config = module.config

    def start(batch_size):
        return jnp.full((batch_size, config.window), config.padding, jnp.int32)

    def advance(variables, last_BW, tokens_BT):
        last_BW = jnp.concatenate([last_BW, tokens_BT.astype(jnp.int32)], axis=1)[:, -config.window :]
        return module.apply(variables, last_BW), last_BW

    return Decoder(start, advance, None, config.window)


def prompt_errors(module, decoder, variables, text_N):
    """How many of PROMPT_TOKENS greedy tokens differ from whole windows', [4]: prompts of 1, n-1, n and n+1 tokens."""
    config, apply, advance = module.config, jax.jit(module.apply), jax.jit(decoder.advance)
    errors = []
    for length in (1, config.window, config.order, config.order + 1):
        prompt_T = text_N[:length].astype(np.int32)
        text, written = [config.padding] * config.window + prompt_T.tolist(), []
        logits_BV, cache = advance(variables, decoder.start(1), prompt_T[None])
        for _ in range(PROMPT_TOKENS):
            text.append(int(apply(variables, np.array(text[-config.window :])).argmax()))
            written.append(int(logits_BV[0].argmax()))
            logits_BV, cache = advance(variables, cache, np.array([written[-1:]]))
        errors.append(sum(a != b for a, b in zip(written, text[-PROMPT_TOKENS:], strict=True)))
    return np.array(errors)
