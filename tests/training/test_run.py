"""Runs of arms: what is asked for, refused, written and read back."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from regression import experiment as regression
from regression.runs import read_final, train, with_arm

from training import checkpoint, parallel, run, workdirs
from training.config import override
from training.experiment import Task, UserError


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    """(workdir, result) of an arm with two seeds and everything that a task can have."""
    workdir = tmp_path_factory.mktemp("run") / "two_seeds"
    return workdir, train(workdir, num_seeds=2, experiment=with_arm(regression.resident_task))["plain"]


def test_results_read_back_have_the_seed_axis(two_seeds):
    _, result = two_seeds
    assert result.evaluation["loss"].shape == (5, 2)  # steps 0, 2, 4, 6, 8
    assert result.train.steps.tolist() == [2, 4, 6, 8]
    assert result.probes["weights"].shape == (5, 2, 3)
    assert result.examined["rows"].tolist() == [64, 64]
    assert result.final["loss"].shape == (2,)
    assert result.variables["params"]["w"].shape == (2, 3)
    assert result.num_parameters == 3


def test_one_seed_has_the_seed_axis_as_well(tmp_path):
    result = train(tmp_path)["plain"]
    assert result.evaluation["loss"].shape == (5, 1)
    assert result.probes["weights"].shape == (5, 1, 3)
    assert result.examined["distance"].shape == (1, 3)
    assert result.final["loss"].shape == (1,)
    assert result.variables["params"]["w"].shape == (1, 3)


def test_perplexity_and_files_are_written(two_seeds):
    workdir, result = two_seeds
    final = read_final(workdir)
    np.testing.assert_allclose(final["perplexity"], np.exp(final["loss"]), rtol=1e-6)
    np.testing.assert_allclose(result.train["perplexity"], np.exp(result.train["loss"]), rtol=1e-6)
    assert (workdir / "plain" / "tokenizer.json").read_bytes() == b"{}"
    assert checkpoint.read_run(workdir)["files"] == {"plain": ["tokenizer.json"]}


def measuring(measure):
    """The experiment, whose arm examines two numbers and an array, and measures what ``measure`` returns."""

    def make(config):
        def examine(variables):
            w = variables["params"]["w"]
            return {"first": w[0], "distance": jnp.abs(w - 1.0), "loss": jnp.float32(99)}

        return replace(regression.task(config), examine=examine, measure=measure)

    return with_arm(make)


def describe(variables):
    """A number, two texts, of which the length of one differs from seed to seed, and two that have no place."""
    size = float(np.abs(variables["params"]["w"]).sum())
    return {"size": size, "signature": "nrefs:1|é", "tally": "|" * int(10 * size), "words": ["a", "b"], "step": 7}


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_final_json_of_a_trained_arm_holds_the_numbers_and_texts_that_it_measured(tmp_path, num_seeds):
    result = train(tmp_path, num_seeds=num_seeds, experiment=measuring(describe))["plain"]
    weights = result.variables["params"]["w"]
    hashes = [checkpoint.params_sha256({"w": w}) for w in weights]
    sizes = [float(np.abs(w).sum()) for w in weights]
    expected = {
        "params_sha256": hashes,
        "loss": result.evaluation["loss"][-1].tolist(),  # the metric's, not what was examined under its name
        "first": weights[:, 0].tolist(),
        "size": sizes,
        "signature": ["nrefs:1|é"] * num_seeds,
        "tally": ["|" * int(10 * size) for size in sizes],
    }
    by_seed = {name: x if num_seeds > 1 else x[0] for name, x in expected.items()}
    assert read_final(tmp_path) == {"step": 8} | by_seed
    again = run.evaluate(measuring(describe), checkpoint.read_run(tmp_path), tmp_path)
    workdirs.write_json(tmp_path / "metrics.json", run.metrics_of(again))
    del by_seed["params_sha256"]
    written = json.loads((tmp_path / "metrics.json").read_text())["plain"]
    assert written.pop("loss") == pytest.approx(by_seed.pop("loss"), rel=1e-6)
    assert written == {"step": 8} | by_seed
    workdirs.save_results(tmp_path, again)
    stored = np.load(tmp_path / "results.npz")  # without pickle
    assert stored["plain/final/tally"].tolist() == expected["tally"]
    assert stored["plain/final/words"].tolist() == [["a", "b"]] * num_seeds


def test_an_examination_that_fails_loses_no_number(tmp_path):
    def fail(variables):
        raise RuntimeError("no scorer")

    with pytest.raises(RuntimeError, match="no scorer"):
        train(tmp_path, experiment=measuring(fail))
    evaluated = read_final(tmp_path)
    assert set(evaluated) == {"step", "params_sha256", "loss"}
    train(tmp_path, experiment=measuring(describe))
    measured = read_final(tmp_path)
    assert measured == measured | evaluated
    assert measured["signature"] == "nrefs:1|é"
    with pytest.raises(RuntimeError, match="no scorer"):
        train(tmp_path, experiment=measuring(fail))
    assert read_final(tmp_path) == measured
    for stale in (json.dumps(measured | {"params_sha256": "of another"}), "{"):
        (tmp_path / "plain" / "final.json").write_text(stale)
        with pytest.raises(RuntimeError, match="no scorer"):
            train(tmp_path, experiment=measuring(fail))
        assert read_final(tmp_path) == evaluated


def test_outputs_are_the_first_seeds_and_are_written_again_with_every_report(two_seeds):
    workdir, result = two_seeds
    weights = workdir / "plain" / "weights.bin"
    np.testing.assert_array_equal(np.frombuffer(weights.read_bytes(), "<f4"), result.variables["params"]["w"][0])
    assert result.variables["params"]["w"][0].tolist() != result.variables["params"]["w"][1].tolist()
    assert (workdir / "plain" / "examined.json").read_bytes() == b'{"rows": 64}'
    assert dict(result.outputs) == {"weights.bin": weights.read_bytes(), "examined.json": b'{"rows": 64}'}
    weights.unlink()
    again = run.evaluate(with_arm(regression.resident_task), checkpoint.read_run(workdir), workdir)["plain"]
    assert again.outputs == result.outputs
    assert not weights.exists()  # who evaluates says where they go
    train(workdir, num_seeds=2, experiment=with_arm(regression.resident_task))
    assert weights.read_bytes() == result.outputs["weights.bin"]


def test_a_file_may_be_a_function_that_makes_it_when_the_arm_is_trained(tmp_path):
    made = []
    files = {"now.bin": b"now", "later.bin": lambda: made.append(0) or b"later"}
    experiment = with_arm(lambda config: replace(regression.task(config), files=files))
    run.make_tasks(experiment, run.select_arms(experiment, experiment.config, ("plain",), {}), parallel.SINGLE)
    assert not made
    train(tmp_path, experiment=experiment)
    assert made == [0]
    assert (tmp_path / "plain" / "now.bin").read_bytes() == b"now"
    assert (tmp_path / "plain" / "later.bin").read_bytes() == b"later"
    assert checkpoint.read_run(tmp_path)["files"] == {"plain": ["now.bin", "later.bin"]}


def test_an_unfinished_arm_outputs_nothing(tmp_path):
    train(tmp_path, stop_at=4)
    assert (tmp_path / "plain" / "inputs.json").exists()
    assert not (tmp_path / "plain" / "weights.bin").exists()


def test_evaluated_anew_a_run_has_the_numbers_that_it_had(two_seeds):
    workdir, result = two_seeds
    record = checkpoint.read_run(workdir)
    again = run.evaluate(with_arm(regression.resident_task), record, workdir)["plain"]
    assert again.final["perplexity"].tolist() == read_final(workdir)["perplexity"]
    assert again.examined["rows"].tolist() == [64, 64]
    np.testing.assert_array_equal(again.variables["params"]["w"], result.variables["params"]["w"])
    earlier = run.evaluate(with_arm(regression.resident_task), record, workdir, ["plain"], step=4)["plain"]
    np.testing.assert_allclose(earlier.final["loss"], result.evaluation["loss"][2], rtol=1e-6)
    metrics = run.metrics_of({"plain": earlier})["plain"]
    assert metrics["step"] == 4
    np.testing.assert_array_equal(metrics["loss"], earlier.final["loss"])
    with pytest.raises(UserError, match="has no arm 'plane'; did you mean plain"):
        run.evaluate(with_arm(regression.resident_task), record, workdir, ["plane"])


def test_seeds_trained_at_once_are_the_seeds_trained_alone(two_seeds, tmp_path):
    _, together = two_seeds
    for i in range(2):
        alone = train(tmp_path / f"alone{i}", seed=i, experiment=with_arm(regression.resident_task))["plain"]
        np.testing.assert_allclose(together.evaluation["loss"][:, i], alone.evaluation["loss"][:, 0], rtol=1e-5)


def test_what_is_done_is_not_trained_again(two_seeds):
    workdir, result = two_seeds
    before = (workdir / "plain" / "metrics.jsonl").read_text()
    again = train(workdir, num_seeds=2, experiment=with_arm(regression.resident_task))["plain"]
    assert (workdir / "plain" / "metrics.jsonl").read_text() == before
    np.testing.assert_array_equal(again.variables["params"]["w"], result.variables["params"]["w"])


def test_arms_refuse_to_have_their_fields_overridden():
    experiment = regression.EXPERIMENT
    with pytest.raises(UserError, match=r"arm wide sets width=6 itself; leave the arm out with --arms=plain"):
        run.select_arms(experiment, experiment.config, ("plain", "wide"), {"width": 4})
    with pytest.raises(UserError, match="unknown arm 'plane'; did you mean plain"):
        run.select_arms(experiment, experiment.config, ("plane",), {})


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"width": 0}, "arm plain: width=0 must be at least 1"),
        ({"eval_every": 0}, "eval_every=0 must be at least 1"),
        ({"batch_size": -1}, "batch_size=-1 must be at least 1"),
        ({"num_steps": -1}, "num_steps=-1 must be at least 0"),
    ],
)
def test_configs_that_do_not_fit_together_are_refused_before_anything_is_written(tmp_path, overrides, says):
    with pytest.raises(UserError, match=says):
        train(tmp_path / "new", **overrides)
    assert not (tmp_path / "new").exists()


def test_shared_fields_that_are_none_are_left_to_the_experiment():
    """A field that is None has no least value; neither has one that the config lacks."""
    frozen = Task(model=None, init=lambda key: {"params": {"w": np.zeros(3)}}, evaluate=lambda variables: {})
    config = override(regression.Config(), {"eval_every": None, "batch_size": None})
    assert run.make_task(with_arm(lambda config: frozen), "plain", config) is frozen
    with pytest.raises(UserError, match="eval_every=0 must be at least 1"):
        run.make_task(with_arm(lambda config: frozen), "plain", replace(config, eval_every=0))


def test_a_batch_that_devices_do_not_divide_is_refused():
    config = regression.Config(batch_size=12)
    arms = {"plain": config}
    assert run.make_tasks(regression.EXPERIMENT, arms, parallel.SINGLE)
    with pytest.raises(UserError, match="batch_size=12 is not divisible by the 8 devices"):
        run.make_tasks(regression.EXPERIMENT, arms, parallel.choose("pmap"))


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ([("1", "plane")], "claim 1 is of an unknown arm 'plane'; did you mean plain"),
        ([("first", "plain")], "an id is a number and at most one letter"),
        ([("1", "plain"), ("1", "quiet")], "two claims have the id 1"),
    ],
)
def test_claims_that_could_never_be_judged_are_refused_before_training(claims, says):
    made = [SimpleNamespace(id=id, of=(arm,)) for id, arm in claims]
    experiment = replace(regression.EXPERIMENT, claims=made)
    arm_configs = run.select_arms(experiment, experiment.config, (), {})
    with pytest.raises(UserError, match=says):
        run.make_tasks(experiment, arm_configs, parallel.SINGLE)


def test_an_arm_without_its_checkpoints_is_left_out_of_an_evaluation(tmp_path):
    train(tmp_path, arms=("plain", "quiet"))
    shutil.rmtree(tmp_path / "plain" / "checkpoints")
    record = checkpoint.read_run(tmp_path)
    assert list(run.evaluate(regression.EXPERIMENT, record, tmp_path)) == ["quiet"]
