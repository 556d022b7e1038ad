"""The Transformer encoder-decoder for translation, made of the decoder-only Transformer's parts (Vaswani et al. 2017).

The encoder's self-attention looks both ways, at tokens that are not padding. A layer of the decoder has causal
self-attention, cross-attention over what the encoder returns, and an MLP. Layers are pre-norm. Source and target share
one vocabulary and one embedding, which also unembeds. Positions are sinusoidal or rotary, so that sentences may have
any length; cross-attention knows positions only through the streams that it compares.

Axes: B sentences, T target time (Q query position), S source time (K key position), D model width, H heads, C head
width, F hidden width of the MLP, V vocabulary, M = layers times heads: the attention maps of all cross-attention.

The sites, by which ``probes.sites`` reads and edits activations, are those of ``models.transformer`` within ``encoder``
and ``decoder``, and of each layer's cross-attention:

    encoder/embedding, decoder/embedding                 BSD, BTD  token embedding plus absolute positions
    encoder/layer_0/...                                  as in models.transformer, with S for T
    encoder/residual_out                                 BSD   the stream after the last layer
    encoder/memory                                       BSD   the same after the final norm: what the decoder sees
    decoder/layer_0/...                                  as in models.transformer
    decoder/layer_0/residual_cross                       BTD   the stream between self-attention and cross-attention
    decoder/layer_0/cross_attention/queries              BTHC
    decoder/layer_0/cross_attention/keys, values         BSHC
    decoder/layer_0/cross_attention/scores               BHQK  before the mask and the softmax
    decoder/layer_0/cross_attention/pattern              BHQK  rows sum to one; with the rows that were replaced
    decoder/layer_0/cross_attention/head_outputs         BTHC
    decoder/layer_0/cross_attention_out                  BTD   what cross-attention adds to the stream
    decoder/layer_0/residual_mid                         BTD   the stream between cross-attention and MLP
    decoder/residual_out, decoder/unembed_in             BTD   after the last layer, before and after the final norm
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.attention import Attention, Places
from models.linear import Linear, apply_together, gaussian
from models.site import Site
from models.transformer import Layer, TransformerConfig, logits, norm, sinusoidal_positions
from models.translator import Translator

POSITIONS = ("none", "sinusoidal", "rotary")


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """Shapes and kinds of the parts of an encoder and a decoder; raises ValueError where they do not fit together."""

    vocab_size: int
    num_layers: int = 2  # of the encoder, and of the decoder
    num_heads: int = 4
    d_model: int = 128
    d_mlp: int = 256
    mlp: str = "gelu"
    positions: str = "sinusoidal"
    norm: str = "layernorm"
    bias: bool = False
    dropout: float = 0.0
    dtype: str = "float32"  # of the computation; parameters are kept in float32 or wider

    def __post_init__(self):
        if self.positions not in POSITIONS:
            raise ValueError(f"positions={self.positions!r} is not one of {', '.join(POSITIONS)}")
        for name in ("num_layers", "d_mlp"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        self.layer_config(causal=True)

    def layer_config(self, causal, context_length=1):
        """The TransformerConfig of the layers; only a decoder that reads token by token needs the context length."""
        return TransformerConfig(
            vocab_size=self.vocab_size,
            context_length=context_length,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            d_model=self.d_model,
            d_mlp=self.d_mlp,
            mlp=self.mlp,
            positions=self.positions,
            norm=self.norm,
            bias=self.bias,
            tied_unembedding=True,
            causal=causal,
            dropout=self.dropout,
            dtype=self.dtype,
            attention="explicit",  # sentences are short: a pattern costs little
        )


class CrossAttention(nn.Module):
    """Multi-head attention from target positions to the source's keys and values."""

    config: TransformerConfig

    def setup(self):
        c = self.config
        features_HC = (c.num_heads, c.width_of_heads)
        has_bias = c.has_bias("query_key_value")
        self.query, self.key, self.value = (Linear((c.d_model,), features_HC, has_bias, c.dtype) for _ in range(3))
        self.output = Linear(features_HC, (c.d_model,), c.has_bias("attention_output"), c.dtype)
        self.queries, self.keys, self.values = Site(), Site(), Site()
        self.scores, self.pattern, self.head_outputs = Site(), Site(), Site()

    def keys_and_values(self, memory_BSD):
        """Keys and values [B, S, H, C] of what the encoder returned."""
        k_BSHC, v_BSHC = apply_together(memory_BSD, [self.key, self.value])
        return self.keys(k_BSHC), self.values(v_BSHC)

    def __call__(self, x_BTD, keys_and_values, visible_BS, replaced=None):
        """What the heads write [B, T, D], and their patterns [B, H, T, S]."""
        c = self.config
        k_BSHC, v_BSHC = keys_and_values
        q_BTHC = self.queries(self.query(x_BTD))
        scores_BHTS = self.scores(jnp.einsum("BTHC,BSHC->BHTS", q_BTHC * c.width_of_heads**-0.5, k_BSHC))
        # ``where`` makes weights of padding exactly 0, and rows of sentences without a token too, in place of NaN.
        weights_BHTS = jax.nn.softmax(scores_BHTS.astype(c.parameter_dtype), where=visible_BS[:, None, None])
        if replaced is not None:
            weights_BTS, is_replaced_BT = replaced
            weights_BHTS = jnp.where(is_replaced_BT[:, None, :, None], weights_BTS[:, None], weights_BHTS)
        weights_BHTS = self.pattern(weights_BHTS.astype(c.dtype))
        z_BTHC = self.head_outputs(jnp.einsum("BHTS,BSHC->BTHC", weights_BHTS, v_BSHC))
        return self.output(z_BTHC), weights_BHTS


class DecoderLayer(Layer):
    """Pre-norm residual layer: causal self-attention, cross-attention, then an MLP."""

    def setup(self):
        self.cross_attention = CrossAttention(self.config)

    def keys_and_values(self, memory_BSD):
        return self.cross_attention.keys_and_values(memory_BSD)

    @nn.compact
    def __call__(self, x_BTD, places, *source):
        c = self.config
        dropout = nn.Dropout(c.dropout, deterministic=self.deterministic)
        x_BTD = Site(name="residual_in")(x_BTD)
        attended_BTD = Attention(c, self.cached, name="attention")(norm(c, "attention_norm")(x_BTD), places)
        x_BTD = Site(name="residual_cross")(x_BTD + Site(name="attention_out")(dropout(attended_BTD)))
        attended_BTD, weights_BHTS = self.cross_attention(norm(c, "cross_attention_norm")(x_BTD), *source)
        x_BTD = Site(name="residual_mid")(x_BTD + Site(name="cross_attention_out")(dropout(attended_BTD)))
        return x_BTD + self.mlp(norm(c, "mlp_norm")(x_BTD), dropout), weights_BHTS


def embed(embed_VD, tokens_BT, places, config, deterministic):
    """Token embeddings [B, T, D] plus absolute positions; part of a compact module."""
    x_BTD = jnp.asarray(embed_VD)[tokens_BT].astype(config.dtype)
    if config.positions == "sinusoidal":
        # As long as a token's vector on average, so that neither drowns the other.
        vectors = sinusoidal_positions(places.positions_BT, config.d_model) * config.d_model**-0.5
        x_BTD = x_BTD + vectors.astype(config.dtype)
    x_BTD = nn.Dropout(config.dropout, deterministic=deterministic)(x_BTD)
    return Site(name="embedding")(x_BTD)


class Encoder(nn.Module):
    """Source tokens [B, S] -> memory [B, S, D]."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, embed_VD, tokens_BS, visible_BS, deterministic=True):
        c = self.config
        places = Places(jnp.arange(tokens_BS.shape[1])[None], visible_BK=visible_BS)
        x_BSD = embed(embed_VD, tokens_BS, places, c, deterministic)
        for layer in range(c.num_layers):
            x_BSD = Layer(c, deterministic, name=f"layer_{layer}")(x_BSD, places)
        x_BSD = Site(name="residual_out")(x_BSD)
        return Site(name="memory")(norm(c, "final_norm")(x_BSD))


class Decoder(nn.Module):
    """Target tokens [B, T] and a source's keys and values -> the stream [B, T, D], attention maps [B, M, T, S]."""

    config: TransformerConfig
    deterministic: bool = True
    cached: bool = False

    def setup(self):
        c = self.config
        self.layer = [DecoderLayer(c, self.deterministic, self.cached) for _ in range(c.num_layers)]  # layer_0, ...

    def keys_and_values(self, memory_BSD):
        """The keys and values of every layer's cross-attention."""
        return tuple(layer.keys_and_values(memory_BSD) for layer in self.layer)

    @nn.compact
    def __call__(self, embed_VD, tokens_BT, places, keys_and_values, visible_BS, replaced=None):
        c = self.config
        x_BTD = embed(embed_VD, tokens_BT, places, c, self.deterministic)
        maps = []
        for layer, of_layer in zip(self.layer, keys_and_values, strict=True):
            x_BTD, weights_BHTS = layer(x_BTD, places, of_layer, visible_BS, replaced)
            maps.append(weights_BHTS)
        x_BTD = Site(name="residual_out")(x_BTD)
        return Site(name="unembed_in")(norm(c, "final_norm")(x_BTD)), jnp.concatenate(maps, axis=1)


class EncoderDecoder(nn.Module):
    """Source and target tokens -> logits [B, T, V] in float32 or wider, and attention maps [B, M, T, S].

    deterministic: False applies dropout.
    cache_length: where it is not 0, the collection ``cache`` keeps the decoder's keys and values of so many tokens, and
      targets go on where the cache ends.
    """

    config: EncoderDecoderConfig
    deterministic: bool = True
    cache_length: int = 0

    def setup(self):
        c = self.config
        inner = c.layer_config(causal=True, context_length=max(self.cache_length, 1))
        self.encoder = Encoder(c.layer_config(causal=False))
        self.decoder = Decoder(inner, self.deterministic, cached=self.cache_length > 0)
        self.embed = self.param("embed", gaussian(c.d_model**-0.5), (c.vocab_size, c.d_model), inner.parameter_dtype)

    def __call__(self, source_BS, source_length_B, target_BT, replaced=None):
        source = self.encode(source_BS, source_length_B)
        return self.decode(target_BT, jnp.arange(target_BT.shape[1])[None], *source, replaced)

    def encode(self, source_BS, source_length_B):
        """The keys and values that cross-attention reads, and which of them are no padding [B, S]."""
        visible_BS = jnp.arange(source_BS.shape[1]) < source_length_B[:, None]
        memory_BSD = self.encoder(self.embed, source_BS, visible_BS, self.deterministic)
        return self.decoder.keys_and_values(memory_BSD), visible_BS

    def decode(self, target_BT, positions_BT, keys_and_values, visible_BS, replaced=None):
        places = Places(positions_BT, first=positions_BT[0, 0])
        x_BTD, weights_BMTS = self.decoder(self.embed, target_BT, places, keys_and_values, visible_BS, replaced)
        return logits(x_BTD, jnp.asarray(self.embed).T), weights_BMTS


class Cache(NamedTuple):
    """What translations that are being written have read; every array's first axis is B.

    source:     keys and values [B, S, H, C] of each layer's cross-attention
    visible_BS: which source tokens are no padding
    position_B: number of target tokens read, the same in every row
    target:     the collection ``cache``: keys and values of the target tokens read
    """

    source: Any
    visible_BS: Any
    position_B: Any
    target: Any


def translator(config):
    """The ``models.translator.Translator`` of a config; its attention maps are those of all layers and heads."""
    model = EncoderDecoder(config)

    def init(key):
        one_B = jnp.ones(1, jnp.int32)
        return model.init(key, one_B[:, None], one_B, one_B[:, None])

    def forward(variables, source_BS, source_length_B, target_BT, rngs=None, replaced=None):
        reader = model.clone(deterministic=not rngs)
        return reader.apply(variables, source_BS, source_length_B, target_BT, replaced, rngs=rngs or {})

    def read(variables, cache, tokens_B, max_length):
        """(logits_BV, the collection ``cache``) after one more target token."""
        (logits_BTV, _), changed = model.clone(cache_length=max_length).apply(
            {**variables, "cache": cache.target},
            tokens_B[:, None],
            cache.position_B[:, None],
            cache.source,
            cache.visible_BS,
            mutable=["cache"],
            method="decode",
        )
        return logits_BTV[:, 0], changed["cache"]

    def encode(variables, source_BS, source_length_B, max_length):
        keys_and_values, visible_BS = model.apply(variables, source_BS, source_length_B, method="encode")
        zero_B = jnp.zeros(source_BS.shape[0], jnp.int32)
        cache = Cache(keys_and_values, visible_BS, zero_B, {})
        shapes = jax.eval_shape(partial(read, max_length=max_length), variables, cache, zero_B)[1]
        return cache._replace(target=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))

    def advance(variables, cache, tokens_B):
        max_length = jax.tree.leaves(cache.target)[0].shape[1]
        logits_BV, target = read(variables, cache, tokens_B, max_length)
        return logits_BV, cache._replace(position_B=cache.position_B + 1, target=target)

    return Translator(model, init, forward, encode, advance)
