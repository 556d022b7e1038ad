"""The copying score of probes/attention_scores.py: its definition, its extremes and its chance level."""

import jax
import numpy as np
import pytest
from attention_models import CONFIGS, activations, hand_wired, recurring_tokens, repeats
from random_models import random_params

from models.transformer import Transformer
from probes.attention_scores import copying_score


@pytest.mark.parametrize("positions", CONFIGS)
def test_copying_equals_the_definition(positions):
    config = CONFIGS[positions]
    params = random_params(config, sharpness=3.0)
    model, variables, tokens_BT = Transformer(config), {"params": params}, recurring_tokens()
    seen = activations(model, variables, tokens_BT)
    unembed_DV = params["embed"].T if config.tied_unembedding else params["unembed"]["kernel"]
    measured_LH = copying_score(model, variables, tokens_BT)
    for layer, head in np.ndindex(config.num_layers, config.num_heads):
        A_BQK = seen["pattern"][layer, :, head]
        group = head * config.heads_of_keys // config.num_heads
        output_BQC = np.einsum("BQK,BKC->BQC", A_BQK, seen["values"][layer, :, :, group])
        output_BQD = output_BQC @ params[f"layer_{layer}"]["attention"]["output"]["kernel"][head]
        if config.norm == "layernorm":
            output_BQD = output_BQD - output_BQD.mean(-1, keepdims=True)
        if config.norm != "none":
            output_BQD = output_BQD * params["final_norm"]["scale"]
        scores = []
        for b, q in np.ndindex(*tokens_BT.shape):
            logits_V = output_BQD[b, q] @ unembed_DV
            raised_K = np.maximum(logits_V - logits_V.mean(), 0)[tokens_BT[b]]
            attended, total = A_BQK[b, q] @ raised_K, raised_K.sum()
            if total > 0:
                scores.append(4 * attended / (attended + total) - 1)
        assert measured_LH[layer, head] == pytest.approx(np.mean(scores), abs=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_head_that_only_copies_scores_one_and_one_that_suppresses_minus_one(sign):
    model, variables = hand_wired()
    variables = jax.tree.map(np.copy, variables)
    # The previous-token head now writes what it reads where the unembedding reads.
    writer, reader = (variables["params"][f"layer_{layer}"]["attention"]["output"] for layer in (1, 0))
    reader["kernel"] = sign * writer["kernel"]
    tokens_BT = repeats(25, num_copies=1, num_tokens=30, bos=None)
    assert copying_score(model, variables, tokens_BT)[0, 0] == pytest.approx(sign, abs=1e-3)


def test_copying_of_the_hand_wired_heads_is_what_their_patterns_make_it():
    T = 25
    measured_LH = copying_score(*hand_wired(), repeats(T, num_copies=1, num_tokens=30, bos=None))
    # The previous-token head writes where the unembedding does not read: no query has a logit that rises.
    assert np.isnan(measured_LH[0, 0])
    # Without a match the induction head copies from positions 1 ... q evenly, and from 0 at position 0: a / S = 1 / q.
    exact = np.mean([1.0] + [4 / (1 + q) - 1 for q in range(1, T)])
    assert measured_LH[1, 0] == pytest.approx(exact, abs=1e-4)


def test_raising_all_tokens_of_the_sequence_alike_scores_the_stated_chance():
    config, tokens_BT = CONFIGS["learned"], recurring_tokens()
    params = random_params(config, sharpness=3.0)
    # Every token has 1 in channel 0; the heads of layer 0 copy it into channel 1, by which the unembedding raises
    # exactly the tokens that occur.
    params["embed"][:, 0], params["positions"][:, 0] = 1.0, 0.0
    attention = params["layer_0"]["attention"]
    for kernel in (attention["value"]["kernel"], attention["output"]["kernel"], params["unembed"]["kernel"]):
        kernel[...] = 0.0
    attention["value"]["kernel"][0], attention["output"]["kernel"][..., 1] = 1.0, 1.0
    params["unembed"]["kernel"][1, np.unique(tokens_BT)] = 1.0
    measured_LH = copying_score(Transformer(config), {"params": params}, tokens_BT)
    np.testing.assert_allclose(measured_LH[0], 4 / (tokens_BT.shape[1] + 1) - 1, atol=1e-5)
