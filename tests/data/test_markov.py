"""Markov chains, against slow plain references and the losses that Edelman et al.'s setting implies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import markov

T = 100


def chains(num_states, size=4000):
    made = jax.jit(lambda key: markov.markov(key, size, T, num_states))(jax.random.key(num_states))
    return made, {name: np.asarray(x) for name, x in made.items()}


@pytest.mark.parametrize("num_states", [2, 3, 5])
def test_stationary_distribution_is_what_many_steps_lead_to(num_states):
    rows = np.random.default_rng(0).dirichlet(np.ones(num_states), num_states)
    by_steps = np.linalg.matrix_power(rows, 1000)[0]
    np.testing.assert_allclose(markov.stationary_distribution(jnp.asarray(rows)), by_steps, atol=1e-5)


def test_rows_are_uniform_on_the_simplex():
    _, batch = chains(3)
    rows = batch["transition"].reshape(-1, 3)
    np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-6)
    # Dirichlet(1): each entry is Beta(1, 2), mean 1/3 and variance 1/18; two entries have covariance -1/36.
    np.testing.assert_allclose(rows.mean(0), 1 / 3, atol=0.01)
    np.testing.assert_allclose(np.cov(rows.T), np.full((3, 3), -1 / 36) + np.eye(3) / 12, atol=0.003)


def test_chains_start_and_stay_in_the_stationary_distribution():
    _, batch = chains(2)
    stationary = np.array([np.linalg.matrix_power(p.astype(float), 2000)[0] for p in batch["transition"]])
    for t in (0, 1, 50, 99):
        share = (batch["tokens"][:, t] == 0).mean()
        assert abs(share - stationary[:, 0].mean()) < 0.03
        # The first state follows its own chain's distribution, not the average one.
        assert np.corrcoef(batch["tokens"][:, t] == 0, stationary[:, 0])[0, 1] > 0.4


def test_transitions_have_the_stated_frequencies():
    _, batch = chains(3, size=2000)
    agree = []
    for tokens, targets, transition in zip(batch["tokens"], batch["targets"], batch["transition"], strict=True):
        assert list(tokens[1:]) == list(targets[:-1])
        for a in range(3):
            if (tokens == a).sum() >= 30:
                agree.append(np.mean(targets[tokens == a] == 0) - transition[a, 0])
    assert abs(np.mean(agree)) < 0.005


def slow_reference_losses(tokens, targets, transition):
    """The four predictors of one sequence, counted token by token."""
    K = len(transition)
    unigram, bigram = np.ones(K), np.ones((K, K))
    losses = {name: [] for name in ("uniform", "unigram", "bigram", "true")}
    for x, y in zip(tokens, targets, strict=True):
        unigram[x] += 1
        losses["uniform"].append(np.log(K))
        losses["unigram"].append(-np.log(unigram[y] / unigram.sum()))
        losses["bigram"].append(-np.log(bigram[x, y] / bigram[x].sum()))
        losses["true"].append(-np.log(transition[x, y]))
        bigram[x, y] += 1
    return losses


def test_reference_losses_equal_counting_by_hand():
    made, batch = chains(3, size=5)
    losses = markov.reference_losses(made)
    for i in range(5):
        slow = slow_reference_losses(batch["tokens"][i], batch["targets"][i], batch["transition"][i].astype(float))
        for name, values in slow.items():
            np.testing.assert_allclose(losses[name][i], values, rtol=1e-4, err_msg=name)


THREE_STATES = [
    (3, "uniform", 1.099, 1.099),
    (3, "unigram", 1.003, 0.988),
    (3, "bigram", 0.886, 0.846),
    (3, "true", 0.818, 0.818),
]


@pytest.mark.parametrize(
    ("num_states", "name", "mean", "last"),
    [
        (2, "uniform", 0.693, 0.693),
        (2, "unigram", 0.578, 0.566),
        (2, "bigram", 0.511, 0.4905),
        (2, "true", 0.481, 0.481),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in THREE_STATES),
    ],
)
def test_bayes_losses_are_those_of_the_setting(num_states, name, mean, last):
    """Means over positions and at the last one, in nats, as computed independently for T = 100."""
    made, _ = chains(num_states, size=16000)
    losses = markov.reference_losses(made)[name]
    assert abs(losses.mean() - mean) < 0.004
    assert abs(losses[:, -1].mean() - last) < 0.012


@pytest.mark.parametrize("num_states", [2, 4])
def test_doubly_stochastic_rows_make_all_states_alike(num_states):
    made = markov.random_transitions(jax.random.key(0), 4000, num_states, "doubly_stochastic")
    np.testing.assert_allclose(made.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(made.sum(2), 1, atol=1e-6)
    np.testing.assert_allclose(made.mean(0), 1 / num_states, atol=0.02)
    first = markov.stationary_distribution(made[0])
    np.testing.assert_allclose(first, 1 / num_states, atol=1e-5)
    if num_states == 2:  # the probability to stay is uniform
        np.testing.assert_allclose(np.histogram(made[:, 0, 0], 4, (0, 1))[0] / 4000, 0.25, atol=0.03)


def test_predictions_are_distributions_and_the_references_losses_are_theirs():
    made, batch = chains(3, size=5)
    losses = markov.reference_losses(made)
    for name, predicted in markov.reference_predictions(made).items():
        np.testing.assert_allclose(predicted.sum(-1), 1, atol=1e-5)
        of_targets = np.take_along_axis(np.asarray(predicted), batch["targets"][..., None], -1)[..., 0]
        np.testing.assert_allclose(losses[name], -np.log(of_targets), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((1,), "num_states=1 must be at least 2"),
        ((2, "stochastic"), "rows='stochastic' is not one of dirichlet, doubly_stochastic"),
        ((6, "doubly_stochastic"), "num_states=6 must be at most 5"),
    ],
)
def test_chains_that_do_not_exist_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        markov.check(*arguments)
