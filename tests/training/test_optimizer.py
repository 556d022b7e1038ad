"""The optimisers: SGD against PyTorch's recorded steps and a slow reference, and what their configs refuse."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from training.experiment import UserError
from training.optimizer import OptimizerConfig, SGDConfig, adamw, sgd

TORCH = dict(np.load(Path(__file__).parents[2] / "experiments" / "optimizers" / "torch_sgd.npz"))
FLAGS = [
    {"momentum": m, "dampening": t, "weight_decay": w, "nesterov": bool(n), "maximize": bool(a)}
    for m, t, w, n, a in TORCH["flags_C5"].tolist()
]


def gradient(x):
    return TORCH["matrix"].T @ np.tanh(TORCH["matrix"] @ np.asarray(x) - TORCH["offset"])


def trajectory(optimizer, steps):
    """The parameters before the first step and after each, in float64."""
    with jax.enable_x64(True):
        params = jnp.asarray(TORCH["start_P"])
        state, path = optimizer.init(params), [np.asarray(params)]
        update = jax.jit(optimizer.update)
        for _ in range(steps):
            updates, state = update(jnp.asarray(gradient(params)), state, params)
            params = params + updates
            path.append(np.asarray(params))
        return np.array(path)


def test_the_fixture_has_every_legal_combination():
    legal = 0
    for index in range(32):
        momentum, dampening, nesterov = index & 1, index & 2, index & 4
        legal += not nesterov or (momentum and not dampening)
    assert len(FLAGS) == len({tuple(f.values()) for f in FLAGS}) == legal == 20


@pytest.mark.parametrize(
    "index", range(len(FLAGS)), ids=lambda i: ",".join(k for k, v in FLAGS[i].items() if v) or "plain"
)
def test_sgd_follows_pytorch(index):
    config = SGDConfig(learning_rate=float(TORCH["learning_rate"]), **FLAGS[index])
    ours = trajectory(sgd(config), 100)[TORCH["steps_K"]]
    np.testing.assert_allclose(ours, TORCH["trajectories_CKP"][index], rtol=0, atol=1e-12)


def test_the_recorded_combinations_differ_where_their_flags_do():
    ends = TORCH["trajectories_CKP"][:, -1]
    for i, j in np.ndindex(20, 20):
        without_effect = {k: v for k, v in FLAGS[i].items() if k != "dampening" or FLAGS[i]["momentum"]} == {
            k: v for k, v in FLAGS[j].items() if k != "dampening" or FLAGS[j]["momentum"]
        }
        assert (np.abs(ends[i] - ends[j]).max() < 1e-9) == without_effect


def test_traced_rates_give_the_same_steps():
    def three_steps(momentum, dampening):
        optimizer = sgd(SGDConfig(momentum=momentum, dampening=dampening))
        params = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
        state = optimizer.init(params)
        for _ in range(3):
            updates, state = optimizer.update(jax.tree.map(jnp.sin, params), state, params)
            params = optax.apply_updates(params, updates)
        return params

    momenta, dampenings = jnp.array([0.0, 0.0, 0.9]), jnp.array([0.0, 0.5, 0.5])
    together = jax.jit(jax.vmap(three_steps))(momenta, dampenings)
    for n in range(3):
        one = three_steps(float(momenta[n]), float(dampenings[n]))
        jax.tree.map(lambda x, y, n=n: np.testing.assert_allclose(x[n], y, rtol=1e-6), together, one)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SGDConfig(learning_rate=-1.0), r"optimizer.learning_rate=-1 must lie in \[0, inf\)"),
        (lambda: SGDConfig(momentum=-0.1), "optimizer.momentum"),
        (lambda: SGDConfig(weight_decay=-0.1), "optimizer.weight_decay"),
        (lambda: SGDConfig(nesterov=True), "needs a momentum above 0 and no dampening"),
        (lambda: SGDConfig(nesterov=True, momentum=0.9, dampening=0.1), "needs a momentum above 0 and no dampening"),
        (lambda: OptimizerConfig(learning_rate=0.0), r"optimizer.learning_rate=0 must lie in \(0, inf\)"),
        (lambda: OptimizerConfig(learning_rate=float("nan")), "optimizer.learning_rate"),
        (lambda: replace(OptimizerConfig(), clip=0.0), "optimizer.clip=0"),
        (lambda: OptimizerConfig(b1=1.0), r"optimizer.b1=1 must lie in \[0, 1\)"),
    ],
)
def test_rates_out_of_range_are_refused(make, says):
    with pytest.raises(UserError, match=says):
        make()


def test_the_rate_of_adamw_warms_up_and_decays():
    """With b1 = b2 = 0 a step is the rate times the gradient's sign."""
    config = OptimizerConfig(learning_rate=0.5, final_fraction=0.1, weight_decay=0.0, b1=0.0, b2=0.0, warmup_steps=4)
    optimizer = adamw(config, 100)
    params = jnp.array([0.0])
    state, rates = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for _ in range(101):
        updates, state = update(jnp.array([1.0]), state, params)
        rates.append(-float(updates[0]))
    np.testing.assert_allclose(rates[:5], [0, 0.125, 0.25, 0.375, 0.5], atol=1e-6)
    assert abs(rates[52] - 0.275) < 1e-3  # halfway of the cosine
    assert abs(rates[100] - 0.05) < 1e-6
