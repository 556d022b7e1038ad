"""Arrays that stay on the devices, and what else belongs to a task besides its functions."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import regression

from training import loop, parallel, run, sweep
from training.experiment import UserError
from training.step import key

CONFIG = regression.Config(noise=0.0, num_steps=4)
ROWS = jax.device_get(regression.rows(CONFIG, key(7, "rows"), 64))


def resident(config, optimizer=None):
    """The regression on rows that are drawn from 64 resident ones."""
    plain = regression.task(config, optimizer or optax.sgd(config.optimizer.learning_rate))

    def batch(seed, step, data):
        chosen = jax.random.choice(key(seed, "batch", step), 64, (config.batch_size,), replace=False)
        return jax.tree.map(lambda x: x[chosen], data)

    def mean_error(variables, data):
        return {"loss": (jnp.sum((data["x"] @ variables["params"]["w"] - data["y"]) ** 2), jnp.float32(64))}

    return replace(
        plain,
        data=ROWS,
        batch=batch,
        evaluate=mean_error,
        probe=lambda variables, data: {"weights": variables["params"]["w"] + 0 * data["y"][0]},
        examine=lambda variables, data: {"rows": jnp.int32(len(data["y"]))},
        perplexity=True,
        files={"tokenizer.json": b"{}"},
        facts={"sha256": "abc"},
    )


def compiled_in(config):
    """The same with the rows compiled into the program, as a reference."""
    task = resident(config)
    rows = jax.tree.map(jnp.asarray, ROWS)
    return replace(
        task,
        data=None,
        batch=lambda seed, step: task.batch(seed, step, rows),
        evaluate=lambda variables: task.evaluate(variables, rows),
        probe=lambda variables: task.probe(variables, rows),
        examine=lambda variables: task.examine(variables, rows),
    )


@pytest.mark.parametrize(
    ("kind", "mesh", "num_seeds"),
    [
        ("single", "", 1),
        ("pmap", "", 2),
        ("mesh", "data=2,fsdp=2,model=2", 2),
        pytest.param("single", "", 2, marks=pytest.mark.slow),
        pytest.param("pmap", "", 1, marks=pytest.mark.slow),
        pytest.param("mesh", "data=2,fsdp=2,model=2", 1, marks=pytest.mark.slow),
    ],
)
def test_resident_arrays_train_as_arrays_in_the_program_do(tmp_path, kind, mesh, num_seeds):
    placement = parallel.choose(kind, mesh)

    def trained(make):
        parallel.check_batch(placement, make(CONFIG))
        folder = tmp_path / make.__name__
        folder.mkdir()
        found, step = loop.train_arm("plain", make(CONFIG), CONFIG, folder, placement, num_seeds)
        assert step == 4
        return np.asarray(found["params"]["w"])

    np.testing.assert_allclose(trained(resident), trained(compiled_in), rtol=1e-6)


def test_perplexity_files_and_facts_are_written(tmp_path):
    experiment = replace(regression.EXPERIMENT, task=resident)
    arms = {"plain": CONFIG}
    tasks = run.make_tasks(experiment, arms, parallel.SINGLE)
    with run.open_workdir(tmp_path / "run", "regression", CONFIG, arms, 1, tasks):
        results = run.train(experiment, tasks, arms, tmp_path / "run", parallel.SINGLE, 1)
    final = json.loads((tmp_path / "run/plain/final.json").read_text())
    np.testing.assert_allclose(final["perplexity"], np.exp(final["loss"]), rtol=1e-6)
    np.testing.assert_allclose(results["plain"].train["perplexity"], np.exp(results["plain"].train["loss"]), rtol=1e-6)
    assert results["plain"].examined["rows"] == [64]
    assert (tmp_path / "run/plain/tokenizer.json").read_bytes() == b"{}"
    record = json.loads((tmp_path / "run/config.json").read_text())
    assert record["data"] == {"plain": {"sha256": "abc"}}
    assert run.evaluate(experiment, record, tmp_path / "run")["plain"].final["perplexity"] == final["perplexity"]


def test_a_run_goes_on_with_its_own_data_alone(tmp_path):
    tasks = {"plain": resident(CONFIG)}
    with run.open_workdir(tmp_path / "run", "regression", CONFIG, {"plain": CONFIG}, 1, tasks):
        pass
    others = {"plain": replace(tasks["plain"], facts={"sha256": "xyz"})}
    with (
        pytest.raises(UserError, match="trained on other data: plain: sha256"),
        run.open_workdir(tmp_path / "run", "regression", CONFIG, {"plain": CONFIG}, 1, others),
    ):
        pass


def test_trials_of_a_sweep_share_the_arrays():
    values = {"optimizer.learning_rate": np.array([0.01, 0.1])}
    found, reference = (sweep.train_trials(make, CONFIG, values, 4) for make in (resident, compiled_in))
    np.testing.assert_allclose(found.final["loss"], reference.final["loss"], rtol=1e-6)
