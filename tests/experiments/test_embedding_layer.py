"""What the claims of the embedding are made of."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.embedding_layer import experiment as e

SMALL = {"smallest_vocabulary": 10, "largest_vocabulary": 200, "width": 4, "num_tokens": 6}


def test_growth_and_cost_of_a_word_of_a_line():
    config = e.Config(smallest_vocabulary=10, largest_vocabulary=1000, num_tokens=2, width=3)
    sizes = e.vocabularies(config)
    assert (sizes[0], sizes[-1], len(sizes)) == (10, 1000, e.NUM_SIZES)
    result = SimpleNamespace(config=config, examined={"bytes/stage": np.stack([5.0 + 6 * sizes, 12.0 * sizes])})
    np.testing.assert_allclose(e.each_word("bytes", "stage", lambda N, D: N * D)(result), [1, 2])
    np.testing.assert_allclose(e.growth("bytes", "stage")(result), [6005 / 65, 100])


def test_sizes_that_do_not_grow_are_refused():
    with pytest.raises(ValueError, match="smallest_vocabulary"):
        e.task(e.Config(smallest_vocabulary=100, largest_vocabulary=100))
