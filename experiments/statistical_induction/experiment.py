"""Statistical induction: which in-context predictors of a Markov chain does a Transformer pass through, and why?"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from data import markov
from models.losses import token_losses
from models.transformer import Transformer, TransformerConfig
from probes import sites
from probes.attention_scores import prefix_matching_score
from reporting.claims import Stated, by_id, judge_all
from reporting.figures import curves
from training.config import setting
from training.experiment import Experiment, Loss, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key

REFERENCES = ("uniform", "unigram", "bigram")  # in the order in which they should come


def edelman_optimizer():
    """Edelman et al.'s, but for a larger learning rate, which needs fewer steps."""
    return OptimizerConfig(learning_rate=0.01, weight_decay=0.1, b2=0.95)


@dataclass(frozen=True)
class Config:
    num_states: int = setting(2, "states of the chain, which are the tokens")
    rows: str = setting("dirichlet", "of the transition matrix: dirichlet or doubly_stochastic")
    context_length: int = setting(100, "tokens a sequence")
    num_layers: int = setting(2, "attention layers")
    num_heads: int = setting(2, "heads a layer")
    d_model: int = setting(32, "width of the residual stream")
    d_mlp: int = setting(64, "hidden width of the MLPs; 0: attention only")
    positions: str = setting("rotary", "none, learned, sinusoidal, rotary or alibi")
    seed: int = setting(0, "of the first of the seeds")
    num_steps: int = setting(1200, "training steps")
    batch_size: int = setting(64, "sequences a step")
    eval_batch_size: int = setting(256, "sequences of an evaluation")
    eval_every: int = setting(10, "steps between evaluations")
    checkpoint_every: int = setting(400, "steps between checkpoints")
    optimizer: OptimizerConfig = field(default_factory=edelman_optimizer)


def arms(config):
    """Every arm, as what it changes in the config."""
    return {
        "two_states": {"num_states": 2, "rows": "dirichlet"},
        "three_states": {"num_states": 3, "rows": "dirichlet"},
        "doubly_stochastic": {"num_states": 2, "rows": "doubly_stochastic"},
        "three_doubly_stochastic": {"num_states": 3, "rows": "doubly_stochastic"},
        "attention_only": {"num_states": 3, "rows": "dirichlet", "d_mlp": 0},
    }


def task(config):
    markov.check(config.num_states, config.rows)
    model = Transformer(
        TransformerConfig(
            vocab_size=config.num_states,
            context_length=config.context_length,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            d_model=config.d_model,
            d_mlp=config.d_mlp,
            positions=config.positions,
        )
    )

    def chains(key, size):
        return markov.markov(key, size, config.context_length, config.num_states, config.rows)

    held_out = chains(key(0, "evaluation"), config.eval_batch_size)

    def loss(variables, batch, rngs):
        losses_BT = token_losses(model.apply(variables, batch["tokens"]), batch["targets"])
        return Loss(losses_BT.sum(), jnp.float32(losses_BT.size))

    def evaluate(variables):
        logits_BTV = model.apply(variables, held_out["tokens"])
        losses_BT = token_losses(logits_BTV, held_out["targets"])
        measured = {"loss": losses_BT, "accuracy": logits_BTV.argmax(-1) == held_out["targets"]}
        measured |= {f"{name}_loss": x for name, x in markov.reference_losses(held_out).items()}
        log_BTV = jax.nn.log_softmax(logits_BTV)
        for name, p_BTV in markov.reference_predictions(held_out).items():
            if name in REFERENCES:
                measured[f"kl_to_{name}"] = jnp.sum(p_BTV * (jnp.log(p_BTV) - log_BTV), -1)
        return {name: (jnp.sum(x), jnp.float32(losses_BT.size)) for name, x in measured.items()}

    def probe(variables):
        tokens_BT = held_out["tokens"][:64]
        observe = {"*/pattern": lambda pattern_BHQK: jnp.diagonal(pattern_BHQK, -1, 2, 3).mean((0, 2))}
        _, seen = sites.apply(model, variables, tokens_BT, observe=observe)
        previous_LH = jnp.stack([seen[f"layer_{layer}/attention/pattern"] for layer in range(config.num_layers)])
        return {"previous_token_score": previous_LH} | prefix_matching_score(model, variables, tokens_BT)

    return Task(
        model=model,
        init=lambda key: model.init(key, held_out["tokens"][:1]),
        batch=lambda seed, step: chains(key(seed, "batch", step), config.batch_size),
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps),
        evaluate=evaluate,
        probe=probe,
    )


# --- What the claims are made of. N evaluations, S seeds.

CLOSE = 0.01  # nats, of the final loss above the Bayes predictor's
PASSED = 0.02  # nats, of the Kullback-Leibler divergence from a predictor that is passed through
HALF = 0.5


def divergences(result):
    """KL divergences [3, N, S] of the model's predictions from those of REFERENCES, in nats a token."""
    return np.stack([result.evaluation[f"kl_to_{name}"] for name in REFERENCES])


def closest_steps(result):
    """The steps [3, S] at which the model was closest to each of REFERENCES."""
    return result.evaluation.steps[divergences(result).argmin(1)]


def least(name):
    """Measures how close [S] the model ever came to a reference, in nats."""
    return lambda result: result.evaluation[f"kl_to_{name}"].min(0)


def steps_between(earlier, later):
    """Measures the steps [S] from the closest approach to one reference to that to another."""

    def measure(result):
        closest = dict(zip(REFERENCES, closest_steps(result), strict=True))
        return closest[later] - closest[earlier]

    return measure


def plateau(result):
    """The steps [S] of the run during which the unigram predictor is the nearest of REFERENCES."""
    nearest_NS = divergences(result).argmin(0)
    lasted_N = np.diff(result.evaluation.steps, append=result.evaluation.steps[-1])
    return (nearest_NS == REFERENCES.index("unigram")).astype(float).T @ lasted_N


def arrival(result):
    """The step [S], interpolated, at which the loss first was halfway from the better of the predictors that know no
    transitions (uniform, unigram) to the bigram predictor's; NaN where it never was."""
    found = []
    for seed, loss_N in enumerate(result.evaluation["loss"].T):
        without = min(result.final[f"{name}_loss"][seed] for name in ("uniform", "unigram"))
        halfway = (without + result.final["bigram_loss"][seed]) / 2
        below = np.flatnonzero(loss_N <= halfway)
        around = slice(below[0] - 1, below[0] + 1) if below.size and below[0] else None
        steps_N = result.evaluation.steps
        found.append(np.interp(-halfway, -loss_N[around], steps_N[around]) if around else np.nan)
    return np.array(found)


def above_bigram(result):
    return result.final["loss"] - result.final["bigram_loss"]


def ratio_of(measure):
    """The measure of one arm over that of another, or why there is none."""

    def measure_or_reason(numerator, denominator):
        least = measure(denominator)
        return measure(numerator) / least if least.all() else "there is nothing to compare with: it is 0 steps"

    return measure_or_reason


STATED = [
    claim
    for number, (arm, states) in enumerate((("two_states", "two"), ("three_states", "three")), start=1)
    for claim in (
        Stated(
            f"{number}a",
            f"{states} states: first near uniform, then near the unigram predictor: steps between the two",
            (arm,),
            steps_between("uniform", "unigram"),
            {"above": 0.0},
        ),
        Stated(
            f"{number}b",
            f"{states} states: then near the bigram predictor: steps from the unigram predictor to it",
            (arm,),
            steps_between("unigram", "bigram"),
            {"above": 0.0},
        ),
        Stated(
            f"{number}c",
            f"{states} states: the unigram predictor is passed, not skirted: least divergence from it (nats)",
            (arm,),
            least("unigram"),
            {"at_most": PASSED},
        ),
        Stated(
            f"{number}d",
            f"{states} states: for some time it is the nearest of the three (steps)",
            (arm,),
            plateau,
            {"above": 0.0},
        ),
        Stated(
            f"{number}e",
            f"{states} states: the final loss is the add-one bigram predictor's: difference (nats)",
            (arm,),
            above_bigram,
            {"at_most": CLOSE},
        ),
    )
] + [
    Stated(
        "3a",
        "doubly stochastic rows make the unigram predictor useless, and its plateau shrinks: steps, over two_states'",
        ("doubly_stochastic", "two_states"),
        ratio_of(plateau),
        {"at_most": HALF},
    ),
    Stated(
        "3b",
        "the transitions are then learnt sooner: step of half the gain, over two_states'",
        ("doubly_stochastic", "two_states"),
        ratio_of(arrival),
        {"below": 1.0},
    ),
]


def claims(results):
    """Claims 1 to 3 of experiments/statistical_induction/README.md."""
    return sorted(judge_all(STATED, results), key=by_id)


# --- Figures.


def figures(results):
    """The figures of the report, for whatever arms were run."""
    found = []
    for arm, result in results.items():
        steps = result.evaluation.steps
        series = {name: (steps, result.evaluation[f"kl_to_{name}"].T) for name in REFERENCES}
        known = {name: result.final[f"{name}_loss"].mean() for name in (*REFERENCES, "true")}
        heads = {
            f"{name}, layer {layer}": (steps, result.probes[score][:, :, layer].max(-1).T)
            for name, score in (
                ("previous token", "previous_token_score"),
                ("after the same token", "prefix_matching_sum"),
            )
            for layer in range(result.config.num_layers)
        }
        panels = [("KL divergence (nats)", series), ("loss (nats)", {"model": (steps, result.evaluation["loss"].T)})]
        found.append(
            curves(
                f"{arm}: the predictors it passes",
                "Left: how far the model's predictions are from each predictor's. Middle: its loss, against theirs. "
                "Right: the greatest attention of a head to the previous token, and to tokens that followed an earlier "
                "occurrence of the current one.",
                "training step",
                [*panels, ("attention", heads)],
                references={"loss (nats)": known},
                log_x=True,
                log_y=["KL divergence (nats)"],
            )
        )
    return found


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=("two_states", "three_states", "doubly_stochastic"),
    task=task,
    claims=claims,
    figures=figures,
)
