"""A recurrent network of one hidden unit.

Axes: B sequences, T steps.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

ACTIVATIONS = {"linear": lambda z: z, "sigmoid": nn.sigmoid}


class ScalarRNN(nn.Module):
    """h_t = f(w_in x_t + w_rec h_{t-1} + b_h) from h_0 = 0, logit w_out h_T + b_out (Elman 1990).

    ``activation`` f is linear or sigmoid; raises ValueError for another. Without ``biases`` both are absent.
    """

    activation: str = "linear"
    biases: bool = False

    @nn.compact
    def __call__(self, inputs_BT, started_BT):
        """Logits [B]; before a sequence has started, its state stays 0."""
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation={self.activation!r} is not one of {', '.join(ACTIVATIONS)}")
        w_in, w_rec, w_out = (self.param(name, nn.initializers.normal(0.5), ()) for name in ("w_in", "w_rec", "w_out"))
        b_h, b_out = (self.param(name, nn.initializers.zeros, ()) if self.biases else 0.0 for name in ("b_h", "b_out"))

        def step(h_B, inputs):
            x_B, started_B = inputs
            h_B = ACTIVATIONS[self.activation](w_in * x_B + w_rec * h_B + b_h)
            return jnp.where(started_B, h_B, 0.0), None

        h_B, _ = jax.lax.scan(step, jnp.zeros_like(inputs_BT[:, 0]), (inputs_BT.T, started_BT.T))
        return w_out * h_B + b_out


def alternating_sum_params():
    """Weights of the linear unit for which h_T = x_T - x_{T-1} + x_{T-2} - ... and the output is sigmoid(10 h_T)."""
    return {"w_in": jnp.float32(1.0), "w_rec": jnp.float32(-1.0), "w_out": jnp.float32(10.0)}
