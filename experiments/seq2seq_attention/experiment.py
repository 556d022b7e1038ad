"""Translation with attention: what the pixels of an alignment mean, and what a single vector cannot carry."""

import functools
from dataclasses import dataclass, field

import jax.numpy as jnp

from data import tokenizers
from data.buckets import bucket_batch
from experiments.seq2seq_attention.claims import CLAIMS
from experiments.seq2seq_attention.corpus import FILES, GENERATED, Pairs, chunk, read_corpus
from experiments.seq2seq_attention.evaluation import EVALUATION_BUCKETS, sum_batch, sum_split
from experiments.seq2seq_attention.figures import figures
from experiments.seq2seq_attention.lines import make_line_translator
from experiments.seq2seq_attention.measures import measure_translator, write_test_set
from models import encoder_decoder, seq2seq
from models.attention_loop import SCORES
from models.encoder_decoder import EncoderDecoderConfig
from models.losses import switch_losses
from models.seq2seq import Seq2SeqConfig
from training.config import fill_in, setting
from training.experiment import Arm, Experiment, Loss, Preset, Task
from training.optimizer import OptimizerConfig, adamw

EVALUATIONS = 12  # of a run


def adam_optimizer():
    """Adam without weight decay."""
    return OptimizerConfig(learning_rate=None, warmup_steps=50, weight_decay=0.0, clip=1.0)


@dataclass(frozen=True)
class Config:
    corpus: str = setting(GENERATED, "generated, files, copy, reverse, permutation, or the name of a TFDS data set")
    source: str = setting("", "file of the source lines to train on, .gz too; or a feature of the TFDS data set")
    target: str = setting("", "file of their translations, line by line; or a feature of the TFDS data set")
    validation_source: str = setting("", "source lines for validation; default: the file beside the training file")
    validation_target: str = setting("", "translations for validation; default: the file beside the training file")
    test_source: str = setting("", "source lines for testing; default: the file beside the training file")
    test_target: str = setting("", "translations for testing; default: the file beside the training file")
    vocab_size: int = setting(4000, "subwords of files and data sets, one vocabulary for both languages")
    context_length: int = setting(
        64, "most tokens, the end included, of a sentence in training and for sample.py; longer pairs are left out"
    )
    train_pairs: int = setting(20000, "training pairs of a generated corpus")
    validation_pairs: int = setting(
        500, "validation pairs: of a generated corpus, or at most, where there is no file of them"
    )
    test_pairs: int = setting(1000, "test pairs: of a generated corpus, or at most, where there is no file of them")
    shortest: int = setting(6, "shortest sentence of the tasks copy and reverse")
    longest: int = setting(10, "longest sentence of these, and length of all of the task permutation")
    num_buckets: int = setting(3, "lengths to which training pairs are padded; each is compiled")
    d_embed: int = setting(128, "width of embeddings, and of the Transformer")
    d_hidden: int = setting(128, "width of the decoder's state, and of the encoder's two directions together")
    d_attention: int = setting(128, "width in which additive attention compares")
    num_layers: int = setting(2, "layers of the Transformer's encoder and of its decoder")
    num_heads: int = setting(4, "heads of each attention of the Transformer")
    dropout: float = setting(
        0.0, "dropout rate of embeddings and of what the softmax reads; of the Transformer's layers"
    )
    label_smoothing: float = setting(0.0, "share of a training target's probability that is spread over all words")
    beam_size: int = setting(1, "hypotheses of the search for test translations; 1 is greedy")
    seed: int = setting(0, "seed of the first run; --num_seeds=N trains seed, seed+1, ...")
    num_steps: int | None = setting(None, "training steps; default: as many as the arm is meant to take")
    batch_size: int = setting(64, "sentence pairs in a training step")
    eval_every: int | None = setting(None, "steps between evaluations; default: a twelfth of the run")
    checkpoint_every: int | None = setting(None, "steps between checkpoints; default: half of the run")
    optimizer: OptimizerConfig = field(default_factory=adam_optimizer)


def arms(config):
    """Every arm: the function that makes it, and what it changes in the config."""
    translation = settings_of_run(config, num_steps=700, learning_rate=5e-3)
    transformer = settings_of_run(config, num_steps=700, learning_rate=2e-3)
    sequence = settings_of_run(config, num_steps=350, learning_rate=5e-3)
    return {
        "additive": Arm(task_of("additive"), translation),
        "dot": Arm(task_of("dot"), translation),
        "general": Arm(task_of("general"), translation),
        "none": Arm(task_of("none"), translation),
        "word_values": Arm(task_of("word_values"), translation),
        "transformer": Arm(task_of("transformer"), transformer),
        "random_weights": Arm(functools.partial(translation_task, "additive", is_trained=False), translation),
        "copy": Arm(task_of("additive"), sequence | {"corpus": "copy"}),
        "reverse": Arm(task_of("additive"), sequence | {"corpus": "reverse"}),
        # One order for all sentences, so all have one length.
        "permutation": Arm(task_of("additive"), sequence | {"corpus": "permutation", "shortest": config.longest}),
    }


def task_of(translator):
    """What makes the task of an arm that trains one of TRANSLATORS."""
    return functools.partial(translation_task, translator, is_trained=True)


def settings_of_run(config, num_steps, learning_rate):
    """{field: value} of a run that is meant to take so many steps, where the config leaves them open."""
    steps = num_steps if config.num_steps is None else config.num_steps
    eval_every = max(steps // EVALUATIONS, 1)
    settings = {
        "num_steps": steps,
        "eval_every": eval_every,
        "checkpoint_every": max(steps // 2, eval_every),
        "optimizer.learning_rate": learning_rate,
    }
    return fill_in(config, settings)


def recurrent_translator(config, vocab_size, score, values="states"):
    """Two GRUs, with attention between them or without."""
    return seq2seq.translator(
        Seq2SeqConfig(
            vocab_size,
            d_embed=config.d_embed,
            d_hidden=config.d_hidden,
            d_attention=config.d_attention,
            score=score,
            values=values,
            dropout=config.dropout,
        )
    )


def transformer_translator(config, vocab_size):
    """A Transformer's encoder and decoder."""
    return encoder_decoder.translator(
        EncoderDecoderConfig(
            vocab_size,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            d_model=config.d_embed,
            d_mlp=2 * config.d_embed,
            dropout=config.dropout,
        )
    )


# (config, vocabulary's size) -> models.translator.Translator
TRANSLATORS = {
    **{score: functools.partial(recurrent_translator, score=score) for score in SCORES},
    "word_values": functools.partial(recurrent_translator, score="additive", values="words"),
    "transformer": transformer_translator,
}


def translation_task(translator_name, config, is_trained):
    """A Task of one of TRANSLATORS, which learns from the training pairs, or keeps the weights that it starts with."""
    corpus = read_corpus(config)
    if not 0 <= config.label_smoothing < 1:
        raise ValueError(f"label_smoothing={config.label_smoothing} must lie in [0, 1)")
    if not 1 <= config.beam_size <= corpus.tokenizer.vocab_size:
        raise ValueError(
            f"beam_size={config.beam_size} must be at least 1 and at most {corpus.tokenizer.vocab_size}, the tokens of "
            "the vocabulary"
        )
    translator, end = TRANSLATORS[translator_name](config, corpus.tokenizer.vocab_size), corpus.end

    def batch(seed, step, data):
        examples_B, bucket = bucket_batch(corpus.buckets, seed, step, config.batch_size)
        pairs = Pairs(*(x[examples_B] for x in data["train"]))
        return {"pairs": pairs, "bucket": jnp.full(config.batch_size, bucket)}

    def loss_of_lengths(lengths):
        S, T = lengths

        def loss(params, pairs, rngs):
            pairs = pairs._replace(source=pairs.source[:, :S], target=pairs.target[:, :T])
            rngs = rngs if config.dropout else {}
            sums = sum_batch(translator, end, {"params": params}, pairs, rngs, config.label_smoothing)
            return sums.loss, (sums.correct, sums.words)

        return loss

    losses = [loss_of_lengths(lengths) for lengths in corpus.buckets.lengths]

    def loss(variables, batch, rngs):
        total, (correct, words) = switch_losses(batch["bucket"][0], losses, variables["params"], batch["pairs"], rngs)
        return Loss(total, words, {"accuracy": (correct, words)})

    def evaluate(variables, data):
        sums = sum_split(translator, end, variables, data["validation"])
        return {"loss": (sums.loss, sums.words), "accuracy": (sums.correct, sums.words)}

    return Task(
        model=translator.model,
        init=translator.init,
        batch=batch,
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps) if is_trained else None,
        accumulate=config.optimizer.accumulate,
        evaluate=evaluate,
        measure=functools.partial(measure_translator, config, corpus, translator),
        outputs=lambda variables, examined: write_test_set(corpus, examined),
        data={
            "train": corpus.pairs["train"],
            "validation": tuple(
                bucket.pairs for bucket in chunk(corpus.pairs["validation"], EVALUATION_BUCKETS, corpus.context_length)
            ),
        },
        files={tokenizers.FILE: tokenizers.dumps(corpus.tokenizer)},
        facts=corpus.facts,
    )


# For real text: a wider and more regularised model, for ten minutes on two cores.
MULTI30K = {
    "corpus": FILES,
    "d_hidden": 256,
    "num_buckets": 4,
    "dropout": 0.1,
    "label_smoothing": 0.1,
    "num_steps": 3000,
    "eval_every": 750,
    "beam_size": 5,
    "optimizer.learning_rate": 4e-3,
}

EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=(
        "additive",
        "word_values",
        "none",
        "random_weights",
        "copy",
        "reverse",
        "permutation",
    ),
    claims=CLAIMS,
    figures=figures,
    presets={
        "multi30k": Preset(
            MULTI30K,
            ("additive",),
            "English to French in ten minutes: give the training files as config.source and config.target",
        ),
    },
    translator=lambda trained: make_line_translator(trained, TRANSLATORS.get(trained.arm, TRANSLATORS["additive"])),
)
