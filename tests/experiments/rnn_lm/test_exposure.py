"""Models that read their own samples, and the judge of samples."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.rnn_lm.exposure import judged_losses, losses_by_input, make_judge, passages
from models.rnn_lm import RecurrentConfig, RecurrentLM

TEXT = "the cat sat on the mat and the dog sat on the log\n" * 40


def test_a_model_that_ignores_its_input_loses_the_same_whatever_it_reads():
    model = RecurrentLM(RecurrentConfig(5, width=4, d_embedding=3))
    variables = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    deaf = {"params": variables["params"] | {"embed": jnp.zeros((5, 3))}}
    columns_BN = np.random.default_rng(0).integers(0, 5, (3, 40))
    rows_RT = passages(columns_BN, 12, 2)
    np.testing.assert_array_equal(rows_RT[3], columns_BN[0, 27:40])
    losses = losses_by_input(model, deaf, rows_RT, 4, jax.random.key(0))
    for name in ("own", "unrelated"):
        np.testing.assert_allclose(losses[name], losses["forced"], atol=1e-5)
    np.testing.assert_array_equal(losses["own_tokens"][:, :4], rows_RT[:, :4])
    hears = losses_by_input(model, variables, rows_RT, 4, jax.random.key(0))
    np.testing.assert_allclose(hears["own"][:4], hears["forced"][:4], atol=1e-5)
    assert (hears["own_tokens"] != rows_RT[:, :-1]).any()


def test_the_judge_prefers_its_own_text():
    text = np.array([ord(c) - 96 if c.isalpha() else 0 for c in TEXT[:2000]])
    judge = make_judge(text, 27)
    rows_RT = text[:400].reshape(4, 100)
    shuffled = np.random.default_rng(0).permuted(rows_RT, axis=1)
    assert judged_losses(judge, rows_RT)[5:].mean() + 1 < judged_losses(judge, shuffled)[5:].mean()
