"""Writes text with a trained language model, token by token.

python sample.py --checkpoint=runs/transformer_lm --prompt="def " --max_tokens=200
echo "import os" | python sample.py --checkpoint=runs/transformer_lm --prompt=- --num_samples=3 --top_p=.9
"""

import sys

from absl import flags

import experiments
from training import command
from training.experiment import UserError

FLAGS = flags.FLAGS
flags.DEFINE_string("checkpoint", None, "a workdir of train.py, an arm's folder in it, or one step's checkpoint")
flags.DEFINE_string("arm", None, "of a workdir with several arms; default: the first that was trained")
flags.DEFINE_string("prompt", "", "text to go on from; - reads it from standard input; default: a new line")
flags.DEFINE_integer("num_samples", 1, "texts to write", lower_bound=1)
flags.DEFINE_integer("max_tokens", 200, "tokens to write; past the end of the model's context its window slides", 1)
flags.DEFINE_float("temperature", 1.0, "logits are divided by it; 0: always the likeliest token")
flags.DEFINE_integer("top_k", None, "draw from the k likeliest tokens")
flags.DEFINE_float("top_p", None, "draw from the fewest tokens that hold this share of probability")
flags.DEFINE_float("min_p", None, "draw from the tokens at least this share as likely as the likeliest")
flags.DEFINE_float("typical_p", None, "draw from the most typical tokens that hold this share of probability")
flags.DEFINE_integer("seed", 0, "of the draws; every sample has a stream of its own")
for name in ("debug", *command.JAX_FLAGS):
    flags.declare_key_flag(name)
STRATEGY = ("temperature", "top_k", "top_p", "min_p", "typical_p")
UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # how a character decodes of which only the first bytes are there


def load(path, arm):
    """(tokenizer, decoder, variables) of a trained language model; of several seeds, the first."""
    import jax
    from flax import errors

    from data import tokenizers
    from training import checkpoint, config

    workdir, found, step = checkpoint.locate(path)
    record = checkpoint.read_run(workdir)
    experiment = experiments.load(record["experiment"])
    if not experiment.language_model:
        raise UserError(f"{workdir} is a run of {record['experiment']}, which trains no language model")
    arm = found or arm or next((name for name in record["arms"] if checkpoint.steps(workdir / name)), "")
    if arm not in record["arms"]:
        raise UserError(f"{workdir} has no trained arm {arm!r}{config.closest(arm, record['arms'])}")
    file = workdir / arm / "tokenizer.json"
    try:
        tokenizer = tokenizers.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as a tokenizer: {error}") from error
    trained = record.get("data", {}).get(arm, {}).get("vocab_size", tokenizer.vocab_size)
    if trained != tokenizer.vocab_size:
        raise UserError(f"{file} has {tokenizer.vocab_size} tokens; {arm} was trained with {trained}: it is another's")
    variables = checkpoint.restore_as_saved(workdir / arm, checkpoint.newest(workdir / arm, step))
    if record["num_seeds"] > 1:
        variables = jax.tree.map(lambda x: x[0], variables)
    arm_config = config.from_dict(experiment.config, record["arms"][arm])
    decoder = experiment.language_model(arm_config, tokenizer.vocab_size)[1]
    try:
        jax.eval_shape(decoder.advance, variables, decoder.start(1), jax.ShapeDtypeStruct((1, 1), "int32"))
    except errors.FlaxError as error:
        raise UserError(f"config.json of {workdir} is not the checkpoint's: {str(error).split(' (https')[0]}") from error
    return tokenizer, decoder, variables


def main(argv):
    if not FLAGS.checkpoint:
        raise UserError("--checkpoint=DIR is required: a workdir of train.py, an arm's folder or one step's checkpoint")
    import jax

    from models.sampling import check
    from models.streaming import stream

    tokenizer, decoder, variables = load(FLAGS.checkpoint, FLAGS.arm)
    options = {name: FLAGS[name].value for name in STRATEGY}
    prompt = sys.stdin.read() if FLAGS.prompt == "-" else FLAGS.prompt
    try:
        check(**options)
        ids = [int(i) for i in tokenizer.encode(prompt or "\n")]
        for index in range(FLAGS.num_samples):
            if FLAGS.num_samples > 1:
                print(f"--- sample {index + 1}")
            key, text, shown = jax.random.fold_in(jax.random.key(FLAGS.seed), index), list(ids), tokenizer.decode(ids)
            print(prompt, end="", flush=True)
            for token in stream(decoder, variables, key, ids, FLAGS.max_tokens, **options):
                text.append(token)
                whole = tokenizer.decode(text).rstrip(UNFINISHED)
                print(whole[len(shown) :], end="", flush=True)
                shown = whole if len(whole) > len(shown) else shown
            print()
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


if __name__ == "__main__":
    command.run(main)
