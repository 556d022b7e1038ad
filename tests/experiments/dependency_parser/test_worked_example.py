"""The course's sentence: its ten transitions and five arcs, as text; and traces of other sentences."""

import itertools

import numpy as np
import pytest
from arc_standard import random_projective_tree

from experiments.dependency_parser import worked_example
from experiments.dependency_parser.worked_example import FORMS, HEADS, trace


def test_the_course_s_ten_transitions_and_arcs():
    steps = trace()
    assert steps == trace(FORMS, HEADS)
    said = "SHIFT SHIFT LEFT-ARC SHIFT SHIFT LEFT-ARC RIGHT-ARC SHIFT RIGHT-ARC RIGHT-ARC"
    assert tuple(step.transition for step in steps[1:]) == tuple(said.split()) == worked_example.TRANSITIONS
    arcs = tuple(step.new_arc for step in steps if step.new_arc)
    assert arcs == ("parsed->I", "sentence->this", "parsed->sentence", "parsed->correctly", "ROOT->parsed")
    assert arcs == worked_example.ARCS


def test_the_table_s_rows():
    steps = trace()
    assert len(steps) == 11
    assert steps[0] == ("[ROOT]", "[I, parsed, this, sentence, correctly]", "", "")
    assert steps[3] == ("[ROOT, parsed]", "[this, sentence, correctly]", "parsed->I", "LEFT-ARC")
    assert steps[8] == ("[ROOT, parsed, correctly]", "[]", "", "SHIFT")
    assert steps[10] == ("[ROOT]", "[]", "ROOT->parsed", "RIGHT-ARC")


def test_any_projective_tree_is_traced():
    random = np.random.default_rng(0)
    for n in (1, 7):
        _, *heads = random_projective_tree(random, n)
        forms = [f"w{position}" for position in range(1, n + 1)]
        steps = trace(forms, heads)
        assert len(steps) == 2 * n + 1
        words = ["ROOT", *forms]
        expected = {f"{words[head]}->{form}" for form, head in zip(forms, heads, strict=True)}
        assert {step.new_arc for step in steps} == expected | {""}
        assert all(
            (before.stack, before.buffer) != (after.stack, after.buffer) for before, after in itertools.pairwise(steps)
        )


@pytest.mark.parametrize("heads", [(2, 0, 4, 2), (2, 0, 4, 2, 6), (2, 0, 4, 2, -1)])
def test_wrong_heads_are_refused(heads):
    with pytest.raises(ValueError, match="5 words need 5 heads from 0 to 5"):
        trace(FORMS, heads)
