"""Rotary positions and the ways in which trained models stretch them to longer contexts.

Channels are turned in pairs (c, c + R/2), where R is the number of rotated channels of a head. Axes: B batch, T time,
H heads, C head width, R rotated channels.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

ROTARY_KINDS = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class Rotary:
    """The angles that rotary positions turn channels by; raises ValueError for settings outside their ranges.

    Every kind but ``default`` stretches wavelengths by ``factor``: ``linear`` stretches all of them, ``llama3`` the
    long ones by their number of turns within the original context, ``yarn`` the slow channels along a ramp.
    """

    base: float = 10000.0
    fraction: float = 1.0  # share of a head's channels that are rotated, the first ones
    kind: str = "default"
    factor: float = 1.0
    original_context_length: int | None = None  # llama3, yarn: the context before stretching
    low_frequency_factor: float = 1.0  # llama3: channels with fewer turns within the original context are stretched
    high_frequency_factor: float = 4.0  # llama3: channels with more turns are kept
    fast_turns: float = 32.0  # yarn: channels with more turns within the original context are kept
    slow_turns: float = 1.0  # yarn: channels with fewer turns are stretched
    whole_channels: bool = True  # yarn: the ramp between kept and stretched begins and ends at whole channels
    attention_scale: float | None = None  # yarn: factor of rotated queries and keys; None: 0.1 ln(factor) + 1

    def __post_init__(self):
        if self.kind not in ROTARY_KINDS:
            raise ValueError(f"rotary kind {self.kind!r} is not one of {', '.join(ROTARY_KINDS)}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"rotary fraction={self.fraction} must lie in (0, 1]")
        for name in ("factor", "low_frequency_factor", "high_frequency_factor", "fast_turns", "slow_turns"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"rotary {name}={getattr(self, name)} must be positive and finite")
        if not (self.base > 1 and math.isfinite(self.base)):
            raise ValueError(f"rotary base={self.base} must be above 1 and finite")
        if self.kind in ("llama3", "yarn") and not self.original_context_length:
            raise ValueError(f"rotary kind {self.kind!r} needs original_context_length")
        if self.kind == "llama3" and self.high_frequency_factor <= self.low_frequency_factor:
            raise ValueError("rotary kind 'llama3' needs high_frequency_factor above low_frequency_factor")


def rotated_channels(rotary, head_width):
    """R, the number of a head's channels that are rotated; raises ValueError unless it is even and positive."""
    rotated = int(head_width * rotary.fraction)
    if rotated < 2 or rotated % 2:
        raise ValueError(
            f"rotary positions turn pairs of channels: fraction={rotary.fraction} of head width {head_width} "
            f"gives {rotated}, which is not a positive even number"
        )
    return rotated


def frequencies(rotary, head_width):
    """Radians that each pair of channels turns a position [R/2], float64: base^(-2c/R) (Su et al. 2021), stretched.

    Sources of the kinds of stretching: linear: Chen et al. 2023 (position interpolation); llama3: Grattafiori et al.
    2024, in the form released with Llama 3.1; yarn: Peng et al. 2023, section 3.2. Raises ValueError unless R is even
    and positive.
    """
    rotated = rotated_channels(rotary, head_width)
    original = rotary.base ** (-np.arange(0, rotated, 2) / rotated)
    stretched = original / rotary.factor
    if rotary.kind == "default":
        return original
    if rotary.kind == "linear":
        return stretched
    if rotary.kind == "llama3":
        turns = rotary.original_context_length * original / (2 * math.pi)
        low, high = rotary.low_frequency_factor, rotary.high_frequency_factor
        original_share = np.clip((turns - low) / (high - low), 0.0, 1.0)
    else:
        first, last = yarn_ramp(rotary, rotated)
        original_share = 1.0 - np.clip((np.arange(rotated // 2) - first) / (last - first), 0.0, 1.0)
    return original_share * original + (1.0 - original_share) * stretched


def yarn_ramp(rotary, rotated):
    """The first and last channel of YaRN's ramp from kept to stretched wavelengths (Peng et al. 2023, section 3.2)."""

    def channel(turns):
        """The channel, not rounded, that makes this many turns within the original context."""
        wavelength = rotary.original_context_length / (2 * math.pi * turns)
        return rotated * math.log(wavelength) / (2 * math.log(rotary.base))

    first, last = channel(rotary.fast_turns), channel(rotary.slow_turns)
    if rotary.whole_channels:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, rotated - 1)
    return first, last if last != first else first + 1e-3


def attention_factor(rotary):
    """The factor of rotated queries and keys: 1 for all kinds but YaRN (Peng et al. 2023, section 3.4)."""
    if rotary.kind != "yarn":
        return 1.0
    if rotary.attention_scale is not None:
        return rotary.attention_scale
    return 0.1 * math.log(rotary.factor) + 1.0 if rotary.factor > 1 else 1.0


def rotate(x_BTHC, positions_BT, rotary):
    """Turns the first R channels of queries or keys [B, T, H, C] by position times frequency.

    positions_BT may also be [1, T] or [T]. Angles are computed in float32 or wider, whatever the dtype of x.
    """
    radians_per_position = frequencies(rotary, x_BTHC.shape[-1])
    wide = jnp.promote_types(x_BTHC.dtype, jnp.float32)
    angles_BTR = positions_BT[..., None].astype(wide) * jnp.asarray(radians_per_position, wide)
    scale = attention_factor(rotary)
    cos, sin = ((f(angles_BTR) * scale)[..., None, :].astype(x_BTHC.dtype) for f in (jnp.cos, jnp.sin))
    half = len(radians_per_position)
    x1, x2, rest = x_BTHC[..., :half], x_BTHC[..., half : 2 * half], x_BTHC[..., 2 * half :]
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin, rest], axis=-1)
