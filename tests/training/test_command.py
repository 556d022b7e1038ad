"""The flags for debugging, as commands run with the small experiment; exit codes are tested in test_contract.py."""

import gzip
import json
import os

import jax
import pytest
from regression.commands import train

from training import command as commands


def test_a_profile_is_a_trace_of_the_steps_asked_for_and_compilations_are_logged(tmp_path):
    err = train("--arms=plain", "--profile=3", "--log_compiles", f"--workdir={tmp_path}")
    assert "Finished XLA compilation of jit(steps)" in err
    (folder,) = (tmp_path / "plain" / "plugins" / "profile").iterdir()
    assert list(folder.glob("*.xplane.pb"))  # TensorBoard's
    trace = json.loads(gzip.decompress((folder / "perfetto_trace.json.gz").read_bytes()))
    names = {event.get("name", "") for event in trace["traceEvents"]}
    assert any("steps" in name for name in names), sorted(names)[:50]


def test_debug_nans_ends_with_the_traceback_of_the_operation(tmp_path):
    err = train("--arms=plain", "--config.poisoned_step=5", "--debug_nans", f"--workdir={tmp_path}", expect=1)
    assert "FloatingPointError: invalid value (nan)" in err


@pytest.mark.slow
def test_without_jit_it_trains_to_the_same_loss(tmp_path):
    for name, flags in (("jit", []), ("eager", ["--disable_jit"])):
        train("--arms=plain", *flags, f"--workdir={tmp_path / name}")
    jit, eager = (json.loads((tmp_path / name / "plain" / "final.json").read_text()) for name in ("jit", "eager"))
    assert abs(jit["loss"] / eager["loss"] - 1) < 1e-4


def test_debug_shows_the_traceback_of_an_error(tmp_path):
    """Without the flag there is none: test_contract.py makes many mistakes."""
    assert "Traceback" in train("--arms=plane", "--debug", f"--workdir={tmp_path}", expect=1)


def test_compiled_programs_are_kept_where_the_user_keeps_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    commands.FLAGS.mark_as_parsed()
    before = jax.config.jax_compilation_cache_dir
    assert commands._compilation_cache() is None  # told of another
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        folder = commands._compilation_cache()
        assert folder.parent == tmp_path / "assay"
        assert folder.is_dir()
        monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
        assert commands._compilation_cache() is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
