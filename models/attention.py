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
    """Where the tokens of a call stand in their text, the same for every layer.

    positions_BT: the numbers that absolute and rotary positions count by; B may be 1
    first:        number of tokens that the cache holds already
    visible_BK:   whether a key is a token, not padding; None: every key is
    """

    positions_BT: Any
    first: Any = 0
    visible_BK: Any = None


def alibi_slopes(num_heads):
    """Slopes [H] of attention with linear biases (Press et al. 2022): 2^(-8 h / H) for h = 1 ... H."""
    return 2.0 ** (-8.0 * jnp.arange(1, num_heads + 1) / num_heads)


class Attention(nn.Module):
    """Multi-head self-attention, [B, T, D] -> [B, T, D].

    With ``cached``, keys and values are appended to the collection ``cache``, and queries attend to all keys in it.
    """

    config: Any  # a TransformerConfig
    cached: bool = False

    @nn.compact
    def __call__(self, x_BTD, places):
        c = self.config
        features_HC, features_GC = (c.num_heads, c.width_of_heads), (c.heads_of_keys, c.width_of_heads)
        has_bias = c.has_bias("query_key_value")
        projections = [
            Linear((c.d_model,), features, has_bias, c.dtype, name=name)
            for name, features in (("query", features_HC), ("key", features_GC), ("value", features_GC))
        ]
        q_BTHC, k_BTGC, v_BTGC = apply_together(x_BTD, projections)
        if c.positions == "rotary":
            q_BTHC, k_BTGC = (rotate(x, places.positions_BT, c.rotary) for x in (q_BTHC, k_BTGC))
        q_BTHC = Site(name="queries")(q_BTHC)
        k_BTGC = Site(name="keys")(k_BTGC)
        v_BTGC = Site(name="values")(v_BTGC)
        if self.cached:
            k_BKGC = self.append_to_cache("cached_keys", k_BTGC, places)
            v_BKGC = self.append_to_cache("cached_values", v_BTGC, places)
            z_BTHC = self.attend_by_pattern(q_BTHC, k_BKGC, v_BKGC, places)
        elif self.can_use_flash(places):
            z_BTHC = jax.nn.dot_product_attention(q_BTHC, k_BTGC, v_BTGC, is_causal=c.causal, implementation="cudnn")
        elif c.attention == "auto":
            z_BTHC = self.attend_by_row_sums(q_BTHC, k_BTGC, v_BTGC, places)
        else:
            z_BTHC = self.attend_by_pattern(q_BTHC, k_BTGC, v_BTGC, places)
        z_BTHC = Site(name="head_outputs")(z_BTHC)
        return Linear(features_HC, (c.d_model,), c.has_bias("attention_output"), c.dtype, name="output")(z_BTHC)

    def append_to_cache(self, name, x_BTGC, places):
        """Writes the call's keys or values into the cache; returns the whole cache [B, K, G, C], 0 where unwritten."""
        shape = (x_BTGC.shape[0], self.config.context_length, *x_BTGC.shape[2:])
        cache_BKGC = self.variable("cache", name, jnp.zeros, shape, x_BTGC.dtype)
        if not self.is_initializing():
            cache_BKGC.value = jax.lax.dynamic_update_slice_in_dim(cache_BKGC.value, x_BTGC, places.first, axis=1)
        return cache_BKGC.value

    def can_use_flash(self, places):
        """Whether cuDNN's fused attention can compute this layer.

        It needs a half dtype, an Ampere GPU or a later one, and heads of a limited width.
        """
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

    def mask_scores(self, scores_BHQK, first, visible_BK):
        """The scores in the softmax's precision, -inf where a query would look ahead or at padding.

        A padded query sees itself, because a row of -inf would become NaN; nothing reads what it computes.
        """
        wide = scores_BHQK.astype(self.config.parameter_dtype)
        query_Q1, key_K = first + jnp.arange(wide.shape[-2])[:, None], jnp.arange(wide.shape[-1])
        if visible_BK is not None:
            hidden_BQK = ~visible_BK[:, None, : wide.shape[-1]] & (query_Q1 != key_K)
            wide = wide + jnp.where(hidden_BQK, -jnp.inf, 0.0)[:, None]
        if not self.config.causal:
            return wide
        # The mask is added, not selected by: the backward pass of adding a constant costs nothing.
        return wide + jnp.where(query_Q1 < key_K, -jnp.inf, 0.0)

    def sum_values(self, weights_BHQK, v_BKGC):
        """The values summed by their weights, [B, Q, H, C]."""
        c = self.config
        weights_BHQK = weights_BHQK.astype(c.dtype)
        if c.heads_of_keys == c.num_heads:
            return jnp.einsum("BHQK,BKHC->BQHC", weights_BHQK, v_BKGC)
        weights_BGRQK = weights_BHQK.reshape(weights_BHQK.shape[0], c.heads_of_keys, -1, *weights_BHQK.shape[2:])
        z_BQGRC = jnp.einsum("BGRQK,BKGC->BQGRC", weights_BGRQK, v_BKGC)
        return z_BQGRC.reshape(*z_BQGRC.shape[:2], c.num_heads, c.width_of_heads)

    def attend_by_pattern(self, q_BTHC, k_BKGC, v_BKGC, places):
        """The heads' outputs [B, T, H, C] by the pattern, the normalised weights of all keys, which probes can read."""
        scores_BHQK = Site(name="scores")(self.scores(q_BTHC, k_BKGC, places.first))
        masked_BHQK = self.mask_scores(scores_BHQK, places.first, places.visible_BK)
        pattern_BHQK = jax.nn.softmax(masked_BHQK, axis=-1).astype(self.config.dtype)
        return self.sum_values(Site(name="pattern")(pattern_BHQK), v_BKGC)

    def attend_by_row_sums(self, q_BTHC, k_BTGC, v_BTGC, places):
        """``attend_by_pattern`` without a normalised pattern, which makes a training step on CPU 1.3 times as fast.

        Rows are divided by their sums after the product with the values, T * C divisions a head in place of T * T, and
        the earlier half of the queries is multiplied only with the keys that it may see.
        """
        length = q_BTHC.shape[1]
        middle = length // 2 if self.config.causal else 0
        z_BQHC = []
        for first, end in ((0, middle), (middle, length)):
            if first == end:
                continue
            scores_BHQK = self.scores(q_BTHC[:, first:end], k_BTGC[:, :end], first)
            scores_BHQK = self.mask_scores(scores_BHQK, first, places.visible_BK)
            peak_BHQ1 = jax.lax.stop_gradient(scores_BHQK.max(axis=-1, keepdims=True))
            weights_BHQK = jnp.exp(scores_BHQK - peak_BHQ1)
            sums_BQH1 = weights_BHQK.sum(axis=-1).swapaxes(1, 2)[..., None]
            z = self.sum_values(weights_BHQK, v_BTGC[:, :end])
            z_BQHC.append((z / sums_BQH1).astype(self.config.dtype))
        return jnp.concatenate(z_BQHC, axis=1)
