"""The decoder-only Transformer: one module for every experiment.

Axes: B batch, T time (Q query, K key position), D model width, H heads, C head width, F hidden width of the MLP,
V vocabulary. Rows of the residual stream are multiplied by weights from the right: ``x_D @ W_DF``.

Every activation that a probe may want passes through a site, an identity with a path; ``probes.sites`` reads and edits
activations by these paths:

    embedding                         BTD   token embedding plus absolute positions
    layer_0/residual_in               BTD   the stream as the layer finds it
    layer_0/attention/queries         BTHC  (rotated, where positions are rotary)
    layer_0/attention/keys            BTHC  (likewise)
    layer_0/attention/values          BTHC
    layer_0/attention/scores          BHQK  before the causal mask and the softmax
    layer_0/attention/pattern         BHQK  rows sum to one
    layer_0/attention/head_outputs    BTHC  pattern times values, before the output projection
    layer_0/attention_out             BTD   what attention adds to the stream
    layer_0/residual_mid              BTD   the stream between attention and MLP
    layer_0/mlp_hidden                BTF   after the activation function
    layer_0/mlp_out                   BTD   what the MLP adds to the stream
    residual_out                      BTD   the stream after the last layer
    unembed_in                        BTD   the same after the final norm: what the unembedding reads
"""

import math
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.site import Site

POSITIONS = ("none", "learned", "sinusoidal", "rotary", "alibi")
NORMS = ("none", "layernorm")
ATTENTION = ("auto", "explicit")
# How a mesh splits parameters: (pattern of the path, mesh axis of each of the array's axes). The axis "model" splits
# heads, hidden units and the vocabulary, so that each layer adds up partial sums twice (Shoeybi et al. 2019, section
# 3); "fsdp" splits the width of the stream, and each kernel is gathered before it is used.
SHARDING = (
    ("embed$", ("model", "fsdp")),
    ("positions$", (None, "fsdp")),
    ("(query|key|value)/kernel$", ("fsdp", "model", None)),
    ("(query|key|value)/bias$", ("model", None)),
    ("attention/output/kernel$", ("model", None, "fsdp")),
    ("mlp_in/kernel$", ("fsdp", "model")),
    ("mlp_in/bias$", ("model",)),
    ("mlp_project/kernel$", ("model", "fsdp")),
    ("unembed/kernel$", ("fsdp", "model")),
)
SMALL_KERNEL = 2**16  # numbers in a kernel that is joined with its neighbours


@dataclass(frozen=True)
class TransformerConfig:
    """Shapes and kinds of a Transformer's parts; raises ValueError where they do not fit together."""

    vocab_size: int
    context_length: int
    num_layers: int = 2
    num_heads: int = 4
    d_model: int = 64
    head_width: int | None = None  # None: d_model / num_heads
    d_mlp: int = 0  # 0: attention only
    positions: str = "learned"
    norm: str = "none"  # applied before attention, before the MLP and before the unembedding
    bias: bool = False
    tied_unembedding: bool = False
    causal: bool = True
    dropout: float = 0.0
    dtype: str = "float32"  # of the computation; parameters are kept in float32 or wider
    attention: str = "auto"  # explicit: compute the normalised pattern, which probes of scores and patterns need

    def __post_init__(self):
        for name, value, allowed in (
            ("positions", self.positions, POSITIONS),
            ("norm", self.norm, NORMS),
            ("attention", self.attention, ATTENTION),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(allowed)}")
        for name in ("vocab_size", "context_length", "num_heads", "d_model"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.num_layers < 0 or self.d_mlp < 0:
            raise ValueError(f"num_layers={self.num_layers} and d_mlp={self.d_mlp} must not be negative")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")
        if self.head_width is None and self.d_model % self.num_heads:
            raise ValueError(f"d_model={self.d_model} is not divisible by num_heads={self.num_heads}")
        if self.positions == "rotary" and self.width_of_heads % 2:
            raise ValueError(f"rotary positions need an even head width, not {self.width_of_heads}")

    @property
    def width_of_heads(self):
        return self.head_width or self.d_model // self.num_heads

    @property
    def parameter_dtype(self):
        return jnp.promote_types(self.dtype, jnp.float32)


def gaussian(deviation):
    """An initializer of N(0, deviation^2), drawn flat: XLA's CPU compiler is several times slower over more axes."""

    def init(key, shape, dtype):
        return deviation * jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)

    return init


class Linear(nn.Module):
    """Affine map of the last axes, ``inputs``, to ``features``; initial weights ~ N(0, 1 / fan-in), biases 0."""

    config: TransformerConfig
    inputs: tuple[int, ...]
    features: tuple[int, ...]

    def setup(self):
        init = gaussian(math.prod(self.inputs) ** -0.5)
        self.kernel = self.param("kernel", init, self.inputs + self.features, self.config.parameter_dtype)
        if self.config.bias:
            self.bias = self.param("bias", nn.initializers.zeros, self.features, self.config.parameter_dtype)

    def __call__(self, x):
        return apply_together(x, [self])[0]


def apply_together(x, linears):
    """The outputs of Linears of the same shape for the same x; of small ones, by one matrix product.

    Leading axes are flattened to one around the product: XLA's CPU backend runs the backward products of [N, D]
    operands up to twice as fast as those of [B, T, D]. One wide product is faster than several narrow ones, as long as
    joining the kernels costs no memory to speak of.
    """
    c, inputs, features = linears[0].config, linears[0].inputs, linears[0].features
    shape = math.prod(inputs), math.prod(features)
    matrices = [linear.kernel.reshape(shape).astype(c.dtype) for linear in linears]
    if math.prod(shape) < SMALL_KERNEL:
        matrices = [jnp.concatenate(matrices, axis=1)]
    rows = x.reshape(-1, shape[0])
    columns = [y for matrix in matrices for y in jnp.split(rows @ matrix, matrix.shape[1] // shape[1], axis=1)]
    outputs = [y.reshape(x.shape[: -len(inputs)] + features) for y in columns]
    if c.bias:
        outputs = [y + linear.bias.astype(c.dtype) for y, linear in zip(outputs, linears, strict=True)]
    return outputs


def norm(config, name):
    """The config's normalisation layer, or the identity."""
    if config.norm == "none":
        return lambda x: x
    return nn.LayerNorm(use_bias=config.bias, dtype=config.dtype, param_dtype=config.parameter_dtype, name=name)


def sinusoidal_positions(length, width):
    """Fixed position vectors [length, width], sines then cosines (Vaswani et al. 2017, section 3.5)."""
    half = (width + 1) // 2
    angles = jnp.arange(length)[:, None] * 10000.0 ** (-jnp.arange(half) / half)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)[:, :width]


def rotate(x_BTHC, base=10000.0):
    """Rotary positions (Su et al. 2021): turns the pair (c, c + C/2) at position t by the angle t * base^(-2c/C)."""
    length, width = x_BTHC.shape[1], x_BTHC.shape[-1]
    angles_TC = jnp.arange(length)[:, None] * base ** (-jnp.arange(0, width, 2) / width)
    cos, sin = (f(angles_TC)[:, None, :].astype(x_BTHC.dtype) for f in (jnp.cos, jnp.sin))
    x1, x2 = jnp.split(x_BTHC, 2, axis=-1)
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)


def alibi_slopes(num_heads):
    """Slopes [H] of attention with linear biases (Press et al. 2022): 2^(-8 h / H) for h = 1 ... H."""
    return 2.0 ** (-8.0 * jnp.arange(1, num_heads + 1) / num_heads)


class Attention(nn.Module):
    """Multi-head self-attention, [B, T, D] -> [B, T, D]."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x_BTD, deterministic):
        c = self.config
        heads = (c.num_heads, c.width_of_heads)
        projections = [Linear(c, (c.d_model,), heads, name=name) for name in ("query", "key", "value")]
        q_BTHC, k_BTHC, v_BTHC = apply_together(x_BTD, projections)
        if c.positions == "rotary":
            q_BTHC, k_BTHC = rotate(q_BTHC), rotate(k_BTHC)
        q_BTHC = Site(name="queries")(q_BTHC)
        k_BTHC = Site(name="keys")(k_BTHC)
        v_BTHC = Site(name="values")(v_BTHC)
        if self.flash_applies():
            z_BTHC = jax.nn.dot_product_attention(q_BTHC, k_BTHC, v_BTHC, is_causal=c.causal, implementation="cudnn")
        elif c.attention == "auto":
            z_BTHC = self.by_rows(q_BTHC, k_BTHC, v_BTHC)
        else:
            z_BTHC = self.explicit(q_BTHC, k_BTHC, v_BTHC)
        z_BTHC = Site(name="head_outputs")(z_BTHC)
        return Linear(c, heads, (c.d_model,), name="output")(z_BTHC)

    def flash_applies(self):
        """Whether cuDNN's fused attention computes this layer: its limits are a half dtype and its head widths."""
        c = self.config
        return (
            c.attention == "auto"
            and jax.default_backend() == "gpu"
            and c.dtype in ("float16", "bfloat16")
            and c.positions != "alibi"
            and c.width_of_heads % 8 == 0
            and c.width_of_heads <= 256
        )

    def scores(self, q_BQHC, k_BKHC, first=0):
        """Scores [B, H, Q, K] before the mask, of queries at positions first, first + 1, ..."""
        c = self.config
        scores_BHQK = jnp.einsum("BQHC,BKHC->BHQK", q_BQHC * c.width_of_heads**-0.5, k_BKHC)
        if c.positions == "alibi":
            distance_QK = jnp.abs(first + jnp.arange(q_BQHC.shape[1])[:, None] - jnp.arange(k_BKHC.shape[1]))
            bias_HQK = -alibi_slopes(c.num_heads)[:, None, None] * distance_QK
            scores_BHQK = scores_BHQK + bias_HQK.astype(scores_BHQK.dtype)
        return scores_BHQK

    def masked(self, scores_BHQK, first=0):
        """The scores in the softmax's precision, -inf where a query would look ahead."""
        wide = scores_BHQK.astype(self.config.parameter_dtype)
        if not self.config.causal:
            return wide
        ahead_QK = first + jnp.arange(wide.shape[-2])[:, None] < jnp.arange(wide.shape[-1])
        # Added, not selected: a constant leaves the backward pass nothing to do.
        return wide + jnp.where(ahead_QK, -jnp.inf, 0.0)

    def explicit(self, q_BTHC, k_BTHC, v_BTHC):
        scores_BHQK = Site(name="scores")(self.scores(q_BTHC, k_BTHC))
        pattern_BHQK = jax.nn.softmax(self.masked(scores_BHQK), axis=-1).astype(self.config.dtype)
        pattern_BHQK = Site(name="pattern")(pattern_BHQK)
        return jnp.einsum("BHQK,BKHC->BQHC", pattern_BHQK, v_BTHC)

    def by_rows(self, q_BTHC, k_BTHC, v_BTHC):
        """The same without a normalised pattern: 1.3 times as fast a training step on CPU.

        Rows are divided by their sums after the product with the values, T * C divisions a head in place of T * T, and
        the earlier half of the queries meets only the keys that it may see.
        """
        length = q_BTHC.shape[1]
        middle = length // 2 if self.config.causal else 0
        z_BQHC = []
        for first, end in ((0, middle), (middle, length)):
            if first == end:
                continue
            scores_BHQK = self.masked(self.scores(q_BTHC[:, first:end], k_BTHC[:, :end], first), first)
            peak_BHQ1 = jax.lax.stop_gradient(scores_BHQK.max(axis=-1, keepdims=True))
            weights_BHQK = jnp.exp(scores_BHQK - peak_BHQ1)
            sums_BQH1 = weights_BHQK.sum(axis=-1).swapaxes(1, 2)[..., None]
            z = jnp.einsum("BHQK,BKHC->BQHC", weights_BHQK.astype(self.config.dtype), v_BTHC[:, :end])
            z_BQHC.append((z / sums_BQH1).astype(self.config.dtype))
        return jnp.concatenate(z_BQHC, axis=1)


class Layer(nn.Module):
    """Pre-norm residual layer: attention, then an MLP where the config has one."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x_BTD, deterministic):
        c = self.config
        dropout = nn.Dropout(c.dropout, deterministic=deterministic)
        x_BTD = Site(name="residual_in")(x_BTD)
        attended_BTD = Attention(c, name="attention")(norm(c, "attention_norm")(x_BTD), deterministic)
        x_BTD = x_BTD + Site(name="attention_out")(dropout(attended_BTD))
        if not c.d_mlp:
            return x_BTD
        x_BTD = Site(name="residual_mid")(x_BTD)
        hidden_BTF = nn.gelu(Linear(c, (c.d_model,), (c.d_mlp,), name="mlp_in")(norm(c, "mlp_norm")(x_BTD)))
        hidden_BTF = Site(name="mlp_hidden")(hidden_BTF)
        written_BTD = Linear(c, (c.d_mlp,), (c.d_model,), name="mlp_project")(hidden_BTF)
        return x_BTD + Site(name="mlp_out")(dropout(written_BTD))


class Transformer(nn.Module):
    """Token ids [B, T] -> logits [B, T, V] in float32 or wider.

    Raises ValueError where T exceeds the context length. Token ids are not checked here: see data/.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, tokens_BT, deterministic=True):
        c = self.config
        length = tokens_BT.shape[1]
        if length > c.context_length:
            raise ValueError(f"{length} tokens do not fit context_length={c.context_length}")
        vectors = gaussian(c.d_model**-0.5)
        embed_VD = self.param("embed", vectors, (c.vocab_size, c.d_model), c.parameter_dtype)
        x_BTD = jnp.asarray(embed_VD, c.dtype)[tokens_BT]
        if c.positions == "learned":
            positions_TD = self.param("positions", vectors, (c.context_length, c.d_model), c.parameter_dtype)
            x_BTD = x_BTD + positions_TD[:length].astype(c.dtype)
        elif c.positions == "sinusoidal":
            # Scaled to the length of a learned position vector, so that neither drowns the token.
            x_BTD = x_BTD + (sinusoidal_positions(length, c.d_model) * c.d_model**-0.5).astype(c.dtype)
        x_BTD = nn.Dropout(c.dropout, deterministic=deterministic)(x_BTD)
        x_BTD = Site(name="embedding")(x_BTD)
        for layer in range(c.num_layers):
            x_BTD = Layer(c, name=f"layer_{layer}")(x_BTD, deterministic)
        x_BTD = Site(name="residual_out")(x_BTD)
        x_BTD = Site(name="unembed_in")(norm(c, "final_norm")(x_BTD))
        if c.tied_unembedding:
            logits = x_BTD.reshape(-1, c.d_model) @ embed_VD.astype(c.dtype).T
            logits = logits.reshape(*tokens_BT.shape, c.vocab_size)
        else:
            logits = Linear(c, (c.d_model,), (c.vocab_size,), name="unembed")(x_BTD)
        return logits.astype(c.parameter_dtype)
