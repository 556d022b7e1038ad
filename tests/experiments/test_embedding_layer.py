"""The experiment, its claims and its config; its figures are drawn by test_every_experiment.py."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.embedding_layer.claims import cost_of_a_word, growth
from experiments.embedding_layer.experiment import Config, embedding_measurement
from experiments.embedding_layer.measures import NUM_SIZES, vocabularies

SMALL = {"smallest_vocabulary": 10, "largest_vocabulary": 200, "width": 4, "num_tokens": 6}


def test_growth_and_cost_of_a_word_of_a_line():
    config = Config(smallest_vocabulary=10, largest_vocabulary=1000, num_tokens=2, width=3)
    sizes = vocabularies(config)
    assert (sizes[0], sizes[-1], len(sizes)) == (10, 1000, NUM_SIZES)
    result = SimpleNamespace(config=config, examined={"bytes/stage": np.stack([5.0 + 6 * sizes, 12.0 * sizes])})
    np.testing.assert_allclose(cost_of_a_word("bytes", "stage", lambda N, D: N * D)(result), [1, 2])
    np.testing.assert_allclose(growth("bytes", "stage")(result), [6005 / 65, 100])


def test_sizes_that_do_not_grow_are_refused():
    with pytest.raises(ValueError, match="smallest_vocabulary"):
        embedding_measurement(Config(smallest_vocabulary=100, largest_vocabulary=100))
