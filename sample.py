"""Writes text with a trained language model, token by token.

python sample.py --checkpoint=runs/transformer_lm --prompt="def " --max_tokens=200
echo "import os" | python sample.py --checkpoint=runs/transformer_lm --prompt=- --num_samples=3 --top_p=.9
"""

import os
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


def main(argv):
    if not FLAGS.checkpoint:
        raise UserError("--checkpoint=DIR is required: a workdir of train.py, an arm's folder or one step's checkpoint")
    import jax

    from models.sampling import check
    from models.streaming import stream

    tokenizer, decoder, variables = experiments.language_model(FLAGS.checkpoint, FLAGS.arm)
    options = {name: FLAGS[name].value for name in STRATEGY}
    try:
        check(**options)
        prompt = sys.stdin.buffer.read() if FLAGS.prompt == "-" else os.fsencode(FLAGS.prompt)
        prompt = prompt.decode("utf-8")
        ids = experiments.begun(tokenizer.encode(prompt).tolist(), tokenizer, decoder.window) or [tokenizer.end or 0]
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
    except UnicodeDecodeError as error:
        raise UserError(f"the prompt is no UTF-8: byte 0x{error.object[error.start]:02X} at {error.start}") from error
    except ValueError as error:
        raise UserError(str(error)) from error


if __name__ == "__main__":
    command.run(main)
