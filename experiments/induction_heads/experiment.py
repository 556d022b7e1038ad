"""Induction heads: what a Transformer needs in order to complete [A][B] ... [A] -> [B], and when it learns to."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from data import markov
from experiments.induction_heads import invariance, repeats
from experiments.induction_heads.hand_wired import induction_config, induction_params
from models.losses import token_losses
from models.transformer import POSITIONS, SHARDING, Transformer, TransformerConfig
from probes import sites
from probes.ablation import KINDS
from probes.attention_scores import (
    in_context_learning_positions,
    in_context_learning_score,
    prefix_matching_score,
    stripe_chance,
    stripe_scores,
)
from probes.induction import (
    INDUCTION_OVER_CHANCE,
    PREVIOUS_OVER_CHANCE,
    SETS,
    block_length,
    determined_scores,
    examine_circuits,
    examine_heads,
    two_copies,
)
from reporting import heads
from reporting.claims import Stated, by_id, judge, judge_all
from reporting.figures import attention_patterns, curves
from training.config import setting
from training.experiment import Experiment, Loss, Preset, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key

DATA = ("repeats", "markov")


@dataclass(frozen=True)
class RepeatsConfig:
    vocab_size: int = setting(64, "tokens, BOS not counted")
    min_period: int = setting(8, "shortest block")
    max_period: int | None = setting(None, "longest block; default: half the context, at most vocab_size")


@dataclass(frozen=True)
class MarkovConfig:
    num_states: int = setting(2, "states of the chain, which are the tokens")


@dataclass(frozen=True)
class Config:
    data: str = setting("repeats", "repeats: a block of distinct tokens, repeated; markov: a fresh chain a sequence")
    repeats: RepeatsConfig = field(default_factory=RepeatsConfig)
    markov: MarkovConfig = field(default_factory=MarkovConfig)
    context_length: int | None = setting(None, "tokens a sequence; default: 64 for repeats, 100 for markov")
    weights: str = setting("trained", "trained, or hand_wired: written down, see hand_wired.py")
    num_layers: int = setting(2, "attention layers")
    num_heads: int = setting(4, "heads a layer")
    d_model: int = setting(64, "width of the residual stream")
    d_mlp: int = setting(0, "hidden width of the MLPs; 0: attention only")
    positions: str = setting("learned", "none, learned, sinusoidal, rotary or alibi")
    norm: str = setting("none", "none or layernorm")
    tied_unembedding: bool = setting(False, "whether the unembedding is the token embedding")
    dropout: float = setting(0.0, "on the embedding and on what layers write")
    dtype: str = setting("float32", "of the computation")
    seed: int = setting(0, "of the first of the seeds")
    num_steps: int = setting(1000, "training steps")
    batch_size: int = setting(64, "sequences a step")
    eval_batch_size: int = setting(128, "sequences of an evaluation")
    eval_every: int = setting(25, "steps between evaluations")
    checkpoint_every: int = setting(250, "steps between checkpoints")
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


def arms(config):
    """Every arm, as what it changes in the config."""
    wide = -(-config.d_model * 3 // 2 // config.num_heads) * config.num_heads
    tokens = config.repeats.vocab_size + 1
    return {
        "two_layer": {"num_layers": 2},
        "one_layer": {"num_layers": 1},
        "one_layer_wide": {"num_layers": 1, "d_model": wide},
        "hand_wired": {
            "weights": "hand_wired",
            "num_layers": 2,
            "num_heads": 1,
            "d_model": 2 * tokens + context_length(config),
            "positions": "learned",
        },
        "with_mlp": {"num_layers": 2, "d_mlp": 4 * config.d_model},
        "no_positions": {"num_layers": 2, "positions": "none"},
        "learned": {"num_layers": 2, "positions": "learned"},
        "sinusoidal": {"num_layers": 2, "positions": "sinusoidal"},
        "rotary": {"num_layers": 2, "positions": "rotary"},
        "alibi": {"num_layers": 2, "positions": "alibi"},
    }


def context_length(config):
    return config.context_length or {"repeats": 64, "markov": 100}.get(config.data, 64)


def longest_period(config):
    """Tokens of the longest block."""
    if config.repeats.max_period is not None:
        return config.repeats.max_period
    return min(context_length(config) // 2, config.repeats.vocab_size)


def transformer(config):
    """The arm's model."""
    tokens = config.markov.num_states if config.data == "markov" else config.repeats.vocab_size + 1
    if config.weights == "hand_wired":
        return Transformer(induction_config(tokens, context_length(config), config.dtype))
    return Transformer(
        TransformerConfig(
            vocab_size=tokens,
            context_length=context_length(config),
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            d_model=config.d_model,
            d_mlp=config.d_mlp,
            positions=config.positions,
            norm=config.norm,
            bias=config.norm != "none",
            tied_unembedding=config.tied_unembedding,
            dropout=config.dropout,
            dtype=config.dtype,
        )
    )


def sequences(config, key, size):
    """A batch of the config's data; raises ValueError where its settings do not fit together."""
    length = context_length(config)
    if config.data == "markov":
        markov.check(config.markov.num_states)
        return markov.markov(key, size, length, config.markov.num_states)
    if config.data != "repeats":
        raise ValueError(f"data={config.data!r} is not one of {', '.join(DATA)}")
    r = config.repeats
    longest = longest_period(config)
    repeats.check(r.vocab_size, length, r.min_period, longest)
    return repeats.repeats(key, size, length, r.vocab_size, r.min_period, longest)


def task(config):
    model = transformer(config)
    held_out = sequences(config, key(0, "evaluation"), config.eval_batch_size)
    length, num_tokens = context_length(config), config.repeats.vocab_size
    trained = config.weights == "trained"

    def init(key):
        return model.init(key, held_out["tokens"][:1]) if trained else {"params": induction_params(model.config)}

    def loss(variables, batch, rngs):
        logits_BTV = model.apply(variables, batch["tokens"], deterministic=False, rngs=rngs)
        losses_BT = token_losses(logits_BTV, batch["targets"])
        return Loss(losses_BT.sum(), jnp.float32(losses_BT.size))

    def evaluate(variables):
        logits_BTV = model.apply(variables, held_out["tokens"])
        losses_BT = token_losses(logits_BTV, held_out["targets"])
        right_BT = logits_BTV.argmax(-1) == held_out["targets"]
        everywhere_BT = jnp.ones_like(losses_BT)
        sums = {"loss": (losses_BT, everywhere_BT), "accuracy": (right_BT, everywhere_BT)}
        if config.data == "repeats":
            sums["induction_loss"] = (losses_BT, held_out["determined"])
            sums["induction_accuracy"] = (right_BT, held_out["determined"])
        else:
            known = markov.reference_losses(held_out)
            sums |= {f"{name}_loss": (losses, everywhere_BT) for name, losses in known.items()}
        return {name: (jnp.sum(x * weight), jnp.sum(weight)) for name, (x, weight) in sums.items()}

    def probe(variables):
        losses_T = token_losses(model.apply(variables, held_out["tokens"]), held_out["targets"]).mean(0)
        late, early = in_context_learning_positions(length)
        found = {"in_context_learning_score": in_context_learning_score(losses_T, late, early)}
        if config.data == "markov":
            return found | prefix_matching_score(model, variables, held_out["tokens"][:64])
        tokens_BT = two_copies(key(0, "head scores"), 16, length, num_tokens, bos=num_tokens)
        return found | stripe_scores(model, variables, tokens_BT, block_length(length))

    def examine(variables):
        if config.data == "markov":
            return {}
        found = examine_heads(model, variables, num_tokens, num_tokens, key(0, "head scores"))
        if not trained or config.num_layers < 2:
            return found
        batch = sequences(config, key(0, "examination"), 384)
        return found | examine_circuits(model, variables, batch, found, num_tokens, num_tokens, key(0, "circuits"))

    return Task(
        model=model,
        init=init,
        batch=lambda seed, step: sequences(config, key(seed, "batch", step), config.batch_size),
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps) if trained else None,
        accumulate=config.optimizer.accumulate,
        sharding=SHARDING,
        evaluate=evaluate,
        probe=probe,
        examine=examine,
    )


# --- Claims. Which thresholds were planned, and which came after a first look, README.md says.

FORMED, UNFORMED = 0.99, 0.25  # accuracy on determined positions of a model that has, and has not, the ability
KEPT = 0.9  # the same after an ablation that should not matter
EXACT = 1e-12  # rounding in float64
DEVIATIONS = 2.0  # standard deviations above random matrices


def accuracy(result):
    return result.final["induction_accuracy"]


def rise_steps(result):
    """Steps [S, 3], interpolated, at which accuracy first was 10, 50 and 90 % of the way to its last value."""
    found = []
    for accuracy_N in result.evaluation["induction_accuracy"].T:
        way_N = (accuracy_N - accuracy_N[0]) / ((accuracy_N[-1] - accuracy_N[0]) or np.nan)
        for share in (0.1, 0.5, 0.9):
            i = max(int(np.argmax(way_N >= share)), 1)
            around = slice(i - 1, i + 1)
            found.append(np.interp(share, way_N[around], result.evaluation.steps[around]))
    return np.array(found).reshape(-1, 3)


def relative_rise(result):
    low, middle, high = rise_steps(result).T
    return (high - low) / middle


def rises_together(result):
    """Correlation [S] over evaluations of accuracy and of the best second-layer induction score."""
    best_NS = result.probes["induction_score"][:, :, 1].max(-1)
    pairs = zip(result.evaluation["induction_accuracy"].T, best_NS.T, strict=True)
    return [np.corrcoef(a, b)[0, 1] for a, b in pairs]


def best_over_chance(name, layer):
    def measure(result):
        chance = stripe_chance(block_length(context_length(result.config)))[name]
        return result.examined[name][:, layer].max(-1) / chance

    return measure


def without(heads, kind="zero"):
    """Measures accuracy [S] with a set of heads ablated; says why where there is no such set."""

    def measure(result):
        role = heads.removeprefix("others_as_many_as_")
        if "is_other_head" not in result.examined:
            return "needs a model of two layers"
        size_S = result.examined[f"is_{role}_head"].sum((1, 2))
        others_S = result.examined["is_other_head"].sum((1, 2))
        if not size_S.all():
            return f"no head counts as {role.replace('_', '-')} head"
        if heads != role and (others_S < size_S).any():
            return f"all but {others_S.min():.0f} heads have a role; {size_S.max():.0f} others would be needed"
        return result.examined[f"accuracy_without_set/{kind}"][:, SETS.index(heads)]

    return measure


def of_roles(measure):
    """The measure, or why it cannot be taken where no head has one of the two roles."""

    def measure_or_reason(result):
        for role in ("previous_token", "induction"):
            reason = without(role)(result)
            if isinstance(reason, str):
                return reason
        return measure(result)

    return measure_or_reason


def composition(result):
    """{kind: composition [S] of previous-token heads with induction heads, in SDs above random matrices}."""
    pairs = np.einsum("slh,smg->slhmg", result.examined["is_previous_token_head"], result.examined["is_induction_head"])
    mean, deviation = (result.examined[f"composition_baseline_{x}"] for x in ("mean", "deviation"))
    found = {}
    for kind in ("key", "query", "value"):
        scores = np.nan_to_num(result.examined[f"{kind}_composition"])
        found[kind] = ((scores * pairs).sum((1, 2, 3, 4)) / pairs.sum((1, 2, 3, 4)) - mean) / deviation
    return found


def composition_lead(result):
    by_kind = composition(result)
    return by_kind["key"] - np.maximum(by_kind["query"], by_kind["value"])


def examined(name, *index):
    return lambda result: result.examined[name][(slice(None), *index)]


def within_a_first_block(result):
    """How many of the linear probe's positions, 2 ... T-1, a first block can reach."""
    return longest_period(result.config) - 1


def of_repeats(measure):
    """The measure of an arm trained on repeats, or why it cannot be taken."""
    return lambda result: measure(result) if result.config.data == "repeats" else "needs --config.data=repeats"


STATED = [
    Stated("1", "two layers complete repeats: accuracy", ("two_layer",), accuracy, {"at_least": FORMED}),
    Stated(
        "2a",
        "one layer does not, in as many steps: accuracy",
        ("one_layer",),
        accuracy,
        {"at_most": UNFORMED},
    ),
    Stated(
        "2b",
        "nor does a wider one, with more parameters: accuracy",
        ("one_layer_wide",),
        accuracy,
        {"at_most": UNFORMED},
    ),
    Stated(
        "3a",
        "it comes at once: steps from 10 to 90 % over the step of 50 %",
        ("two_layer",),
        relative_rise,
        {"below": 0.6},
    ),
    Stated(
        "3b",
        "an induction head comes with it: correlation of the two",
        ("two_layer",),
        rises_together,
        {"at_least": 0.95},
    ),
    Stated(
        "4a",
        "a first-layer head attends to the previous token: best score over uniform attention's",
        ("two_layer",),
        best_over_chance("previous_token_score", 0),
        {"at_least": PREVIOUS_OVER_CHANCE},
    ),
    Stated(
        "4b",
        "a second-layer head attends to what followed before: best score over uniform attention's",
        ("two_layer",),
        best_over_chance("induction_score", 1),
        {"at_least": INDUCTION_OVER_CHANCE},
    ),
    Stated(
        "5a",
        "without its previous-token heads: accuracy",
        ("two_layer",),
        without("previous_token"),
        {"at_most": UNFORMED},
    ),
    Stated(
        "5b",
        "without its induction heads: accuracy",
        ("two_layer",),
        without("induction"),
        {"at_most": UNFORMED},
    ),
    Stated(
        "5c",
        "without as many other heads as previous-token heads: accuracy",
        ("two_layer",),
        without("others_as_many_as_previous_token"),
        {"at_least": KEPT},
    ),
    Stated(
        "5d",
        "without as many other heads as induction heads: accuracy",
        ("two_layer",),
        without("others_as_many_as_induction"),
        {"at_least": KEPT},
    ),
    Stated(
        "5e",
        "previous-token heads act on later patterns: ablated with all patterns kept, accuracy",
        ("two_layer",),
        without("previous_token", "pattern_preserving"),
        {"at_least": KEPT},
    ),
    Stated(
        "5f",
        "induction heads act by what they write: ablated with all patterns kept, accuracy",
        ("two_layer",),
        without("induction", "pattern_preserving"),
        {"at_most": UNFORMED},
    ),
    Stated(
        "5g",
        "previous-token heads cut out of later keys only: accuracy",
        ("two_layer",),
        of_roles(examined("accuracy_without_path/key")),
        {"at_most": UNFORMED},
    ),
    Stated(
        "5h",
        "the same heads cut out of later queries and values only: accuracy",
        ("two_layer",),
        of_roles(examined("accuracy_without_path/query_value")),
        {"at_least": KEPT},
    ),
    Stated(
        "6a",
        "the two kinds of heads K-compose: score above random matrices', in SDs",
        ("two_layer",),
        of_roles(lambda result: composition(result)["key"]),
        {"at_least": DEVIATIONS},
    ),
    Stated(
        "6b",
        "more than they Q- or V-compose: lead, in the same SDs",
        ("two_layer",),
        of_roles(composition_lead),
        {"at_least": DEVIATIONS},
    ),
    Stated("7c", "what training without positions reaches: accuracy", ("no_positions",), accuracy, {}),
    Stated(
        "8a",
        "hand-wired weights complete every repeat: accuracy",
        ("hand_wired",),
        accuracy,
        {"at_least": 1.0},
    ),
    Stated(
        "8b",
        "the wired previous-token head's score",
        ("hand_wired",),
        examined("previous_token_score", 0, 0),
        {"at_least": 0.99},
    ),
    Stated(
        "8c",
        "the wired induction head's score",
        ("hand_wired",),
        examined("induction_score", 1, 0),
        {"at_least": 0.99},
    ),
    Stated(
        "10a",
        "a linear probe reads the previous token in the stream after the first layer: accuracy",
        ("two_layer",),
        lambda result: result.examined["previous_token_decoded"][:, 1].mean(-1),
        {"at_least": 0.95},
    ),
    Stated(
        "10b",
        "the same at the positions that a first block can reach (stated after 10a had failed): accuracy",
        ("two_layer",),
        lambda result: result.examined["previous_token_decoded"][:, 1, : within_a_first_block(result)].mean(-1),
        {"at_least": 0.95},
    ),
    Stated(
        "10c",
        "and is at chance, one in the vocabulary, before that layer: accuracy",
        ("two_layer",),
        lambda result: result.examined["previous_token_decoded"][:, 0].mean(-1),
        {"at_most": 0.04},
    ),
]


def claims(results):
    """Claims 1 to 10 of experiments/induction_heads/README.md."""
    stated = [one._replace(measure=of_repeats(one.measure)) for one in STATED]
    return sorted(exact_claims() + judge_all(stated, results), key=by_id)


def exact_claims():
    """The claims that hold for any weights, tried on random ones, and those of the hand-wired weights at any size."""
    no_order = TransformerConfig(**invariance.SMALL | {"positions": "none", "causal": False})
    by_mask = invariance.causal_first_layer_token_only(key(0, "mask"))
    one_layer, two_layers = (
        [invariance.one_layer_score_change(layers, scheme, key(0, f"change {scheme}")) for scheme in POSITIONS]
        for layers in (1, 2)
    )
    apart = invariance.same_layer_independence(key(0, "independence"))
    return [
        judge(
            "7a",
            "attention without positions and mask is permutation-equivariant: error in float64",
            invariance.permutation_error(no_order, key(0, "permutation")),
            at_most=EXACT,
        ),
        judge(
            "7b",
            "with a causal mask, scores of a first layer without positions know tokens only: error in float64",
            by_mask["first_layer"],
            at_most=EXACT,
        ),
        judge(
            "8d",
            "hand-wired weights complete any sequence, at two more vocabularies and lengths: accuracy",
            min(hand_wired_accuracy(*size) for size in ((9, 18), (200, 24))),
            at_least=1.0,
        ),
        judge(
            "9a",
            "one layer cannot: replacing t_k changes no score from n, n+1 to k+1, in five position schemes: change",
            max(one_layer),
            at_most=0.0,
        ),
        judge("9b", "two layers can: the same replacement changes them: least change", min(two_layers), above=0.0),
        judge(
            "10d",
            "heads of one layer cannot read each other: change by new weights of another head",
            apart["same_layer"],
            at_most=0.0,
        ),
        judge("10e", "heads of the next layer can: least change by the same", apart["next_layer"], above=0.0),
    ]


def hand_wired_accuracy(vocab_size, length):
    """Accuracy on determined positions of weights wired for this vocabulary and context, blocks of any period."""
    model = Transformer(induction_config(vocab_size + 1, length))
    longest = min(length // 2, vocab_size)

    @jax.jit
    def measure(params):
        batch = repeats.repeats(key(0, "hand-wired"), 64, length, vocab_size, 2, longest)
        return determined_scores(model.apply({"params": params}, batch["tokens"]), batch)["accuracy"]

    return float(measure(induction_params(model.config)))


# --- Figures. Those of one model show the first seed.


def figures(results):
    """The figures of the report, for whatever arms were run."""
    found = [training_curves(results)]
    on_repeats = {arm: result for arm, result in results.items() if result.config.data == "repeats"}
    probed = next((arm for arm, r in on_repeats.items() if "path_patch_key" in r.examined), None)
    if not probed:
        return found
    result = on_repeats[probed]
    low, _, high = rise_steps(result).mean(0)
    chance = stripe_chance(block_length(context_length(result.config)))
    scores = {name: result.probes[name] for name in ("previous_token_score", "induction_score")}
    first_seed = {name: values[0] for name, values in result.examined.items()}
    return [
        *found,
        heads.score_curves(probed, result.probes.steps, scores, chance, {f"transition of {probed}": (low, high)}),
        winning_patterns(on_repeats, probed),
        *heads.examination(probed, first_seed, KINDS, SETS),
        heads.decoding_curves(probed, result.examined["previous_token_decoded"], longest_period(result.config)),
    ]


def training_curves(results):
    """Accuracy and loss of all arms over training, the transition of two_layer marked."""
    markov_data = any(result.config.data == "markov" for result in results.values())
    prefix, where = ("", "") if markov_data else ("induction_", " on determined positions")
    panels = [
        (label + where, {arm: (r.evaluation.steps, r.evaluation[prefix + name].T) for arm, r in results.items()})
        for name, label in (("accuracy", "accuracy"), ("loss", "loss (nats)"))
    ]
    references, marks = {}, {}
    if markov_data:
        last = next(iter(results.values())).final
        known = {name: last[f"{name}_loss"].mean() for name in ("uniform", "unigram", "bigram", "true")}
        references["loss (nats)"] = known
    elif "two_layer" in results and accuracy(results["two_layer"]).min() > FORMED:
        low, _, high = rise_steps(results["two_layer"]).mean(0)
        marks["transition of two_layer"] = (low, high)
    caption = "What each arm reaches in the same number of steps."
    if marks:
        caption += " The band runs from 10 to 90 % of two_layer's rise."
    title = "Accuracy and loss over training"
    return curves(title, caption, "training step", panels, marks=marks, references=references)


def winning_patterns(results, arm):
    """Patterns of the best head of each role on one sequence, those of the hand-wired heads beside them."""
    config = results[arm].config
    V = config.repeats.vocab_size
    length = min(context_length(config), 25)
    period = min(8, (length - 1) // 2, V)
    block = jax.random.permutation(key(0, "shown"), V)[:period].tolist()
    ids = [V, *(block[t % period] for t in range(length - 1))]
    patterns = {}
    for name in [arm] + ["hand_wired"] * ("hand_wired" in results):
        result = results[name]
        variables = jax.tree.map(lambda x: x[0], result.variables)
        observe = {"*/pattern": lambda pattern_BHQK: pattern_BHQK[0]}
        _, seen = sites.apply(result.model, variables, jnp.array([ids]), observe=observe)
        for layer, role in ((0, "previous_token_score"), (1, "induction_score")):
            head = int(result.examined[role][0, layer].argmax())
            label = f"{name}, head {layer}.{head}, best {heads.spelled(role)}"
            patterns[label] = np.asarray(seen[f"layer_{layer}/attention/pattern"][head])
    return attention_patterns(
        "What the winning heads attend to",
        f"BOS and a block of {period} distinct tokens, repeated. A previous-token head looks one position back; an "
        "induction head finds the earlier occurrence of its own token and looks at what followed it.",
        ["BOS" if i == V else str(i) for i in ids],
        patterns,
    )


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=("two_layer", "one_layer", "one_layer_wide", "hand_wired"),
    task=task,
    claims=claims,
    figures=figures,
    presets={
        "long": Preset({"num_steps": 5000}, ("one_layer", "one_layer_wide"), "one layer, five times the budget"),
    },
    watch=("induction_accuracy", 0.1),
)
