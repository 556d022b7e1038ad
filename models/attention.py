"""Multi-head self-attention of the Transformer, with its cache.

Axes: B batch, T time (Q query, K key position), D model width, H heads, G heads of keys and values, C head width.
Where G < H, neighbouring query heads share a head of keys and values (Ainslie et al. 2023).
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.linear import Linear, apply_together
from models.rotary import rotate
from models.site import Site


class Places(NamedTuple):
    """Where the tokens at hand stand, the same for every layer."""

    positions_BT: Any  # by which absolute and rotary positions count; B may be 1
    first: Any = 0  # tokens in the cache before these
    visible_BK: Any = None  # keys that are not padding; None: all


def alibi_slopes(num_heads):
    """Slopes [H] of attention with linear biases (Press et al. 2022): 2^(-8 h / H) for h = 1 ... H."""
    return 2.0 ** (-8.0 * jnp.arange(1, num_heads + 1) / num_heads)


class Attention(nn.Module):
    """Multi-head self-attention, [B, T, D] -> [B, T, D].

    With ``cached``, keys and values are appended to the collection ``cache``, and queries meet all that it holds.
    """

    config: Any  # a TransformerConfig
    cached: bool = False

    @nn.compact
    def __call__(self, x_BTD, places):
        c = self.config
        queries, shared = (c.num_heads, c.width_of_heads), (c.heads_of_keys, c.width_of_heads)
        biased = c.has_bias("query_key_value")
        projections = [
            Linear((c.d_model,), features, biased, c.dtype, name=name)
            for name, features in (("query", queries), ("key", shared), ("value", shared))
        ]
        q_BTHC, k_BTGC, v_BTGC = apply_together(x_BTD, projections)
        if c.positions == "rotary":
            q_BTHC, k_BTGC = (rotate(x, places.positions_BT, c.rotary) for x in (q_BTHC, k_BTGC))
        q_BTHC = Site(name="queries")(q_BTHC)
        k_BTGC = Site(name="keys")(k_BTGC)
        v_BTGC = Site(name="values")(v_BTGC)
        if self.cached:
            k_BKGC, v_BKGC = (
                self.remembered("cached_keys", k_BTGC, places),
                self.remembered("cached_values", v_BTGC, places),
            )
            z_BTHC = self.explicit(q_BTHC, k_BKGC, v_BKGC, places)
        elif self.flash_applies(places):
            z_BTHC = jax.nn.dot_product_attention(q_BTHC, k_BTGC, v_BTGC, is_causal=c.causal, implementation="cudnn")
        elif c.attention == "auto":
            z_BTHC = self.by_rows(q_BTHC, k_BTGC, v_BTGC, places)
        else:
            z_BTHC = self.explicit(q_BTHC, k_BTGC, v_BTGC, places)
        z_BTHC = Site(name="head_outputs")(z_BTHC)
        return Linear(queries, (c.d_model,), c.has_bias("attention_output"), c.dtype, name="output")(z_BTHC)

    def remembered(self, name, x_BTGC, places):
        """Keys or values of the whole context [B, K, G, C], those at hand among them; unwritten ones are 0."""
        shape = (x_BTGC.shape[0], self.config.context_length, *x_BTGC.shape[2:])
        memory = self.variable("cache", name, jnp.zeros, shape, x_BTGC.dtype)
        if not self.is_initializing():
            memory.value = jax.lax.dynamic_update_slice_in_dim(memory.value, x_BTGC, places.first, axis=1)
        return memory.value

    def flash_applies(self, places):
        """Whether cuDNN's fused attention computes this layer: it wants a half dtype, an Ampere GPU or a later one, and
        heads of a limited width."""
        c = self.config
        capability = float(getattr(jax.devices()[0], "compute_capability", 0))
        return (
            c.attention == "auto"
            and jax.default_backend() == "gpu"
            and c.dtype in ("float16", "bfloat16")
            and c.positions != "alibi"
            and places.visible_BK is None
            and c.width_of_heads % 8 == 0
            and c.width_of_heads <= (256 if capability >= 9 else 128)
            and capability >= 8
        )

    def scores(self, q_BQHC, k_BKGC, first=0):
        """Scores [B, H, Q, K] before the mask, of queries at places first, first + 1, ..."""
        c = self.config
        q_BQHC = q_BQHC * c.width_of_heads**-0.5
        if c.heads_of_keys == c.num_heads:
            scores_BHQK = jnp.einsum("BQHC,BKHC->BHQK", q_BQHC, k_BKGC)
        else:
            q_BQGRC = q_BQHC.reshape(*q_BQHC.shape[:2], c.heads_of_keys, -1, c.width_of_heads)
            scores_BGRQK = jnp.einsum("BQGRC,BKGC->BGRQK", q_BQGRC, k_BKGC)
            scores_BHQK = scores_BGRQK.reshape(q_BQHC.shape[0], c.num_heads, *scores_BGRQK.shape[-2:])
        if c.positions == "alibi":
            distance_QK = jnp.abs(first + jnp.arange(q_BQHC.shape[1])[:, None] - jnp.arange(k_BKGC.shape[1]))
            bias_HQK = -alibi_slopes(c.num_heads)[:, None, None] * distance_QK
            scores_BHQK = scores_BHQK + bias_HQK.astype(scores_BHQK.dtype)
        return scores_BHQK

    def masked(self, scores_BHQK, first, visible_BK):
        """The scores in the softmax's precision, -inf where a query would look ahead or at padding.

        A padded query sees itself: what it computes is read by nobody, and must not be a NaN.
        """
        wide = scores_BHQK.astype(self.config.parameter_dtype)
        query_Q1, key_K = first + jnp.arange(wide.shape[-2])[:, None], jnp.arange(wide.shape[-1])
        if visible_BK is not None:
            hidden_BQK = ~visible_BK[:, None, : wide.shape[-1]] & (query_Q1 != key_K)
            wide = wide + jnp.where(hidden_BQK, -jnp.inf, 0.0)[:, None]
        if not self.config.causal:
            return wide
        # Added, not selected: a constant leaves the backward pass nothing to do.
        return wide + jnp.where(query_Q1 < key_K, -jnp.inf, 0.0)

    def weighted(self, weights_BHQK, v_BKGC):
        """Values [B, Q, H, C] summed by weight."""
        c = self.config
        weights_BHQK = weights_BHQK.astype(c.dtype)
        if c.heads_of_keys == c.num_heads:
            return jnp.einsum("BHQK,BKHC->BQHC", weights_BHQK, v_BKGC)
        weights_BGRQK = weights_BHQK.reshape(weights_BHQK.shape[0], c.heads_of_keys, -1, *weights_BHQK.shape[2:])
        z_BQGRC = jnp.einsum("BGRQK,BKGC->BQGRC", weights_BGRQK, v_BKGC)
        return z_BQGRC.reshape(*z_BQGRC.shape[:2], c.num_heads, c.width_of_heads)

    def explicit(self, q_BTHC, k_BKGC, v_BKGC, places):
        scores_BHQK = Site(name="scores")(self.scores(q_BTHC, k_BKGC, places.first))
        masked_BHQK = self.masked(scores_BHQK, places.first, places.visible_BK)
        pattern_BHQK = jax.nn.softmax(masked_BHQK, axis=-1).astype(self.config.dtype)
        return self.weighted(Site(name="pattern")(pattern_BHQK), v_BKGC)

    def by_rows(self, q_BTHC, k_BTGC, v_BTGC, places):
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
            scores_BHQK = self.scores(q_BTHC[:, first:end], k_BTGC[:, :end], first)
            scores_BHQK = self.masked(scores_BHQK, first, places.visible_BK)
            peak_BHQ1 = jax.lax.stop_gradient(scores_BHQK.max(axis=-1, keepdims=True))
            weights_BHQK = jnp.exp(scores_BHQK - peak_BHQ1)
            sums_BQH1 = weights_BHQK.sum(axis=-1).swapaxes(1, 2)[..., None]
            z = self.weighted(weights_BHQK, v_BTGC[:, :end])
            z_BQHC.append((z / sums_BQH1).astype(self.config.dtype))
        return jnp.concatenate(z_BQHC, axis=1)
