"""Configs: overrides, differences, round trips."""

from dataclasses import asdict, dataclass, field

import pytest

from training.config import closest, differences, from_dict, leaves, override
from training.experiment import UserError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    name: str = "a"


@dataclass(frozen=True)
class Outer:
    steps: int = 10
    limit: int | None = None
    inner: Inner = field(default_factory=Inner)


def test_leaves_are_named_by_dotted_paths():
    assert leaves(Outer()) == {"steps": 10, "limit": None, "inner.rate": 0.1, "inner.name": "a"}


def test_override_replaces_nested_fields_and_leaves_the_original():
    config = Outer()
    assert override(config, {"inner.rate": 0.5, "steps": 3}) == Outer(3, None, Inner(0.5, "a"))
    assert config == Outer()


def test_unknown_field_is_refused_with_the_closest_name():
    with pytest.raises(UserError, match=r"unknown config field 'inner.rat'; did you mean inner.rate"):
        override(Outer(), {"inner.rat": 1.0})


def test_closest_lists_everything_where_nothing_is_near():
    assert closest("zzz", ["one", "two"]) == "; there are: one, two"


def test_a_config_survives_its_dict():
    config = Outer(3, 4, Inner(0.5, "b"))
    assert from_dict(Outer(), asdict(config)) == config


def test_differences_name_the_fields_and_both_values():
    assert differences(asdict(Outer()), asdict(Outer())) == []
    lines = differences(asdict(Outer()), asdict(Outer(steps=11, inner=Inner(rate=0.2))))
    assert lines == ["inner.rate (0.1 there, 0.2 now)", "steps (10 there, 11 now)"]
