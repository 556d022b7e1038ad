"""The PyTorch translator that the benchmark compares with is our model: with our weights it gives our logits."""

import jax
import numpy as np
import pytest

from models.seq2seq import Seq2SeqConfig, translator

torch = pytest.importorskip("torch", reason="PyTorch is not installed: only benchmarks need it")

CONFIG = Seq2SeqConfig(vocab_size=19, d_embed=6, d_hidden=8, d_attention=5, score="additive")


def random_weights(model):
    """Variables with every bias away from zero, so that none can be missed."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32), shapes)


def test_pytorchs_translator_gives_our_logits_for_our_weights():
    from benchmarks.seq2seq_attention import torch_translator

    model = translator(CONFIG)
    variables, rng = random_weights(model), np.random.default_rng(1)
    source_BS, read_BT = rng.integers(0, 19, (4, 7)), rng.integers(0, 19, (4, 9))
    source_length_B = np.array([7, 1, 4, 6])
    logits_BTV, _ = model.forward(variables, source_BS, source_length_B, read_BT)
    with torch.no_grad():
        theirs_BTV = torch_translator(CONFIG, variables["params"]).eval()(
            torch.tensor(source_BS), torch.tensor(source_length_B), torch.tensor(read_BT)
        )
    assert np.abs(logits_BTV).max() > 1
    np.testing.assert_allclose(theirs_BTV.numpy(), logits_BTV, atol=1e-4)
