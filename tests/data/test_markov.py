"""Markov chains, against slow plain references and the losses that Edelman et al.'s setting implies."""

import functools

import jax
import numpy as np
import pytest

from data import markov

T, NUM_CHAINS = 100, 16000


@functools.cache
def chains(num_states):
    """The batch of NUM_CHAINS chains of length T."""
    make = jax.jit(lambda key: markov.markov(key, NUM_CHAINS, T, num_states))
    return jax.device_get(make(jax.random.key(num_states)))


def first_chains(num_states, count):
    return {name: array[:count] for name, array in chains(num_states).items()}


@functools.cache
def mean_losses(num_states):
    """{predictor: (mean loss over positions, mean loss at the last one)} over all chains."""

    @jax.jit
    def compute(batch):
        losses = markov.reference_losses(batch)
        return {name: (loss_BT.mean(), loss_BT[:, -1].mean()) for name, loss_BT in losses.items()}

    return compute(chains(num_states))


@pytest.mark.parametrize("num_states", [2, 3, 5])
def test_stationary_distribution_is_what_many_steps_lead_to(num_states):
    rows = np.random.default_rng(0).dirichlet(np.ones(num_states), num_states)
    by_steps = np.linalg.matrix_power(rows, 1000)[0]
    stationary = jax.jit(markov.stationary_distribution)(rows.astype(np.float32))
    np.testing.assert_allclose(stationary, by_steps, atol=1e-5)


def test_rows_are_uniform_on_the_simplex():
    rows = chains(3)["transition"].reshape(-1, 3)
    np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-6)
    # Dirichlet(1): each entry is Beta(1, 2), mean 1/3 and variance 1/18; two entries have covariance -1/36.
    np.testing.assert_allclose(rows.mean(0), 1 / 3, atol=0.01)
    np.testing.assert_allclose(np.cov(rows.T), np.full((3, 3), -1 / 36) + np.eye(3) / 12, atol=0.003)


def test_chains_start_and_stay_in_the_stationary_distribution():
    batch = first_chains(2, 4000)
    # By hand for two states: pi_0 = p_10 / (p_01 + p_10).
    transition = batch["transition"]
    stationary = transition[:, 1, 0] / (transition[:, 0, 1] + transition[:, 1, 0])
    for t in (0, 1, 50, 99):
        is_zero = batch["tokens"][:, t] == 0
        assert abs(is_zero.mean() - stationary.mean()) < 0.03
        # The first state follows its own chain's distribution, not the average one.
        assert np.corrcoef(is_zero, stationary)[0, 1] > 0.4


def test_transitions_have_the_stated_frequencies():
    batch = first_chains(3, 2000)
    np.testing.assert_array_equal(batch["tokens"][:, 1:], batch["targets"][:, :-1])
    differences = []
    for state in range(3):
        is_state = batch["tokens"] == state
        counts = is_state.sum(1)
        shares = (is_state & (batch["targets"] == 0)).sum(1)[counts >= 30] / counts[counts >= 30]
        differences.append(shares - batch["transition"][counts >= 30, state, 0])
    assert abs(np.concatenate(differences).mean()) < 0.005


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


def test_reference_losses_equal_counting_by_hand_and_are_those_of_the_predictions():
    batch = first_chains(3, 5)
    losses, predictions = jax.jit(lambda b: (markov.reference_losses(b), markov.reference_predictions(b)))(batch)
    for i in range(5):
        slow = slow_reference_losses(batch["tokens"][i], batch["targets"][i], batch["transition"][i].astype(float))
        for name, values in slow.items():
            np.testing.assert_allclose(losses[name][i], values, rtol=1e-4, err_msg=name)
    for name, predicted_BTK in predictions.items():
        np.testing.assert_allclose(predicted_BTK.sum(-1), 1, atol=1e-5)
        of_targets_BT = np.take_along_axis(np.asarray(predicted_BTK), batch["targets"][..., None], -1)[..., 0]
        np.testing.assert_allclose(losses[name], -np.log(of_targets_BT), rtol=1e-5)


@pytest.mark.parametrize(
    ("num_states", "name", "mean", "last"),
    [
        (2, "uniform", 0.693, 0.693),
        (2, "unigram", 0.578, 0.566),
        (2, "bigram", 0.511, 0.4905),
        (2, "true", 0.481, 0.481),
        (3, "uniform", 1.099, 1.099),
        (3, "unigram", 1.003, 0.988),
        (3, "bigram", 0.886, 0.846),
        (3, "true", 0.818, 0.818),
    ],
)
def test_bayes_losses_are_those_of_the_setting(num_states, name, mean, last):
    """Means over positions and at the last one, in nats, as computed independently for T = 100."""
    measured_mean, measured_last = mean_losses(num_states)[name]
    assert abs(measured_mean - mean) < 0.004
    assert abs(measured_last - last) < 0.012


@pytest.mark.parametrize("num_states", [2, 4])
def test_doubly_stochastic_rows_make_all_states_alike(num_states):
    @jax.jit
    def draw(key):
        transition_BKK = markov.random_transitions(key, 4000, num_states, "doubly_stochastic")
        return transition_BKK, markov.stationary_distribution(transition_BKK[0])

    transition_BKK, stationary_K = jax.device_get(draw(jax.random.key(0)))
    np.testing.assert_allclose(transition_BKK.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(transition_BKK.sum(2), 1, atol=1e-6)
    np.testing.assert_allclose(transition_BKK.mean(0), 1 / num_states, atol=0.02)
    np.testing.assert_allclose(stationary_K, 1 / num_states, atol=1e-5)
    if num_states == 2:  # the probability to stay is uniform
        np.testing.assert_allclose(np.histogram(transition_BKK[:, 0, 0], 4, (0, 1))[0] / 4000, 0.25, atol=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "num_states=1 must be at least 2"),
        ((2, "stochastic"), "rows='stochastic' is not one of dirichlet, doubly_stochastic"),
        ((6, "doubly_stochastic"), "num_states=6 must be at most 5"),
    ],
)
def test_chains_that_do_not_exist_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        markov.check(*arguments)
