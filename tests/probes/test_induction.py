"""The examination: roles, sets, cuts and corruptions, on the hand-wired model and on random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.induction_heads import repeats
from experiments.induction_heads.hand_wired import induction_config, induction_params
from models.transformer import Transformer
from probes import ablation, induction
from probes.attention_scores import stripe_chance

V, T = 10, 21


@pytest.fixture(scope="module")
def hand_wired():
    config = induction_config(V + 1, T)
    return Transformer(config), {"params": induction_params(config)}


@pytest.fixture(scope="module")
def batch():
    return repeats.repeats(jax.random.key(0), 24, T, V, 3, 10)


@pytest.fixture(scope="module")
def examined(hand_wired, batch):
    model, variables = hand_wired

    @jax.jit
    def examine(variables):
        found = induction.examine_heads(model, variables, V, V, jax.random.key(1))
        return found | induction.examine_circuits(model, variables, batch, found, V, V, jax.random.key(2))

    return examine(variables)


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


def test_random_weights_have_no_roles(hand_wired, batch):
    model, variables = hand_wired
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    noise = [0.1 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    examine = jax.jit(lambda v: induction.examine_heads(model, v, V, V, jax.random.key(1)))
    found = examine(jax.tree.unflatten(tree, noise))
    roles = induction.head_roles(found, stripe_chance(induction.block_length(T)))
    assert roles["other"].all()


def test_roles_keep_to_their_layers_and_sets_count_their_others():
    chance = {"previous_token_score": 0.1, "induction_score": 0.1}
    scores = {
        "previous_token_score": jnp.array([[0.9, 0.1, 0.1], [0.9, 0.1, 0.1]]),
        "induction_score": jnp.array([[0.9, 0.1, 0.1], [0.1, 0.6, 0.1]]),
    }
    roles = induction.head_roles(scores, chance)
    np.testing.assert_array_equal(roles["previous_token"], [[1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(roles["induction"], [[0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(roles["other"], [[0, 1, 1], [1, 0, 1]])
    sets = dict(zip(induction.SETS, induction.role_sets(roles), strict=True))
    np.testing.assert_array_equal(sets["others_as_many_as_induction"], [[0, 1, 0], [0, 0, 0]])


def test_cutting_no_head_changes_nothing_and_cutting_everything_is_ablation(hand_wired, batch):
    model, variables = hand_wired
    tokens = batch["tokens"]
    clean = model.apply(variables, tokens)
    kept = ablation.cut_paths(model, variables, tokens, jnp.ones((2, 1)), ("query", "key", "value"))
    np.testing.assert_allclose(kept, clean, atol=1e-4)
    # Without the first head in any input of the second, only its direct way to the logits is left: it writes to a part
    # of the stream that the unembedding does not read.
    keep = jnp.array([[0.0], [1.0]])
    cut = ablation.cut_paths(model, variables, tokens, keep, ("query", "key", "value"))
    ablated = ablation.ablated_logits(model, variables, tokens, keep, kind="zero")
    np.testing.assert_allclose(cut, ablated, atol=1e-4)


def test_corruption_replaces_every_second_token_of_the_first_copy_only():
    clean = induction.two_copies(jax.random.key(0), 5, T, V, bos=V)
    corrupted, weight = induction.corrupted(jax.random.key(1), clean, V)
    block = induction.block_length(T)
    for t in range(T):
        replaced = 1 <= t < block and t % 2 == 1
        assert bool((clean[:, t] != corrupted[:, t]).all()) == replaced
        assert bool((clean[:, t] == corrupted[:, t]).all()) != replaced
    queries = [t for t in range(T - 1) if weight[t]]
    assert queries == [t + block for t in range(1, block) if t % 2 == 1]
    for row in np.asarray(clean):
        for t in queries:  # the token there stood at t - block, and what followed it is what comes next
            assert row[t] == row[t - block]
            assert row[t + 1] == row[t - block + 1]


def test_determined_scores_are_over_determined_positions_only(batch):
    perfect = 50.0 * jax.nn.one_hot(batch["targets"], V + 1)
    wrong_elsewhere = jnp.where(batch["determined"][..., None], perfect, -perfect)
    scores = induction.determined_scores(wrong_elsewhere, batch)
    assert scores["accuracy"] == 1.0
    assert scores["loss"] < 1e-6
    assert induction.determined_scores(-perfect, batch)["accuracy"] == 0.0
