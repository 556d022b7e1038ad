"""The decoder-only Transformer: one module for every experiment.

Axes: B batch, T time (Q query, K key position), D model width, H heads, G heads of keys and values, C head width,
F hidden width of the MLP, L layers, V vocabulary. Rows of the residual stream are multiplied by weights from the right:
``x_D @ W_DF``.

Every activation that a probe may want passes through a site, an identity with a path; ``probes.sites`` reads and edits
activations by these paths:

    embedding                         BTD   token embedding plus absolute positions
    layer_0/residual_in               BTD   the stream as the layer finds it
    layer_0/attention/queries         BTHC  (rotated, where positions are rotary)
    layer_0/attention/keys            BTGC  (likewise)
    layer_0/attention/values          BTGC
    layer_0/attention/scores          BHQK  before the causal mask and the softmax
    layer_0/attention/pattern         BHQK  rows sum to one
    layer_0/attention/head_outputs    BTHC  pattern times values, before the output projection
    layer_0/attention_out             BTD   what attention adds to the stream
    layer_0/residual_mid              BTD   the stream between attention and MLP; absent where these are parallel
    layer_0/mlp_hidden                BTF   after the activation function; of SwiGLU, the gated product
    layer_0/mlp_out                   BTD   what the MLP adds to the stream
    residual_out                      BTD   the stream after the last layer
    unembed_in                        BTD   the same after the final norm: what the unembedding reads

With ``scan_layers`` the layers are one program that is repeated, and their parameters one array with a leading axis L
under ``layers``: probes want ``unscanned`` first.
"""

from dataclasses import dataclass, field, replace

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.attention import Attention, Places
from models.decoding import Decoder
from models.linear import Linear, gaussian
from models.rotary import Rotary, rotated_channels
from models.site import Site

POSITIONS = ("none", "learned", "sinusoidal", "rotary", "alibi")
NORMS = ("none", "layernorm", "rmsnorm")
ATTENTION = ("auto", "explicit")
ACTIVATIONS = {
    "gelu": nn.gelu,  # the tanh approximation, as GPT-2 has it
    "gelu_exact": lambda x: nn.gelu(x, approximate=False),
    "relu": nn.relu,
    "swiglu": nn.silu,  # of the gate, which multiplies a second projection (Shazeer 2020)
}
# How a mesh splits parameters: (pattern of the path, mesh axis of each of the array's axes). The axis "model" splits
# heads, hidden units and the vocabulary, so that each layer adds up partial sums twice (Shoeybi et al. 2019, section
# 3); "fsdp" splits the width of the stream, and each kernel is gathered before it is used.
LAYER_SHARDING = (
    ("(query|key|value)/kernel$", ("fsdp", "model", None)),
    ("(query|key|value)/bias$", ("model", None)),
    ("attention/output/kernel$", ("model", None, "fsdp")),
    ("(mlp_in|mlp_gate)/kernel$", ("fsdp", "model")),
    ("(mlp_in|mlp_gate)/bias$", ("model",)),
    ("mlp_project/kernel$", ("model", "fsdp")),
)
SHARDING = (
    *((f"layers/.*{pattern}", (None, *axes)) for pattern, axes in LAYER_SHARDING),
    *LAYER_SHARDING,
    ("embed$", ("model", "fsdp")),
    ("positions$", (None, "fsdp")),
    ("unembed/kernel$", ("fsdp", "model")),
)


@dataclass(frozen=True)
class TransformerConfig:
    """Shapes and kinds of a Transformer's parts; raises ValueError where they do not fit together."""

    vocab_size: int
    context_length: int
    num_layers: int = 2
    num_heads: int = 4
    num_key_value_heads: int | None = None  # None: num_heads; fewer are shared by groups of query heads
    d_model: int = 64
    head_width: int | None = None  # None: d_model / num_heads
    d_mlp: int = 0  # 0: attention only
    mlp: str = "gelu"
    parallel_residual: bool = False  # attention and MLP read the same stream, and both are added
    positions: str = "learned"
    rotary: Rotary = field(default_factory=Rotary)
    norm: str = "none"  # applied before attention, before the MLP and before the unembedding
    norm_epsilon: float = 1e-6
    bias: bool = False  # of affine maps and LayerNorms; the unembedding has none
    query_key_value_bias: bool | None = None  # None: bias
    attention_output_bias: bool | None = None  # None: bias
    mlp_bias: bool | None = None  # None: bias
    tied_unembedding: bool = False
    causal: bool = True
    dropout: float = 0.0
    dtype: str = "float32"  # of the computation; parameters are kept in float32 or wider
    attention: str = "auto"  # explicit: compute the normalised pattern, which probes of scores and patterns need
    scan_layers: bool = False  # one compiled layer, repeated: deep models compile in the time of one layer
    remat: bool = False  # compute each layer's activations anew in the backward pass, not store them

    def __post_init__(self):
        for name, value, allowed in (
            ("positions", self.positions, POSITIONS),
            ("norm", self.norm, NORMS),
            ("mlp", self.mlp, tuple(ACTIVATIONS)),
            ("attention", self.attention, ATTENTION),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(allowed)}")
        for name in ("vocab_size", "context_length", "num_heads", "d_model", "heads_of_keys"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.num_layers < 0 or self.d_mlp < 0:
            raise ValueError(f"num_layers={self.num_layers} and d_mlp={self.d_mlp} must not be negative")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")
        if self.head_width is None and self.d_model % self.num_heads:
            raise ValueError(f"d_model={self.d_model} is not divisible by num_heads={self.num_heads}")
        if self.num_heads % self.heads_of_keys:
            raise ValueError(f"num_heads={self.num_heads} is not divisible by num_key_value_heads={self.heads_of_keys}")
        if self.positions == "rotary":
            rotated_channels(self.rotary, self.width_of_heads)

    @property
    def width_of_heads(self):
        return self.head_width or self.d_model // self.num_heads

    @property
    def heads_of_keys(self):
        return self.num_heads if self.num_key_value_heads is None else self.num_key_value_heads

    @property
    def parameter_dtype(self):
        return jnp.promote_types(self.dtype, jnp.float32)

    def has_bias(self, part):
        """Whether a part has biases: "query_key_value", "attention_output" or "mlp"."""
        own = getattr(self, f"{part}_bias")
        return self.bias if own is None else own


def norm(config, name):
    """The config's normalisation layer, or the identity."""
    if config.norm == "none":
        return lambda x: x
    if config.norm == "rmsnorm":
        return nn.RMSNorm(
            epsilon=config.norm_epsilon,
            dtype=config.dtype,
            param_dtype=config.parameter_dtype,
            name=name,
        )
    return nn.LayerNorm(
        epsilon=config.norm_epsilon,
        dtype=config.dtype,
        param_dtype=config.parameter_dtype,
        use_bias=config.bias,
        use_fast_variance=False,  # mean square minus squared mean loses digits where the mean is large
        name=name,
    )


def sinusoidal_positions(positions, width):
    """Fixed position vectors [..., width], sines then cosines (Vaswani et al. 2017, section 3.5)."""
    half = (width + 1) // 2
    angles = positions[..., None] * 10000.0 ** (-jnp.arange(half) / half)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)[..., :width]


class Layer(nn.Module):
    """Pre-norm residual layer: attention, then an MLP where the config has one."""

    config: TransformerConfig
    deterministic: bool = True
    cached: bool = False

    @nn.compact
    def __call__(self, x_BTD, places):
        c = self.config
        dropout = nn.Dropout(c.dropout, deterministic=self.deterministic)
        x_BTD = Site(name="residual_in")(x_BTD)
        attended_BTD = Attention(c, self.cached, name="attention")(norm(c, "attention_norm")(x_BTD), places)
        attended_BTD = Site(name="attention_out")(dropout(attended_BTD))
        if not c.d_mlp:
            return x_BTD + attended_BTD
        if c.parallel_residual:
            return x_BTD + attended_BTD + self.mlp(norm(c, "mlp_norm")(x_BTD), dropout)
        x_BTD = Site(name="residual_mid")(x_BTD + attended_BTD)
        return x_BTD + self.mlp(norm(c, "mlp_norm")(x_BTD), dropout)

    def mlp(self, x_BTD, dropout):
        c = self.config
        biased = c.has_bias("mlp")

        def linear(inputs, features, name):
            return Linear((inputs,), (features,), biased, c.dtype, name=name)

        hidden_BTF = linear(c.d_model, c.d_mlp, "mlp_in")(x_BTD)
        if c.mlp == "swiglu":
            hidden_BTF = ACTIVATIONS[c.mlp](linear(c.d_model, c.d_mlp, "mlp_gate")(x_BTD)) * hidden_BTF
        else:
            hidden_BTF = ACTIVATIONS[c.mlp](hidden_BTF)
        hidden_BTF = Site(name="mlp_hidden")(hidden_BTF)
        return Site(name="mlp_out")(dropout(linear(c.d_mlp, c.d_model, "mlp_project")(hidden_BTF)))


class Transformer(nn.Module):
    """Token ids [B, T] -> logits [B, T, V] in float32 or wider.

    Args:
      positions_BT: where each token stands; by default counted from 0, padding left out.
      visible_BK: False for tokens that are padding: no other token sees them.
      cached: append the tokens to the collection ``cache``, made by ``decoder``, and let them see what it holds.
      unembed: False gives the stream that the unembedding reads, [B, T, D].
    Raises ValueError where T exceeds the context length. Token ids are not checked here: see data/.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, tokens_BT, deterministic=True, positions_BT=None, visible_BK=None, cached=False, unembed=True):
        c = self.config
        length = tokens_BT.shape[1]
        if length > c.context_length:
            raise ValueError(f"{length} tokens do not fit context_length={c.context_length}")
        vectors = gaussian(c.d_model**-0.5)
        embed_VD = self.param("embed", vectors, (c.vocab_size, c.d_model), c.parameter_dtype)
        # Cast after the gather: its gradient adds up many rows, which half precision would lose.
        x_BTD = jnp.asarray(embed_VD)[tokens_BT].astype(c.dtype)
        counted = positions_BT is None and visible_BK is None and not cached
        places = self.places(tokens_BT, positions_BT, visible_BK, cached)
        if c.positions == "learned":
            positions_TD = self.param("positions", vectors, (c.context_length, c.d_model), c.parameter_dtype)
            vectors = positions_TD[:length] if counted else jnp.asarray(positions_TD)[places.positions_BT]
            x_BTD = x_BTD + vectors.astype(c.dtype)
        elif c.positions == "sinusoidal":
            # Scaled to the length of a learned position vector, so that neither drowns the token.
            vectors = sinusoidal_positions(places.positions_BT, c.d_model) * c.d_model**-0.5
            x_BTD = x_BTD + vectors.astype(c.dtype)
        x_BTD = nn.Dropout(c.dropout, deterministic=deterministic)(x_BTD)
        x_BTD = Site(name="embedding")(x_BTD)
        x_BTD = self.layers(x_BTD, places, deterministic, cached)
        x_BTD = Site(name="residual_out")(x_BTD)
        x_BTD = Site(name="unembed_in")(norm(c, "final_norm")(x_BTD))
        if not c.tied_unembedding:
            project = Linear((c.d_model,), (c.vocab_size,), dtype=c.dtype, name="unembed")
            kernel_DV = project.kernel
        else:
            kernel_DV = embed_VD.T
        return logits(x_BTD, kernel_DV) if unembed else x_BTD

    def layers(self, x_BTD, places, deterministic, cached):
        c = self.config
        # Within a scan nothing is merged with the forward pass anyhow.
        kind = nn.remat(Layer, prevent_cse=not c.scan_layers) if c.remat else Layer
        if not c.scan_layers:
            for layer in range(c.num_layers):
                x_BTD = kind(c, deterministic, cached, name=f"layer_{layer}")(x_BTD, places)
            return x_BTD
        repeat = nn.scan(
            lambda layer, x_BTD, places: (layer(x_BTD, places), None),
            variable_axes={"params": 0, "cache": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=nn.broadcast,
            length=c.num_layers,
        )
        return repeat(kind(c, deterministic, cached, name="layers"), x_BTD, places)[0]

    def places(self, tokens_BT, positions_BT, visible_BK, cached):
        """The Places of the tokens; with ``cached`` those after what the cache holds."""
        if not cached:
            if positions_BT is None and visible_BK is None:
                positions_BT = jnp.arange(tokens_BT.shape[1])[None]
            elif positions_BT is None:
                positions_BT = jnp.maximum(jnp.cumsum(visible_BK, axis=1) - 1, 0)
            return Places(positions_BT, visible_BK=visible_BK)
        batch_size = tokens_BT.shape[0]
        held = self.variable("cache", "length", jnp.zeros, (), jnp.int32)
        counted = self.variable("cache", "positions", jnp.zeros, (batch_size,), jnp.int32)
        visible = self.variable("cache", "visible", jnp.zeros, (batch_size, self.config.context_length), bool)
        first, before_B = held.value, counted.value
        visible_BK = jnp.ones(tokens_BT.shape, bool) if visible_BK is None else visible_BK
        if positions_BT is None:
            positions_BT = jnp.maximum(before_B[:, None] + jnp.cumsum(visible_BK, axis=1) - 1, 0)
        if not self.is_initializing():
            visible.value = jax.lax.dynamic_update_slice_in_dim(visible.value, visible_BK, first, axis=1)
            held.value, counted.value = first + tokens_BT.shape[1], before_B + visible_BK.sum(axis=1)
        return Places(positions_BT, first, visible.value)


def logits(x, kernel_DV):
    """Logits [..., V] in float32 or wider of streams [..., D], by a product in the stream's precision."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    rows = jnp.dot(x.reshape(-1, x.shape[-1]), kernel_DV.astype(x.dtype), preferred_element_type=wide)
    return rows.reshape(*x.shape[:-1], -1)


def unembedding(config, params):
    """The matrix [D, V] that reads logits off the stream."""
    return params["embed"].T if config.tied_unembedding else params["unembed"]["kernel"]


def decoder(module):
    """How a Transformer is read token by token; ``advance`` also takes visible_BK, False for padding on the left."""
    config = module.config

    def start(batch_size):
        tokens_BT = jax.ShapeDtypeStruct((batch_size, 1), jnp.int32)
        made = jax.eval_shape(lambda tokens_BT: module.init(jax.random.key(0), tokens_BT, cached=True), tokens_BT)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), made["cache"])

    def advance(variables, cache, tokens_BT, visible_BK=None):
        x_BTD, changed = module.apply(
            {**variables, "cache": cache},
            tokens_BT,
            visible_BK=visible_BK,
            cached=True,
            unembed=False,
            mutable=["cache"],
        )
        return logits(x_BTD[:, -1], unembedding(config, variables["params"])), changed["cache"]

    return Decoder(start, advance, config.context_length)


def unscanned(module, params):
    """(module, params) of the same function with ``layer_0``, ``layer_1``, ... for the one repeated layer."""
    if not module.config.scan_layers:
        return module, params
    params = dict(params)
    stacked = params.pop("layers")
    for layer in range(module.config.num_layers):
        params[f"layer_{layer}"] = jax.tree.map(lambda x, layer=layer: x[layer], stacked)
    return module.clone(config=replace(module.config, scan_layers=False)), params


def scanned(module, params):
    """(module, params) of the same function with the layers as one that is repeated."""
    if module.config.scan_layers:
        return module, params
    layers = [params[f"layer_{layer}"] for layer in range(module.config.num_layers)]
    params = {name: value for name, value in params.items() if not name.startswith("layer_")}
    params["layers"] = jax.tree.map(lambda *x: jnp.stack(x), *layers)
    return module.clone(config=replace(module.config, scan_layers=True)), params
