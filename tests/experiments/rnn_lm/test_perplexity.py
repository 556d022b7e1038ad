"""What holds between perplexity and cross-entropy."""

import numpy as np
import pytest

from experiments.rnn_lm.perplexity import perplexity_identities


def test_perplexity_identities():
    identities = perplexity_identities(vocab_size=100, num_models=5, num_predictions=9)
    assert float(identities["uniform_perplexity"]) == pytest.approx(100, rel=1e-12)
    assert float(identities["uniform_nats"]) == pytest.approx(np.log(100), rel=1e-12)
    assert identities["identity_error"] < 1e-12
    assert identities["direction_error"] < 1e-12
    assert identities["order"] == 1
