"""Colour ramps against their definition; tests/reporting/test_figures.py covers what else reporting/svg.py draws."""

import numpy as np
import pytest
from svg_elements import oklab

from reporting import svg


def test_equal_steps_of_value_are_equal_steps_of_lightness():
    for colours, spread in (
        ((svg.PALE, svg.NAVY), 0.675),
        ((svg.WHITE, svg.RUST), 0.545),
        ((svg.WHITE, svg.BLUE), 0.545),
    ):
        lightness = [oklab(colour)[0] for colour in svg.ramp(np.linspace(0, 1, 16), colours)]
        steps = -np.diff(lightness)
        assert lightness[0] - lightness[-1] == pytest.approx(spread, abs=0.02)
        np.testing.assert_allclose(steps, spread / 15, atol=0.008)  # the rest is rounding to 8 bits
