"""Writes text with a trained language model, token by token; or translates with a trained translator, line by line.

python sample.py --checkpoint=runs/transformer_lm --prompt="def " --max_tokens=200
echo "import os" | python sample.py --checkpoint=runs/transformer_lm --prompt=- --num_samples=3 --top_p=0.9
python sample.py --checkpoint=runs/seq2seq_attention --prompt=- --beam_size=4 < text.en > text.fr
"""

import os
import sys

from absl import flags

from training import command
from training.experiment import UserError

FLAGS = flags.FLAGS
flags.DEFINE_string("checkpoint", None, "a workdir of train.py, an arm's folder in it, or one step's checkpoint")
flags.DEFINE_string("arm", None, "which arm of the workdir writes; default: the first that was trained")
flags.DEFINE_string("prompt", "", "text to go on from (default: a new line) or to translate; - reads standard input")
flags.DEFINE_integer("beam_size", 1, "of a translator: translations that are kept at each token; 1: greedy", 1)
flags.DEFINE_integer("num_samples", 1, "texts to write", lower_bound=1)
flags.DEFINE_integer("max_tokens", 200, "tokens to write; past the end of the model's context its window slides", 1)
flags.DEFINE_float("temperature", 1.0, "logits are divided by it; 0: always the likeliest token")
flags.DEFINE_integer("top_k", None, "draw from the k likeliest tokens")
flags.DEFINE_float("top_p", None, "draw from the fewest tokens that hold this share of probability")
flags.DEFINE_float("min_p", None, "draw from the tokens at least this share as likely as the likeliest")
flags.DEFINE_float("typical_p", None, "draw from the most typical tokens that hold this share of probability")
flags.DEFINE_integer("seed", 0, "seed of the random draws; every sample has a stream of its own")
for name in ("debug", *command.JAX_FLAGS):
    flags.declare_key_flag(name)
STRATEGY = ("temperature", "top_k", "top_p", "min_p", "typical_p")


def main(argv):
    if not FLAGS.checkpoint:
        raise UserError("--checkpoint=DIR is required: a workdir of train.py, an arm's folder or one step's checkpoint")
    from experiments.trained_arms import find_run

    run = find_run(FLAGS.checkpoint)
    if run.experiment.translator:
        write_translations(run)
    else:
        write_samples(run)


def write_translations(run):
    """Prints the translation of each line of the prompt."""
    from experiments.translations import translate_text

    of_language_models = (*STRATEGY, "max_tokens", "seed", *(["num_samples"] if FLAGS.num_samples > 1 else []))
    if given := [name for name in of_language_models if FLAGS[name].present]:
        raise UserError(f"--{given[0]} goes with language models; runs of {run.name} translate: they take --beam_size")
    if not FLAGS.prompt:
        raise UserError("there is nothing to translate: give --prompt=TEXT, or --prompt=- for lines of standard input")
    for line in translate_text(run, read_prompt(), FLAGS.arm, FLAGS.beam_size):
        print(line, flush=True)


def write_samples(run):
    """Prints texts that follow the prompt."""
    if FLAGS["beam_size"].present:
        raise UserError(f"--beam_size goes with translators; runs of {run.name} train none")
    import jax

    from experiments.language_models import fill_window, generate_text, load_language_model
    from models.sampling import check

    tokenizer, decoder, variables = load_language_model(FLAGS.checkpoint, FLAGS.arm)
    options = {name: FLAGS[name].value for name in STRATEGY}
    try:
        check(**options)
        prompt = read_prompt()
        ids = fill_window(tokenizer.encode(prompt).tolist(), tokenizer, decoder.window) or [tokenizer.end or 0]
        for index in range(FLAGS.num_samples):
            if FLAGS.num_samples > 1:
                print(f"--- sample {index + 1}")
            print(prompt, end="", flush=True)
            key = jax.random.fold_in(jax.random.key(FLAGS.seed), index)
            for text in generate_text(tokenizer, decoder, variables, key, ids, FLAGS.max_tokens, **options):
                print(text, end="", flush=True)
            print()
    except ValueError as error:
        raise UserError(str(error)) from error


def read_prompt():
    """--prompt, or what standard input holds."""
    prompt = sys.stdin.buffer.read() if FLAGS.prompt == "-" else os.fsencode(FLAGS.prompt)
    try:
        return prompt.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"the prompt is no UTF-8: byte 0x{error.object[error.start]:02X} at {error.start}") from error


if __name__ == "__main__":
    command.run(main)
