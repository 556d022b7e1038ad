"""The whole examination of a model for induction heads: every probe of this folder, put to one question.

Axes: B sequences, T time, V vocabulary, L layers, H heads, N sets of heads.
"""

import jax
import jax.numpy as jnp

from models.losses import token_losses
from probes import ablation, circuits
from probes.attention_scores import (
    copying_score,
    olsson_block_length,
    prefix_matching_score,
    repeated_tokens,
    stripe_chance,
    stripe_scores,
)
from probes.attribution import direct_logit_attribution
from probes.linear_probe import previous_token_probe
from probes.patching import path_patch

# How far above uniform attention's score a head stands that is called a previous-token or an induction head.
PREVIOUS_OVER_CHANCE, INDUCTION_OVER_CHANCE = 3.0, 5.0
# Heads that are ablated together. Of others, as many as have the role, for comparison.
HEAD_SETS = ("previous_token", "induction", "others_as_many_as_previous_token", "others_as_many_as_induction")
# Inputs of later heads out of which previous-token heads are cut.
CUT_INPUTS = (("key",), ("query", "value"))


def block_length(context_length):
    """Tokens of a block r, so that [BOS, r, r] fits the context."""
    return (context_length - 1) // 2


def two_copies(key, size, context_length, num_tokens, bos):
    """Sequences [BOS, r, r] for ``stripe_scores``."""
    return repeated_tokens(key, size, block_length(context_length), 2, num_tokens, bos)


def score_over_chance(scores_LH, score, context_length):
    """The best head's score on ``two_copies``, over that of uniform attention.

    Args:
      scores_LH: of ``stripe_scores``, [..., L, H]; heads of every layer in it count.
      score: its name, "previous_token_score" or "induction_score".
    Returns:
      [...].
    """
    return scores_LH.max((-2, -1)) / stripe_chance(block_length(context_length))[score]


def random_sequences(key, size, context_length, num_tokens, bos):
    """Sequences for the head scores, all made of the same random blocks r.

    Returns:
      {"two_copies": [BOS, r, r] for stripe scores; "four_copies" and "one_block": [BOS, s, s, s, s] and s, with s the
      beginning of r, for prefix matching and copying}.
    """
    two_BT = two_copies(key, size, context_length, num_tokens, bos)
    short_BT = two_BT[:10, 1 : 1 + olsson_block_length(context_length)]
    four_BT = jnp.concatenate([two_BT[:10, :1], jnp.tile(short_BT, (1, 4))], axis=1)
    return {"two_copies": two_BT, "four_copies": four_BT, "one_block": short_BT}


def examine_heads(model, variables, num_tokens, bos, key):
    """What each head attends to and copies, on final parameters.

    Args:
      num_tokens, bos: random tokens are ids 0 ... num_tokens - 1; ``bos`` begins each sequence.
    Returns:
      {name: array}, [L, H] for each score of a head; see the functions called.
    """
    T = model.config.context_length
    tokens = random_sequences(key, 32, T, num_tokens, bos)
    return {
        **stripe_scores(model, variables, tokens["two_copies"], block_length(T)),
        **prefix_matching_score(model, variables, tokens["four_copies"]),
        "copying_score": copying_score(model, variables, tokens["one_block"]),
        "ov_copying_score": circuits.ov_copying_score(variables["params"]),
    }


def examine_circuits(model, variables, batch, scores, num_tokens, bos, key):
    """What the ability needs, for a model of at least two layers: heads, paths between them, their weights.

    Args:
      batch: {"tokens", "targets", "determined" [B, T]}: the ability shows at the determined positions. A quarter of
        the sequences serves to measure it, all but the first third to fit the linear probe, the first third to test it.
      scores: of ``stripe_scores``.
      num_tokens, bos: as in ``examine_heads``.
    Returns:
      {name: array}; accuracies and losses (nats) are on determined positions, [L, H] without each head and [N] without
      each of ``HEAD_SETS``; pairs of heads are [L writes, H, L reads, H]. See the functions called.
    """
    tokens_BT, third = batch["tokens"], len(batch["tokens"]) // 3
    decoded_LT = previous_token_probe(model, variables, tokens_BT[third:], tokens_BT[:third], num_tokens)
    batch = jax.tree.map(lambda x: x[: len(x) // 4], batch)
    weight_BT = batch["determined"].astype(jnp.float32)
    attributed = direct_logit_attribution(model, variables, batch["tokens"], batch["targets"], weight_BT)
    roles = head_roles(scores, stripe_chance(block_length(model.config.context_length)))
    gains = restore_paths(model, variables, num_tokens, bos, key)
    return {
        "previous_token_decoded": decoded_LT,
        **{f"logit_from_{part}": logits for part, logits in attributed.items()},
        **{f"is_{role}_head": mask_LH for role, mask_LH in roles.items()},
        **ablate_roles(model, variables, batch, roles),
        **measure_compositions(variables["params"], key),
        **{f"path_patch_{kind}": gain_LHLH for kind, gain_LHLH in gains.items()},
    }


def ablate_roles(model, variables, batch, roles):
    """What is left on determined positions without each head, without ``HEAD_SETS`` and with paths cut.

    Args:
      batch: as in ``examine_circuits``.
      roles: of ``head_roles``.
    Returns:
      {"accuracy" or "loss" + "_without_head/KIND" [L, H] and "_without_set/KIND" [N], for each kind of ablation;
      "accuracy_without_path/INPUTS", a scalar for each of ``CUT_INPUTS``}.
    """
    L, H, tokens_BT = model.config.num_layers, model.config.num_heads, batch["tokens"]
    ablated_NLH = jnp.concatenate([jnp.eye(L * H).reshape(-1, L, H), role_sets(roles)])

    def score(logits_BTV):
        return determined_scores(logits_BTV, batch)

    left = {}
    for kind in ablation.ABLATION_KINDS:
        scores = ablation.ablate_sets(model, variables, tokens_BT, score, 1 - ablated_NLH, kind)
        for name, values_N in scores.items():
            left[f"{name}_without_head/{kind}"] = values_N[: L * H].reshape(L, H)
            left[f"{name}_without_set/{kind}"] = values_N[L * H :]
    for inputs in CUT_INPUTS:
        logits_BTV = ablation.cut_paths(model, variables, tokens_BT, 1 - roles["previous_token"], inputs)
        left[f"accuracy_without_path/{'_'.join(inputs)}"] = score(logits_BTV)["accuracy"]
    return left


def measure_compositions(params, key):
    """What the weights alone say of pairs of heads, {name: array}: composition, K-composition accuracy, QK traces."""
    mean, deviation = circuits.composition_baseline(key, params)
    matched = circuits.k_composition_accuracy(params)
    return {
        **{f"{kind}_composition": pairs_LHLH for kind, pairs_LHLH in circuits.composition_scores(params).items()},
        "composition_baseline_mean": mean,
        "composition_baseline_deviation": deviation,
        "k_composition_accuracy": matched["pairs"],
        "k_composition_accuracy_of_layer": matched["sum"],
        "qk_trace": circuits.qk_trace(params),
    }


def restore_paths(model, variables, num_tokens, bos, key):
    """{kind of input: gain [L, H, L, H]} in log-probability (nats) where one path of corrupted sequences is restored.

    See ``corrupt`` for the sequences and ``path_patch`` for the paths.
    """
    clean_BT = two_copies(key, 32, model.config.context_length, num_tokens, bos)
    corrupted_BT, weight_T = corrupt(key, clean_BT, num_tokens)

    def log_probability(logits_BTV):
        return jnp.average(-token_losses(logits_BTV[:, :-1], clean_BT[:, 1:]).mean(0), weights=weight_T)

    return path_patch(model, variables, clean_BT, corrupted_BT, log_probability)


def determined_scores(logits_BTV, batch):
    """Accuracy and mean loss (nats) over the determined positions of a batch."""
    weight_BT = batch["determined"] / batch["determined"].sum()
    right_BT = logits_BTV.argmax(-1) == batch["targets"]
    losses_BT = token_losses(logits_BTV, batch["targets"])
    return {
        "accuracy": jnp.sum(right_BT & batch["determined"]) / jnp.sum(batch["determined"]),
        "loss": jnp.sum(losses_BT * weight_BT),
    }


def head_roles(scores, chance):
    """Masks [L, H] of previous-token heads (in any layer but the last), induction heads (but the first), and others.

    Args:
      scores, chance: of ``stripe_scores`` and ``stripe_chance``.
    """
    L = scores["induction_score"].shape[0]
    layer_L1 = jnp.arange(L)[:, None]
    previous = scores["previous_token_score"] >= PREVIOUS_OVER_CHANCE * chance["previous_token_score"]
    induction = scores["induction_score"] >= INDUCTION_OVER_CHANCE * chance["induction_score"]
    previous, induction = previous & (layer_L1 < max(L - 1, 1)), induction & (layer_L1 > 0)
    masks = {"previous_token": previous, "induction": induction, "other": ~previous & ~induction}
    return {role: mask.astype(jnp.float32) for role, mask in masks.items()}


def role_sets(roles):
    """Masks [N, L, H] of ``HEAD_SETS``: each role's heads, and as many of the others, the first in order of layers."""
    others = roles["other"].ravel()

    def as_many(role):
        return (others * (jnp.cumsum(others) <= roles[role].sum())).reshape(roles["other"].shape)

    return jnp.stack([roles["previous_token"], roles["induction"], as_many("previous_token"), as_many("induction")])


def corrupt(key, clean_BT, num_tokens):
    """Sequences [BOS, r, r] with every second token of the first copy replaced, and the positions that lose by it.

    The tokens that follow the replaced ones stay: what differs is only what the first layer wrote there of the past.

    Returns:
      (tokens [B, T], weights [T - 1], 1 at the queries of the second copy whose first occurrence was replaced).
    """
    T = clean_BT.shape[1]
    position_T = jnp.arange(T)
    replaced_T = (position_T >= 1) & (position_T < block_length(T)) & (position_T % 2 == 1)
    shift_BT = jax.random.randint(key, clean_BT.shape, 1, num_tokens)
    corrupted_BT = jnp.where(replaced_T, (clean_BT + shift_BT) % num_tokens, clean_BT)
    return corrupted_BT, jnp.roll(replaced_T, block_length(T))[:-1].astype(jnp.float32)
