"""What the arms of gradient_flow refuse, and the overrides of a small run.

The small run in test_every_experiment.py draws the networks of layer_gradients.py, measures the programs of
backward_memory.py, judges claims.py and draws figures.py.
"""

import pytest

from experiments.gradient_flow import experiment as gradient_flow
from training.config import override

SMALL = {
    "num_draws": 2,
    "batch_size": 4,
    "width": 8,
    "num_layers": 4,
    "num_blocks": 4,
    "num_channels": 2,
    "image_size": 3,
    "cell_width": 4,
    "num_time_steps": 5,
    "num_updates": 2,
}


@pytest.mark.parametrize(("field", "message"), [("num_draws", "at least 1"), ("num_layers", "at least 3")])
def test_sizes_that_give_no_slope_are_refused(field, message):
    config = override(gradient_flow.EXPERIMENT.config, {field: 0})
    with pytest.raises(ValueError, match=f"{field}=0 must be {message}"):
        gradient_flow.mlp_measurement(config)
