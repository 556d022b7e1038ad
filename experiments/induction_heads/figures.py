"""The figures of the report. Those of one model show the first seed."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.induction_heads.measures import FORMED, HEAD_INPUTS, rise_steps
from experiments.induction_heads.sequences import context_length, longest_period
from probes import ablation, sites
from probes.attention_scores import stripe_chance
from probes.induction import HEAD_SETS, block_length
from reporting.figures import attention_patterns, curves, heatmap
from reporting.heads import score_curves, spelled
from training.step import key

SHOWN_TOKENS, SHOWN_PERIOD = 25, 8  # of the sequence on which patterns are shown
SHOWN_ROLES = ((0, "previous_token_score"), (1, "induction_score"))  # (layer, score) whose best head is shown


def figures(results):
    """The figures of the report, for whatever arms were run."""
    models = {arm: result for arm, result in results.items() if result.model is not None}
    on_repeats = {arm: result for arm, result in models.items() if result.config.data == "repeats"}
    all_figures = [training_curves(models)] if models else []
    examined_arm = next((arm for arm, result in on_repeats.items() if "path_patch_key" in result.examined), None)
    if examined_arm:
        all_figures += examination(on_repeats, examined_arm)
    return all_figures


def training_curves(results):
    """Accuracy and loss of all arms over training, the transition of two_layer marked."""
    if any(result.config.data == "markov" for result in results.values()):
        metrics = {"accuracy": "accuracy", "loss (nats)": "loss"}
    else:
        metrics = {
            "accuracy on determined positions": "induction_accuracy",
            "loss (nats) on determined positions": "induction_loss",
        }
    panels = []
    for label, metric in metrics.items():
        by_arm = {arm: (result.evaluation.steps, result.evaluation[metric].T) for arm, result in results.items()}
        panels.append((label, by_arm))
    caption = "What each arm reaches in the same number of steps."
    transition = transition_of_two_layer(results)
    if transition:
        caption += " The band runs from 10 to 90 % of two_layer's rise."
    return curves(
        "Accuracy and loss over training",
        caption,
        "training step",
        panels,
        marks=transition,
        references=known_losses(results),
    )


def transition_of_two_layer(results):
    """{label: (first step, last step)} of its rise, a mean over seeds; empty where not all seeds made it."""
    result = results.get("two_layer")
    if result is None or result.config.data != "repeats" or result.final["induction_accuracy"].min() <= FORMED:
        return {}
    low, _, high = rise_steps(result).mean(0)
    return {"transition of two_layer": (low, high)}


def known_losses(results):
    """{panel: {predictor: loss}} of what is known of Markov chains; empty for repeats."""
    last = next(iter(results.values())).final
    if "true_loss" not in last:
        return {}
    return {"loss (nats)": {name: last[f"{name}_loss"].mean() for name in ("uniform", "unigram", "bigram", "true")}}


def examination(results, arm):
    """The figures of one examined arm of at least two layers: its heads over training, and taken apart at the end."""
    result = results[arm]
    low, _, high = rise_steps(result).mean(0)
    scores = {name: result.probes[name] for _, name in SHOWN_ROLES}
    chance = stripe_chance(block_length(context_length(result.config)))
    first_seed = {name: values[0] for name, values in result.examined.items()}
    return [
        score_curves(arm, result.probes.steps, scores, chance, {f"transition of {arm}": (low, high)}),
        winning_patterns(results, arm),
        head_ablation(arm, first_seed),
        role_ablation(arm, first_seed),
        composition_figure(arm, first_seed),
        path_patching(arm, first_seed),
        logit_attribution(arm, first_seed),
        decoding_curves(arm, result.examined["previous_token_decoded"], longest_period(result.config)),
    ]


def winning_patterns(results, arm):
    """Patterns of the best head of each role on one sequence, those of the hand-wired heads beside them."""
    config = results[arm].config
    bos = config.repeats.vocab_size
    length = min(context_length(config), SHOWN_TOKENS)
    period = min(SHOWN_PERIOD, (length - 1) // 2, bos)
    block = jax.random.permutation(key(0, "shown"), bos)[:period].tolist()
    ids = [bos, *(block[t % period] for t in range(length - 1))]
    patterns = {}
    for name in [arm, "hand_wired"] if "hand_wired" in results else [arm]:
        result = results[name]
        variables = jax.tree.map(lambda x: x[0], result.variables)
        observe = {"*/pattern": lambda pattern_BHQK: pattern_BHQK[0]}
        _, first_patterns = sites.apply(result.model, variables, jnp.array([ids]), observe=observe)
        for layer, role in SHOWN_ROLES:
            head = int(result.examined[role][0, layer].argmax())
            label = f"{name}, head {layer}.{head}, best {spelled(role)}"
            patterns[label] = np.asarray(first_patterns[f"layer_{layer}/attention/pattern"][head])
    return attention_patterns(
        "What the winning heads attend to",
        f"BOS and a block of {period} distinct tokens, repeated. A previous-token head looks one position back; an "
        "induction head finds the earlier occurrence of its own token and looks at what followed it.",
        ["BOS" if i == bos else str(i) for i in ids],
        patterns,
    )


def head_ablation(arm, examined):
    """The accuracy that is left without each head, by kind of ablation; ``examined`` is {name: array} of one seed."""
    layers, heads = head_labels(examined)
    return heatmap(
        f"Ablating one head of {arm} at a time",
        "Accuracy on determined positions without that head. Where no head is missed, the role is shared.",
        {spelled(kind): examined[f"accuracy_without_head/{kind}"] for kind in ablation.ABLATION_KINDS},
        layers,
        heads,
        "layer",
        "head",
        "accuracy without the head",
        limits=(0.0, 1.0),
    )


def role_ablation(arm, examined):
    """The accuracy that is left without all heads of a role, by kind of ablation."""
    counts = {role: int(examined[f"is_{role}_head"].sum()) for role in ("previous_token", "induction", "other")}
    # A set of others is complete where there are as many others as heads of the role.
    complete = [
        name in counts or counts["other"] >= counts[name.removeprefix("others_as_many_as_")] for name in HEAD_SETS
    ]
    accuracies = [
        np.where(complete, examined[f"accuracy_without_set/{kind}"], np.nan) for kind in ablation.ABLATION_KINDS
    ]
    return heatmap(
        f"Ablating all heads of a role in {arm}",
        "Accuracy on determined positions. Pattern-preserving ablation removes what a head writes and keeps every "
        "attention pattern: previous-token heads act on later patterns, induction heads by what they write. "
        f"{counts['previous_token']} heads count as previous-token heads, {counts['induction']} as induction heads, "
        f"{counts['other']} as neither. Sets are crossed out where there are too few other heads to compare with.",
        np.stack(accuracies, axis=1),
        [spelled(name).replace("others as many as ", "others, for ") for name in HEAD_SETS],
        ["patterns kept" if kind == "pattern_preserving" else kind for kind in ablation.ABLATION_KINDS],
        "heads removed",
        "kind of ablation",
        "accuracy",
        limits=(0.0, 1.0),
    )


def composition_figure(arm, examined):
    """Composition of the heads of the first two layers."""
    first, second = pair_labels(examined)
    mean, deviation = examined["composition_baseline_mean"], examined["composition_baseline_deviation"]
    scores = {kind: (examined[f"{kind}_composition"][0, :, 1] - mean) / deviation for kind in HEAD_INPUTS}
    return heatmap(
        f"Composition of heads in {arm}",
        "How much of what a first-layer head writes a second-layer head's queries, keys and values read: standard "
        "deviations above random matrices of the same shapes.",
        {f"{kind} composition": scores_HH for kind, scores_HH in scores.items()},
        first,
        second,
        "first-layer head, writes",
        "second-layer head, reads",
        "SDs above random",
        diverging=True,
    )


def path_patching(arm, examined):
    """What is gained by restoring one path between heads of the first two layers."""
    first, second = pair_labels(examined)
    return heatmap(
        f"Path patching in {arm}",
        "Every second token of the first block is replaced; then what one first-layer head writes into one "
        "second-layer head's queries, keys or values is restored. Gain in log-probability of the right token.",
        {f"into {kind}": examined[f"path_patch_{kind}"][0, :, 1] for kind in HEAD_INPUTS},
        first,
        second,
        "first-layer head, writes",
        "second-layer head, reads",
        "gain (nats)",
        diverging=True,
    )


def logit_attribution(arm, examined):
    """What each head adds to the right token's logit."""
    layers, heads = head_labels(examined)
    return heatmap(
        f"Direct logit attribution in {arm}",
        "What each head adds to the right token's logit, above the vocabulary's mean, on determined positions. "
        f"The embedding adds {examined['logit_from_embedding']:.2f}.",
        examined["logit_from_heads"],
        layers,
        heads,
        "layer",
        "head",
        "logits",
        diverging=True,
    )


def head_labels(examined):
    """Names of the layers and of the heads in a layer."""
    L, H = examined["induction_score"].shape
    return [f"layer {layer}" for layer in range(L)], [f"head {head}" for head in range(H)]


def pair_labels(examined):
    """Names of the heads of the first layer, and of those of the second."""
    H = examined["induction_score"].shape[1]
    return [f"0.{head}" for head in range(H)], [f"1.{head}" for head in range(H)]


def decoding_curves(arm, accuracy_SLT, longest_block):
    """Accuracy [S, L + 1, T - 2] of the linear probe for the previous token, by position and depth."""
    positions = 2 + np.arange(accuracy_SLT.shape[-1])
    depths = ["the embedding", *(f"after layer {layer}" for layer in range(accuracy_SLT.shape[1] - 1))]
    series = {depth: (positions, accuracy_SLT[:, i]) for i, depth in enumerate(depths)}
    return curves(
        f"Where the stream of {arm} carries the previous token",
        "A linear probe for the token before, fitted at each depth of the stream over all positions: test accuracy by "
        "position. Induction heads look for a token's first occurrence, which lies in the first block; later "
        "positions need not be marked, and training leaves them unmarked.",
        "position",
        [("accuracy of the linear probe", series)],
        marks={"a first block can reach": longest_block},
    )
