"""Configs: frozen dataclasses whose fields become typed flags, ``--config.FIELD=VALUE``, nested with dots."""

import dataclasses
import sys
import types
import typing
from difflib import get_close_matches

from absl import flags

from training.experiment import UserError

_FLAG_DEFINERS = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    bool: flags.DEFINE_bool,
}


def setting(default, about):
    """A config field with its line of help."""
    return dataclasses.field(default=default, metadata={"help": about})


def leaves(config, prefix=""):
    """{dotted path: value} of every leaf field."""
    values = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            values |= leaves(value, f"{prefix}{f.name}.")
        else:
            values[prefix + f.name] = value
    return values


def fill_in(config, settings):
    """{dotted path: value} of those settings whose fields the config leaves open, None: for an arm's changes.

    The engine refuses to override by flag what an arm changes, so an arm changes no field that has a value.
    """
    values = leaves(config)
    return {path: value for path, value in settings.items() if values[path] is None and value is not None}


def override(config, overrides):
    """The config with {dotted path: value} replaced; raises UserError with the closest names for an unknown path."""
    known = leaves(config)
    for path, value in overrides.items():
        if path not in known:
            raise UserError(f"unknown config field {path!r}{closest(path, known)}")
        config = _replace(config, path.split("."), value)
    return config


def _replace(config, path, value):
    if len(path) > 1:
        value = _replace(getattr(config, path[0]), path[1:], value)
    return dataclasses.replace(config, **{path[0]: value})


def closest(name, known):
    """A hint that names what is nearest to ``name``, or everything where nothing is near."""
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else f"; there are: {', '.join(sorted(known))}"


def define_flags(config, prefix="config."):
    """Defines one typed absl flag for each leaf field."""
    hints = typing.get_type_hints(type(config))
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            define_flags(value, f"{prefix}{f.name}.")
        else:
            define = _FLAG_DEFINERS[_scalar_type(hints[f.name])]
            # Named as the command's own flags, so that --help shows them.
            define(prefix + f.name, value, f.metadata.get("help", ""), module_name=sys.argv[0])


def _scalar_type(hint):
    """The type of a leaf field: itself, or X of ``X | None``."""
    if isinstance(hint, types.UnionType):
        hint = next(t for t in typing.get_args(hint) if t is not type(None))
    return hint


def flag_overrides(prefix="config."):
    """{dotted path: value} of the config flags that were given on the command line."""
    return {
        name.removeprefix(prefix): flags.FLAGS[name].value
        for name in flags.FLAGS
        if name.startswith(prefix) and flags.FLAGS[name].present
    }


def from_dict(default, values):
    """A config like ``default`` with the values of a nested dict, as config.json holds it."""
    fields = {}
    for f in dataclasses.fields(default):
        if f.name in values:
            nested = dataclasses.is_dataclass(getattr(default, f.name))
            fields[f.name] = from_dict(getattr(default, f.name), values[f.name]) if nested else values[f.name]
    return dataclasses.replace(default, **fields)


def differences(a, b):
    """The dotted names in which two nested dicts differ, each with both values."""
    lines = []
    for name in sorted({*a, *b}):
        x, y = a.get(name), b.get(name)
        if isinstance(x, dict) and isinstance(y, dict):
            lines += [f"{name}.{line}" for line in differences(x, y)]
        elif x != y:
            lines.append(f"{name} ({x!r} there, {y!r} now)")
    return lines
