"""The residual block: what a body adds to its input."""

import flax.linen as nn

NORMS = ("none", "layernorm")


class ResidualBlock(nn.Module):
    """``x + branch_scale * body(norm(x))``, of any shape that the body keeps (He et al. 2016).

    ``norm`` is none or layernorm, over the last axis and before the body ("pre-norm"; Xiong et al. 2020). Raises
    ValueError for another one.
    """

    body: nn.Module
    branch_scale: float = 1.0
    norm: str = "none"

    @nn.compact
    def __call__(self, x):
        if self.norm not in NORMS:
            raise ValueError(f"norm={self.norm!r} is not one of {', '.join(NORMS)}")
        normalised = nn.LayerNorm(name="norm")(x) if self.norm == "layernorm" else x
        return x + self.branch_scale * self.body(normalised)
