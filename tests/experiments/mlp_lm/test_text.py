"""The pieces of a held-out text that are used; test_mlp_lm.py tests which texts are refused."""

import numpy as np

from experiments.mlp_lm.text import MOST_PIECES, take_pieces


def test_what_is_used_of_a_text_is_spread_over_it():
    for N, at_most in ((10, 0), (10, 10), (10, 9), (999, 998), (60_000, 1001), (123_457, 50_000)):
        used = take_pieces(np.arange(N), at_most)
        assert len(used) == (at_most or N)
        assert (np.diff(used) > 0).all()
    pieces = np.flatnonzero(np.diff(used) > 1)
    assert len(pieces) == MOST_PIECES - 1
    assert (used[0], used[-1]) == (0, 123_456)
    assert np.ptp(np.diff(pieces)) <= 1
