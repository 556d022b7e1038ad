"""The claims. All thresholds were written down before the first run: from theory, or as planned.

"The slope of the gradient's log-norm" is taken against a layer's number from the input: it is positive where gradients
vanish towards the input and negative where they explode.
"""

import numpy as np

from experiments.gradient_flow.measures import (
    chain_over_depth,
    early_zeros,
    first_over_last,
    first_weights_changed,
    growth_ratio,
    last_kurtosis,
    lead_of_cell,
    linearity,
    movement_order,
    overflow_share,
    power_of_depth,
    power_of_memory,
    saturated_share,
    slope,
    slope_difference,
    straightness,
)
from reporting.claims import EXACT, claim, examined

CLAIMS = [
    claim(
        "1a",
        "The sigmoid's derivative is s (1 - s): largest error in float64",
        examined("sigmoid_error"),
        of="exact",
        at_most=EXACT,
    ),
    claim(
        "1b",
        "A sigmoid multiplies a gradient by 1/4 at most: greatest factor over inputs in [-30, 30]",
        examined("sigmoid_greatest"),
        of="exact",
        at_most=0.25,
    ),
    claim(
        "1c",
        "A sigmoid keeps the sign of a gradient: least factor over inputs in [-30, 30]",
        examined("sigmoid_least"),
        of="exact",
        above=0.0,
    ),
    claim(
        "1d",
        "The Jacobian of a residual block is dh3/dh1 = I + (dh2/dz2)(dz2/dh1): largest error in float64",
        examined("residual_jacobian_error"),
        of="exact",
        at_most=EXACT,
    ),
    claim(
        "1e",
        "LayerNorm without epsilon fails on constant inputs: share of outputs that are not finite",
        examined("layernorm_without_epsilon_fails"),
        of="exact",
        at_least=1.0,
    ),
    claim(
        "1f",
        "LayerNorm with epsilon turns constant inputs into zeros: greatest modulus of an output",
        examined("layernorm_with_epsilon"),
        of="exact",
        at_most=0.0,
    ),
    claim(
        "1g",
        "LayerNorm does not normalise over the batch: largest change of a row's output by other rows",
        examined("layernorm_reads_other_rows"),
        of="exact",
        at_most=0.0,
    ),
    claim(
        "1h",
        "BatchNorm normalises over the batch: largest change of a row's output by other rows",
        examined("batchnorm_reads_other_rows"),
        of="exact",
        above=0.0,
    ),
    claim(
        "1i",
        "Gradients of a linear recurrent network grow as its spectral radius says, at 0.8, 1 and 1.25: "
        "largest error of the slope of their log-norm a time step",
        examined("linear_rnn_error"),
        of="exact",
        at_most=0.01,
    ),
    claim(
        "2a",
        "Gradients vanish towards the input of a deep sigmoid net with Xavier's initialisation: "
        "slope of the gradient's log-norm per layer, counted from the input",
        slope("sigmoid, Xavier"),
        of="mlp",
        at_least=1.3,
    ),
    claim(
        "2b",
        "In a deep sigmoid net with Xavier's initialisation the gradient's log-norm falls linearly towards the input: "
        "R^2 of the line",
        straightness("sigmoid, Xavier"),
        of="mlp",
        at_least=0.99,
    ),
    claim(
        "2c",
        "Gradients vanish towards the input of a deep sigmoid net with He's initialisation: "
        "slope of the gradient's log-norm per layer, counted from the input",
        slope("sigmoid, He"),
        of="mlp",
        at_least=1.0,
    ),
    claim(
        "2d",
        "Gradients hardly vanish in a deep tanh net with Xavier's initialisation: "
        "slope of the gradient's log-norm per layer, counted from the input",
        slope("tanh, Xavier"),
        of="mlp",
        at_least=0.0,
        at_most=0.13,
    ),
    claim(
        "2e",
        "Gradients in a deep tanh net with He's initialisation: "
        "slope of the gradient's log-norm per layer, counted from the input",
        slope("tanh, He"),
        of="mlp",
    ),
    claim(
        "2f",
        "Each layer of a deep ReLU net with Xavier's initialisation divides gradients by sqrt(2): "
        "slope of the gradient's log-norm per layer, counted from the input, log(2) / 2 = 0.347 in theory",
        slope("relu, Xavier"),
        of="mlp",
        at_least=0.3,
        at_most=0.39,
    ),
    claim(
        "2g",
        "Gradients keep their norm in a deep ReLU net with He's initialisation: "
        "slope of the gradient's log-norm per layer, counted from the input",
        slope("relu, He"),
        of="mlp",
        at_least=-0.02,
        at_most=0.02,
    ),
    claim(
        "3a",
        "Weights of N(0,1) x 1000 saturate a tanh net: share of units with modulus above 0.999",
        saturated_share,
        of="mlp",
        at_least=0.99,
    ),
    claim(
        "3b",
        "In a tanh net with weights of N(0,1) x 1000 the gradients of the first half of the layers are exactly zero: "
        "share of these layers",
        early_zeros,
        of="mlp",
        at_least=1.0,
    ),
    claim(
        "3c",
        "In a tanh net with weights of N(0,1) x 1000 the last layer's gradient is heavy-tailed: "
        "kurtosis, 3 for a normal distribution",
        last_kurtosis,
        of="mlp",
        at_least=10.0,
    ),
    claim(
        "3d",
        "Weights of N(0,1) x 1000 make the gradients of a ReLU net overflow: share of draws",
        overflow_share,
        of="mlp",
        at_least=1.0,
    ),
    claim(
        "4a",
        "Under vanishing gradients earlier layers learn more slowly than later ones: "
        "rank correlation of a layer's movement and its number, least over draws",
        movement_order,
        of="mlp",
        at_least=0.99,
    ),
    claim(
        "4b",
        "Under vanishing gradients the first layer hardly moves: "
        "its movement over the last layer's, each relative to its weights, greatest over draws",
        first_over_last,
        of="mlp",
        at_most=1e-3,
    ),
    claim(
        "4c",
        "Under vanishing gradients float32 rounds the first layer's movement away: share of its weights that change",
        first_weights_changed,
        of="mlp",
        at_most=1e-3,
    ),
    claim(
        "5a",
        "Plain ReLU blocks with He's initialisation keep the gradient's norm: "
        "slope of the gradient's log-norm per block, counted from the input",
        slope("plain blocks"),
        of="residual",
        at_least=-0.02,
        at_most=0.02,
    ),
    claim(
        "5b",
        "Gradients explode towards the input of residual blocks: "
        "slope of the gradient's log-norm per block, counted from the input, -log(2) / 2 = -0.347 in theory",
        slope("residual"),
        of="residual",
        at_least=-0.39,
        at_most=-0.31,
    ),
    claim(
        "5c",
        "Residual blocks whose branch is divided by sqrt(L) keep the gradient's norm: "
        "slope of the gradient's log-norm per block, counted from the input",
        slope("residual, branch / sqrt(L)"),
        of="residual",
        at_least=-0.02,
        at_most=0.02,
    ),
    claim(
        "5d",
        "Residual blocks with pre-norm keep the gradient's norm: "
        "slope of the gradient's log-norm per block, counted from the input",
        slope("residual, pre-norm"),
        of="residual",
        at_least=-0.02,
        at_most=0.02,
    ),
    claim(
        "5e",
        "In residual blocks with pre-norm the gradient's norm at block l goes as (1 + l)^(-1/2): power of 1 + l",
        power_of_depth("residual, pre-norm"),
        of="residual",
        at_least=-0.6,
        at_most=-0.4,
    ),
    claim(
        "6a",
        "A CNN with ReLUs and He's initialisation keeps the gradient's norm: "
        "slope of the gradient's log-norm per layer, counted from the input",
        slope("CNN, relu"),
        of="cnn",
        at_least=-0.05,
        at_most=0.05,
    ),
    claim(
        "6b",
        "With batch normalisation, gradients explode towards the input of a CNN with ReLUs: "
        "slope of the gradient's log-norm per layer, counted from the input, -0.19 in theory",
        slope("CNN, relu, BN"),
        of="cnn",
        at_most=-0.1,
    ),
    claim(
        "6c",
        "Gradients vanish towards the input of a CNN with sigmoids: "
        "slope of the gradient's log-norm per layer, counted from the input",
        slope("CNN, sigmoid"),
        of="cnn",
        at_least=1.0,
    ),
    claim(
        "6d",
        "With batch normalisation, a CNN with sigmoids keeps the gradient's norm: "
        "slope of the gradient's log-norm per layer, counted from the input, -0.017 in theory",
        slope("CNN, sigmoid, BN"),
        of="cnn",
        at_least=-0.1,
        at_most=0.1,
    ),
    claim(
        "7a",
        "Of all recurrent cells, the gradient of the Elman cell with a sigmoid vanishes fastest: "
        "slope of its log-norm per time step, counted from the first, minus the greatest of the others'",
        lead_of_cell("Elman, sigmoid"),
        of="rnn",
        above=0.0,
    ),
    claim(
        "7b",
        "The gradient of an LSTM with forget bias 0 vanishes faster than that of one with forget bias 1: "
        "difference of the slopes of the gradient's log-norm per time step, counted from the first",
        slope_difference("LSTM, forget bias 0", "LSTM, forget bias 1"),
        of="rnn",
        at_least=0.1,
    ),
    claim(
        "7c",
        "The gradient of an LSTM with forget bias 1 vanishes faster than that of one with forget bias 3: "
        "difference of the slopes of the gradient's log-norm per time step, counted from the first",
        slope_difference("LSTM, forget bias 1", "LSTM, forget bias 3"),
        of="rnn",
        at_least=0.1,
    ),
    claim(
        "7d",
        "An LSTM with forget bias 3 keeps the gradient's norm: "
        "slope of the gradient's log-norm per time step, counted from the first",
        slope("LSTM, forget bias 3"),
        of="rnn",
        at_least=-0.1,
        at_most=0.1,
    ),
    claim(
        "7e",
        "The gradient of an LSTM with forget bias 0 vanishes faster than that of an Elman cell with tanh: "
        "difference of the slopes of the gradient's log-norm per time step, counted from the first",
        slope_difference("LSTM, forget bias 0", "Elman, tanh"),
        of="rnn",
        above=0.0,
    ),
    claim(
        "8a",
        "Memory of the compiled backward pass is linear in depth, with layers in a scan: R^2 of the line",
        linearity("compiled", "scan"),
        of="program",
        at_least=0.999,
    ),
    claim(
        "8b",
        "Rematerialisation cuts what the traced backward pass saves, with layers in a scan: "
        "bytes a layer with it over bytes without",
        growth_ratio("saved", "scan, remat", "scan"),
        of="program",
        at_most=0.25,
    ),
    claim(
        "8c",
        "Rematerialisation cuts the memory of the compiled backward pass, with layers in a scan: "
        "bytes a layer with it over bytes without",
        growth_ratio("compiled", "scan, remat", "scan"),
        of="program",
        at_most=0.25,
    ),
    claim(
        "8d",
        "With segments of sqrt(L) layers memory of the compiled backward pass grows more slowly than depth: "
        "power of the depth",
        power_of_memory("compiled", "scan, segments"),
        of="program",
        at_most=0.75,
    ),
    claim(
        "8e",
        "Rematerialisation cuts what the traced backward pass saves, with layers written out one after another: "
        "bytes a layer with it over bytes without",
        growth_ratio("saved", "unrolled, remat", "unrolled"),
        of="program",
        at_most=0.25,
    ),
    claim(
        "8f",
        "Rematerialisation and the memory of the compiled backward pass, with layers written out one after another: "
        "bytes a layer with it over bytes without, 1 where the compiler undoes it",
        growth_ratio("compiled", "unrolled, remat", "unrolled"),
        of="program",
    ),
    claim(
        "9a",
        "Layers are a sequence in the forward pass: least chain of products over depth, for one input and for a batch",
        chain_over_depth("forward", 1, np.min),
        of="program",
        at_least=1.0,
    ),
    claim(
        "9b",
        "The forward pass waits no longer for a batch than for one input: greatest chain of products over depth",
        chain_over_depth("forward", 1, np.max),
        of="program",
        at_most=1.0,
    ),
    claim(
        "9c",
        "Layers are a sequence in the forward and backward pass: "
        "least chain of products over twice the depth, for one input and for a batch",
        chain_over_depth("backward", 2, np.min),
        of="program",
        at_least=1.0,
    ),
    claim(
        "9d",
        "Forward and backward pass wait no longer for a batch than for one input: "
        "greatest chain of products over twice the depth",
        chain_over_depth("backward", 2, np.max),
        of="program",
        at_most=1.0,
    ),
]
