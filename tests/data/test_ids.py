"""Token ids: their range is checked, and the smallest type that holds them is taken."""

import numpy as np
import pytest

from data.ids import check_ids, smallest_type


def test_ids_and_types_fit_the_vocabulary():
    for vocab_size, dtype in [
        (1, np.uint8),
        (256, np.uint8),
        (257, np.uint16),
        (65_536, np.uint16),
        (65_537, np.uint32),
    ]:
        assert smallest_type(vocab_size) is dtype
    check_ids(np.array([0, 4]), 5)
    for wrong in ([0, 5], [-1, 2]):
        with pytest.raises(ValueError, match="do not fit a vocabulary of 5"):
            check_ids(np.array(wrong), 5)
