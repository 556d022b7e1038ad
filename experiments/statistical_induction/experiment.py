"""Statistical induction: which in-context predictors of a Markov chain does a Transformer pass through, and why?"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from data import markov
from experiments.statistical_induction.claims import CLAIMS
from experiments.statistical_induction.figures import figures
from experiments.statistical_induction.measures import PREDICTORS
from models.losses import token_losses
from models.transformer import Transformer, TransformerConfig
from probes import sites
from probes.attention_scores import prefix_matching_score
from training.config import setting
from training.experiment import Arm, Experiment, Loss, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key

PROBED_SEQUENCES = 64  # of the held-out ones, on which heads are scored at every evaluation


def edelman_optimizer():
    """The optimizer of Edelman et al. 2024 with a larger learning rate, which needs fewer steps."""
    return OptimizerConfig(learning_rate=0.01, weight_decay=0.1, b2=0.95)


@dataclass(frozen=True)
class Config:
    num_states: int = setting(2, "number of states of the chain, which are the tokens")
    rows: str = setting("dirichlet", "distribution of the transition matrix's rows: dirichlet or doubly_stochastic")
    context_length: int = setting(100, "tokens in a sequence")
    num_layers: int = setting(2, "number of layers")
    num_heads: int = setting(2, "number of heads in a layer")
    d_model: int = setting(32, "width of the residual stream")
    d_mlp: int = setting(64, "hidden width of the MLPs; 0: attention only")
    positions: str = setting("rotary", "position scheme: none, learned, sinusoidal, rotary or alibi")
    seed: int = setting(0, "seed of the first run; --num_seeds=N trains seed, seed+1, ...")
    num_steps: int = setting(1200, "number of training steps")
    batch_size: int = setting(64, "sequences in a training step")
    eval_batch_size: int = setting(256, "sequences in an evaluation")
    eval_every: int = setting(10, "steps between evaluations")
    checkpoint_every: int = setting(400, "steps between checkpoints")
    optimizer: OptimizerConfig = field(default_factory=edelman_optimizer)


def arms(config):
    """Every arm: the number of states, how transition matrices are drawn, and whether there are MLPs."""
    return {
        "two_states": Arm(task, {"num_states": 2, "rows": "dirichlet"}),
        "three_states": Arm(task, {"num_states": 3, "rows": "dirichlet"}),
        "doubly_stochastic": Arm(task, {"num_states": 2, "rows": "doubly_stochastic"}),
        "three_doubly_stochastic": Arm(task, {"num_states": 3, "rows": "doubly_stochastic"}),
        "attention_only": Arm(task, {"num_states": 3, "rows": "dirichlet", "d_mlp": 0}),
    }


def task(config):
    """A Transformer trained on Markov chains, each sequence with a transition matrix of its own."""
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

    def draw(key, size):
        return markov.markov(key, size, config.context_length, config.num_states, config.rows)

    held_out = draw(key(0, "evaluation"), config.eval_batch_size)

    def loss(variables, batch, rngs):
        losses_BT = token_losses(model.apply(variables, batch["tokens"]), batch["targets"])
        return Loss(losses_BT.sum(), jnp.float32(losses_BT.size))

    def evaluate(variables):
        logits_BTV = model.apply(variables, held_out["tokens"])
        losses_BT = token_losses(logits_BTV, held_out["targets"])
        measured = {"loss": losses_BT, "accuracy": logits_BTV.argmax(-1) == held_out["targets"]}
        for name, reference_losses_BT in markov.reference_losses(held_out).items():
            measured[f"{name}_loss"] = reference_losses_BT
        log_BTV = jax.nn.log_softmax(logits_BTV)
        for name, p_BTV in markov.reference_predictions(held_out).items():
            if name in PREDICTORS:
                measured[f"kl_to_{name}"] = jnp.sum(p_BTV * (jnp.log(p_BTV) - log_BTV), -1)
        return {name: (jnp.sum(x_BT), jnp.float32(losses_BT.size)) for name, x_BT in measured.items()}

    def probe(variables):
        tokens_BT = held_out["tokens"][:PROBED_SEQUENCES]
        observe = {"*/pattern": lambda pattern_BHQK: jnp.diagonal(pattern_BHQK, -1, 2, 3).mean((0, 2))}
        _, previous_H = sites.apply(model, variables, tokens_BT, observe=observe)
        previous_LH = jnp.stack([previous_H[f"layer_{layer}/attention/pattern"] for layer in range(config.num_layers)])
        return {"previous_token_score": previous_LH} | prefix_matching_score(model, variables, tokens_BT)

    return Task(
        model=model,
        init=lambda init_key: model.init(init_key, held_out["tokens"][:1]),
        batch=lambda seed, step: draw(key(seed, "batch", step), config.batch_size),
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps),
        evaluate=evaluate,
        probe=probe,
    )


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=("two_states", "three_states", "doubly_stochastic"),
    claims=CLAIMS,
    figures=figures,
)
