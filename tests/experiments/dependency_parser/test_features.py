"""What a classifier sees of a partial parse, against features that are read off lists."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from arc_standard import Parse

from experiments.dependency_parser import features, transitions
from experiments.dependency_parser.features import core_positions
from experiments.dependency_parser.transitions import start

T, L = 14, 3
POSITION_NAMES = (
    *("s1", "s2", "s3", "b1", "b2", "b3"),
    *(f"{child}({of})" for of in ("s1", "s2") for child in ("lc1", "rc1", "lc2", "rc2", "lc1(lc1)", "rc1(rc1)")),
)
LENGTHS = np.array([1, 2, 13, 13, 12, 12, 9, 5], np.int32)
advance = jax.jit(functools.partial(transitions.advance, num_labels=L))
positions, label_features = jax.jit(features.positions), jax.jit(features.label_features)


def test_features_are_those_read_off_lists():
    random = np.random.default_rng(0)
    parses, state = [Parse(n) for n in LENGTHS], start(LENGTHS, T)
    seen = np.zeros(len(POSITION_NAMES), bool)
    for _ in range(2 * T):
        positions_B18 = positions(state)
        labels_B12 = label_features(state, positions_B18)
        for i, parse in enumerate(parses):
            expected_positions, expected_labels = parse.features()
            assert positions_B18[i].tolist() == expected_positions
            assert labels_B12[i].tolist() == expected_labels
        np.testing.assert_array_equal(core_positions(state), positions_B18[:, : features.NUM_CORE])
        seen |= (np.asarray(positions_B18) >= 0).any(axis=0)
        chosen_B = []
        for parse in parses:
            kinds = np.flatnonzero(parse.legal())
            # Arcs are taken when they can be half of the time, so that stacks and families both grow.
            kind = int(random.choice(kinds)) if len(kinds) else 0
            chosen_B.append(0 if kind == 0 else int(random.integers(1, L + 1)) + L * (kind - 1))
            if len(kinds):
                parse.take(chosen_B[-1], L)
        state = advance(state, jnp.array(chosen_B))
    assert seen.all()  # every one of the 18 was there at least once


def test_features_by_hand():
    # ROOT parsed(I, sentence(this)) with "correctly" in the buffer: after RIGHT-ARC of the worked example.
    state = start(jnp.array([5]), 6)
    for transition in (0, 0, 1, 0, 0, 2, L + 3):
        state = advance(state, jnp.array([transition]))
    positions_118 = positions(state)
    named = dict(zip(POSITION_NAMES, positions_118[0].tolist(), strict=True))
    assert {name: position for name, position in named.items() if position >= 0} == {
        **{"s1": 2, "s2": 0, "b1": 5},
        **{"lc1(s1)": 1, "rc1(s1)": 4},
    }
    labels_12 = label_features(state, positions_118)[0].tolist()
    labels = dict(zip(POSITION_NAMES[features.NUM_CORE :], labels_12, strict=True))
    assert {name: label for name, label in labels.items() if label} == {"lc1(s1)": 1, "rc1(s1)": 3}


def test_there_are_18_positions():
    assert len(set(POSITION_NAMES)) == features.NUM_POSITIONS == features.NUM_CORE + features.NUM_CHILDREN
