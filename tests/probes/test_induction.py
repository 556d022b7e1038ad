"""The examination: roles, sets, cuts and corruptions, on the hand-wired model and on random weights."""

import jax
import numpy as np
import pytest
from attention_models import hand_wired
from random_models import compute_logits

from experiments.induction_heads import repeats
from probes import ablation, induction
from probes.attention_scores import stripe_chance

V, T = 10, 21


@pytest.fixture(scope="module")
def model_and_variables():
    return hand_wired(V + 1, T)


@pytest.fixture(scope="module")
def batch():
    return jax.device_get(jax.jit(lambda key: repeats.repeats(key, 24, T, V, 3, 10))(jax.random.key(0)))


@pytest.fixture(scope="module")
def examine_heads(model_and_variables):
    model, _ = model_and_variables
    return jax.jit(lambda variables: induction.examine_heads(model, variables, V, V, jax.random.key(1)))


@pytest.fixture(scope="module")
def examined(model_and_variables, examine_heads, batch):
    model, variables = model_and_variables

    @jax.jit
    def examine_circuits(variables, scores):
        return induction.examine_circuits(model, variables, batch, scores, V, V, jax.random.key(2))

    scores = examine_heads(variables)
    return jax.device_get(scores | examine_circuits(variables, scores))


def test_the_hand_wired_heads_are_found_and_each_does_its_part(examined):
    np.testing.assert_array_equal(examined["is_previous_token_head"], [[1], [0]])
    np.testing.assert_array_equal(examined["is_induction_head"], [[0], [1]])
    assert examined["ov_copying_score"][1, 0] > 0.99
    assert examined["accuracy_without_head/zero"].max() < 0.5
    np.testing.assert_allclose(examined["accuracy_without_head/pattern_preserving"][:, 0], [1, 0], atol=0.3)
    assert examined["accuracy_without_path/key"] < 0.5
    assert examined["accuracy_without_path/query_value"] == 1.0
    assert examined["path_patch_key"][0, 0, 1, 0] > 5
    assert abs(examined["path_patch_query"][0, 0, 1, 0]) < 1e-3
    assert examined["previous_token_decoded"][1].mean() > 0.95


def test_random_weights_have_no_roles(model_and_variables, examine_heads):
    rng = np.random.default_rng(3)
    _, variables = model_and_variables
    noise = jax.tree.map(lambda x: (0.1 * rng.standard_normal(x.shape)).astype(np.float32), variables)
    roles = induction.head_roles(examine_heads(noise), stripe_chance(induction.block_length(T)))
    assert roles["other"].all()


def test_the_best_head_of_the_given_layers_is_held_against_uniform_attention():
    scores_SLH = np.array([[[0.9, 0.1], [0.2, 0.3]], [[0.0, 0.1], [0.5, 0.2]]])
    for score, chance in stripe_chance(induction.block_length(T)).items():
        over_chance = induction.score_over_chance(scores_SLH, score, T)
        np.testing.assert_allclose(over_chance, np.array([0.9, 0.5]) / chance)
        of_second_layer = induction.score_over_chance(scores_SLH[:, 1:], score, T)
        np.testing.assert_allclose(of_second_layer, np.array([0.3, 0.5]) / chance)


def test_roles_keep_to_their_layers_and_sets_count_their_others():
    chance = {"previous_token_score": 0.1, "induction_score": 0.1}
    scores = {
        "previous_token_score": np.array([[0.9, 0.1, 0.1], [0.9, 0.1, 0.1]]),
        "induction_score": np.array([[0.9, 0.1, 0.1], [0.1, 0.6, 0.1]]),
    }
    roles = jax.jit(lambda scores: induction.head_roles(scores, chance))(scores)
    np.testing.assert_array_equal(roles["previous_token"], [[1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(roles["induction"], [[0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(roles["other"], [[0, 1, 1], [1, 0, 1]])
    sets = dict(zip(induction.HEAD_SETS, np.asarray(jax.jit(induction.role_sets)(roles)), strict=True))
    np.testing.assert_array_equal(sets["others_as_many_as_induction"], [[0, 1, 0], [0, 0, 0]])


def test_cutting_no_head_changes_nothing_and_cutting_everything_is_ablation(model_and_variables, batch):
    model, variables = model_and_variables
    tokens_BT = batch["tokens"]

    @jax.jit
    def cut(keep_LH):
        return ablation.cut_paths(model, variables, tokens_BT, keep_LH, ("query", "key", "value"))

    intact_BTV = compute_logits(model, variables, tokens_BT)
    np.testing.assert_allclose(cut(np.ones((2, 1), np.float32)), intact_BTV, atol=1e-4)
    # Without the first head in any input of the second, only its direct way to the logits is left: it writes to a part
    # of the stream that the unembedding does not read.
    keep_LH = np.array([[0], [1]], np.float32)
    ablate = jax.jit(lambda keep_LH: ablation.ablated_logits(model, variables, tokens_BT, keep_LH, kind="zero"))
    np.testing.assert_allclose(cut(keep_LH), ablate(keep_LH), atol=1e-4)


def test_corruption_replaces_every_second_token_of_the_first_copy_only():
    @jax.jit
    def draw(key):
        clean_BT = induction.two_copies(key, 5, T, V, bos=V)
        return clean_BT, *induction.corrupt(key, clean_BT, V)

    clean, corrupted, weight = jax.device_get(draw(jax.random.key(0)))
    block = induction.block_length(T)
    for t in range(T):
        replaced = 1 <= t < block and t % 2 == 1
        assert bool((clean[:, t] != corrupted[:, t]).all()) == replaced
        assert bool((clean[:, t] == corrupted[:, t]).all()) != replaced
    queries = [t for t in range(T - 1) if weight[t]]
    assert queries == [t + block for t in range(1, block) if t % 2 == 1]
    for row in clean:
        for t in queries:  # the token there stood at t - block, and what followed it is what comes next
            assert row[t] == row[t - block]
            assert row[t + 1] == row[t - block + 1]


def test_determined_scores_are_over_determined_positions_only(batch):
    perfect_BTV = 50 * np.eye(V + 1, dtype=np.float32)[batch["targets"]]
    wrong_elsewhere_BTV = np.where(batch["determined"][..., None], perfect_BTV, -perfect_BTV)
    score = jax.jit(induction.determined_scores)
    scores = score(wrong_elsewhere_BTV, batch)
    assert scores["accuracy"] == 1.0
    assert scores["loss"] < 1e-6
    assert score(-perfect_BTV, batch)["accuracy"] == 0.0
