"""The classifier of Chen and Manning: its equation, its groups of slots, its tables, its start and its gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.dependency_parser import classifier
from experiments.dependency_parser.classifier import Classifier, ClassifierConfig, score_from_tables, tabulate

B, D, F, K = 6, 5, 7, 9
COUNTS = {"num_words": 11, "num_tags": 4, "num_labels": 5}  # more words than D, and no more tags and labels
CONFIG = ClassifierConfig(**COUNTS, num_transitions=K, d_embed=D, d_hidden=F, dropout=0.5)
random = np.random.default_rng(0)
IDS = tuple(
    jnp.asarray(random.integers(0, count, (B, slots))) for count, slots in zip((11, 4, 5), (18, 18, 12), strict=True)
)


def make(**options):
    """(module, variables with every parameter random)."""
    module = Classifier(dataclasses.replace(CONFIG, **options))
    shapes = jax.eval_shape(module.init, jax.random.key(0), *IDS)
    generator = np.random.default_rng(1)
    return module, jax.tree.map(lambda x: jnp.asarray(0.3 * generator.normal(size=x.shape), jnp.float32), shapes)


ACTIVATIONS = {"relu": lambda x: np.maximum(x, 0), "cube": lambda x: x**3, "tanh": np.tanh}


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("num_hidden", [1, 2])
def test_the_equation_of_the_paper(activation, num_hidden):
    module, variables = make(activation=activation, num_hidden=num_hidden)
    p = jax.tree.map(np.asarray, variables["params"])
    embeddings = [p["word_embed"], p["tag_embed"], p["label_embed"]]
    h = np.concatenate([embed[ids].reshape(B, -1) for embed, ids in zip(embeddings, IDS, strict=True)], axis=1)
    for i in range(num_hidden):
        h = ACTIVATIONS[activation](h @ p[f"hidden_{i}"]["kernel"] + p[f"hidden_{i}"]["bias"])
    expected_BK = h @ p["transitions"]["kernel"] + p["transitions"]["bias"]
    np.testing.assert_allclose(module.apply(variables, *IDS), expected_BK, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("limit", "products"), [(0, {"word", "tag", "label"}), (18 * 11 * F - 1, {"word"}), (2**26, set())]
)
@pytest.mark.parametrize("options", [{}, {"num_hidden": 2, "activation": "tanh"}, {"use_tags": False}])
def test_tables_give_the_same_logits(monkeypatch, limit, products, options):
    monkeypatch.setattr(classifier, "TABLE_NUMBERS", limit)
    module, variables = make(**options)
    tables = tabulate(module.config, variables)
    assert set(tables.products) == products & set(module.config.groups)
    logits_BK = score_from_tables(module.config, tables, *IDS)
    np.testing.assert_allclose(logits_BK, module.apply(variables, *IDS), rtol=1e-5, atol=1e-5)


def test_leading_axes_may_be_any():
    module, variables = make()
    logits_BK = module.apply(variables, *IDS)
    folded = [ids.reshape(2, 3, -1) for ids in IDS]
    np.testing.assert_allclose(module.apply(variables, *folded).reshape(B, K), logits_BK, rtol=1e-5, atol=1e-6)
    by_tables = score_from_tables(module.config, tabulate(module.config, variables), *folded)
    np.testing.assert_allclose(by_tables.reshape(B, K), logits_BK, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_group_left_out_changes_nothing_and_has_no_parameters(group):
    name = ("word", "tag", "label")[group]
    others = [*IDS]
    others[group] = (others[group] + 1) % (11, 4, 5)[group]
    module, variables = make()
    assert np.abs(module.apply(variables, *others) - module.apply(variables, *IDS)).max() > 1e-2
    module, variables = make(**{f"use_{name}s": False})
    np.testing.assert_array_equal(module.apply(variables, *others), module.apply(variables, *IDS))
    assert f"{name}_embed" not in variables["params"]
    slots = 48 - (18, 18, 12)[group]
    assert variables["params"]["hidden_0"]["kernel"].shape == (slots * D, F)


def test_every_slot_has_its_own_weights():
    module, variables = make()
    apply = jax.jit(module.apply)
    before_BK = apply(variables, *IDS)
    seen = []
    for group, count in enumerate((11, 4, 5)):
        for slot in range(IDS[group].shape[1]):
            changed = [*IDS]
            changed[group] = changed[group].at[:, slot].set((changed[group][:, slot] + 1) % count)
            seen.append(np.asarray(apply(variables, *changed) - before_BK))
    assert len(seen) == 48
    assert min(np.abs(change).max() for change in seen) > 1e-3
    assert len({change.tobytes() for change in seen}) == 48


@pytest.mark.parametrize(("initializer", "deviation"), [("xavier", (2 / (48 * 50 + 200)) ** 0.5), ("normal", 1.0)])
def test_initial_weights(initializer, deviation):
    config = ClassifierConfig(11, 4, 5, 75, initializer=initializer)
    params = jax.jit(Classifier(config).init)(jax.random.key(0), *IDS)["params"]
    np.testing.assert_allclose(params["hidden_0"]["kernel"].std(), deviation, rtol=0.01)
    assert not params["hidden_0"]["bias"].any()


def test_gradients_reach_every_parameter_and_are_those_of_finite_differences():
    module, variables = make(activation="tanh", num_hidden=2)
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)
        total = jax.jit(lambda v: jnp.sum(jnp.sin(module.apply(v, *IDS))))
        gradient = jax.jit(jax.grad(total))(variables)
        assert all(jnp.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(gradient))
        generator = np.random.default_rng(2)
        direction = jax.tree.map(lambda x: generator.normal(size=x.shape), variables)
        ahead, behind = (
            total(jax.tree.map(lambda x, d, s=sign: x + s * 1e-5 * d, variables, direction)) for sign in (1, -1)
        )
        along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)))
        np.testing.assert_allclose((ahead - behind) / 2e-5, along, rtol=1e-6)


def test_dropout_is_on_only_where_asked():
    module, variables = make()
    still_BK = module.apply(variables, *IDS)
    noisy_BK = module.apply(variables, *IDS, deterministic=False, rngs={"dropout": jax.random.key(0)})
    assert np.abs(noisy_BK - still_BK).max() > 1e-2


def test_seeds_at_once_are_seeds_one_by_one():
    module = Classifier(CONFIG)
    keys = jax.random.split(jax.random.key(0), 3)

    def logits(key):
        variables = module.init(key, *IDS)
        tables = tabulate(CONFIG, variables)
        return module.apply(variables, *IDS), score_from_tables(CONFIG, tables, *IDS)

    together, alone = jax.jit(jax.vmap(logits))(keys), jax.jit(logits)
    for seed, key in enumerate(keys):
        for ours, theirs in zip(together, alone(key), strict=True):
            np.testing.assert_allclose(ours[seed], theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"d_hidden": 0}, "d_hidden=0 must be at least 1"),
        ({"activation": "cubic"}, "'cubic' is not one of .*relu.*cube"),
        ({"initializer": "zeros"}, "initializer='zeros' is not one of xavier, normal"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"use_words": False, "use_tags": False, "use_labels": False}, "set one of them to True"),
    ],
)
def test_a_wrong_config_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(CONFIG, **options)


def test_a_wrong_number_of_slots_is_refused():
    with pytest.raises(ValueError, match="a state has 12 labels, not 18"):
        Classifier(CONFIG).init(jax.random.key(0), IDS[0], IDS[1], IDS[1])
