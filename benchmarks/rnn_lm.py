"""The recurrent language model of PyTorch's word-level example, trained here and by a plain PyTorch loop.

    python -m benchmarks.rnn_lm --rounds=10
    python -m benchmarks.rnn_lm --corpus=TRAIN.txt --test_corpus=TEST.txt --split=spaces --vocab_size=0 --epochs=3

The first measures tokens a second, both sides taking turns on the same cores. The second trains one side after the
other for as many epochs on the same tokens, once for each of --num_seeds, and prints test perplexities; its seconds are
those of training steps alone. Ours quarters its rate after 1/2, 2/3 and 5/6 of the run, and so does PyTorch's with
--torch_schedule=fixed; with plateau it does so whenever the validation loss does not improve, as in its example.
PyTorch's side needs PyTorch.

Axes: B rows, T time, V vocabulary.
"""

import math
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from absl import app, flags

from benchmarks import paired

flags.set_default(paired.STEPS, 4)
EPOCHS = flags.DEFINE_integer("epochs", 0, "epochs of training before a test; 0: measure speed alone", lower_bound=0)
SCHEDULE = flags.DEFINE_enum(
    "torch_schedule", "fixed", ["fixed", "plateau"], "when PyTorch's learning rate falls, with --epochs"
)
CORPUS = flags.DEFINE_string("corpus", "python_stdlib", "text to train on")
TEST_CORPUS = flags.DEFINE_string("test_corpus", "", "text to test on; default: the corpus's own test split")
SPLIT = flags.DEFINE_string("split", "punctuation", "words: punctuation sets marks apart, spaces does not")
VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 33_278, "words of the vocabulary; 0: all")
SIDES = flags.DEFINE_list("sides", ["jax", "torch"], "the sides that run")
NUM_SEEDS = flags.DEFINE_integer("num_seeds", 1, "runs of each side, with --epochs; seeds from 0", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "full", "our softmax: full, adaptive or sampled")
FORGET_BIAS = flags.DEFINE_float("forget_bias", None, "bias our LSTM's forget gates start with; default: the preset's")
TORCH_START = flags.DEFINE_enum(
    "torch_start",
    "torch",
    ["torch", "ours"],
    "PyTorch's LSTM with its own initial weights and two biases a gate, or with normal weights and one, as ours",
)

LAYERS, WIDTH, DROPOUT, CLIP_NORM, LEARNING_RATE = 2, 200, 0.2, 0.25, 20.0


def config_and_tokens():
    """Our config of the example's setting, and the tokens that both sides read."""
    from data.tokens import read_corpus
    from experiments.rnn_lm.experiment import PYTORCH_EXAMPLE, Config
    from training.config import override

    settings = PYTORCH_EXAMPLE | {
        "corpus": CORPUS.value,
        "test_corpus": TEST_CORPUS.value,
        "split": SPLIT.value,
        "tokenizer_size": VOCAB_SIZE.value,
        "output": OUTPUT.value,
        "evaluate_on": "test",
    }
    if FORGET_BIAS.value is not None:
        settings["forget_bias"] = FORGET_BIAS.value
    config = override(Config(), settings)
    tokens = read_corpus(config)
    steps = EPOCHS.value * windows_of(tokens.train, config)
    return override(config, {"num_steps": max(steps, 1)}), tokens


def windows_of(tokens_N, config):
    """Steps of an epoch."""
    return (len(tokens_N) // config.batch_size - 1) // config.context_length


def jax_side(seed):
    """Makes (train, validate, test): by this project's engine, as train.py does it."""
    import jax

    from experiments.rnn_lm.experiment import language_model_task

    config, _ = config_and_tokens()
    task = language_model_task(config)
    train, state = paired.engine(task, seed, compile_first=EPOCHS.value > 0)

    def test():
        total, weight = jax.jit(task.evaluate)({"params": state().params}, task.data)["loss"]
        return float(total / weight)

    return train, lambda: None, test


def torch_side(seed):
    """Makes (train, validate, test): as PyTorch's example does it, eager, with its nn.LSTM.

    ``validate`` is what makes the rate fall with the schedule plateau.
    """
    import torch
    from torch import nn
    from torch.nn import functional as F

    from data.tokens import columns
    from experiments.rnn_lm.optimizer import QUARTERED_AFTER

    config, tokens = config_and_tokens()
    torch.set_num_threads(paired.THREADS.value)
    torch.manual_seed(seed)
    B, T, V = config.batch_size, config.context_length, tokens.vocab_size
    splits = {name: torch.tensor(columns(tokens[name], B).astype("int64")) for name in ("train", "validation", "test")}

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout(DROPOUT)
            self.embed = nn.Embedding(V, WIDTH)
            self.lstm = nn.LSTM(WIDTH, WIDTH, LAYERS, dropout=DROPOUT)
            self.unembed = nn.Linear(WIDTH, V)
            for weights in (self.embed.weight, self.unembed.weight):
                nn.init.uniform_(weights, -0.1, 0.1)
            nn.init.zeros_(self.unembed.bias)
            if TORCH_START.value == "ours":
                self.start_as_ours()

        def start_as_ours(self):
            for name, weights in self.lstm.named_parameters():
                if name.startswith("weight"):
                    nn.init.normal_(weights, std=WIDTH**-0.5)
                else:
                    nn.init.zeros_(weights)
                if name.startswith("bias_ih"):
                    nn.init.constant_(weights[WIDTH : 2 * WIDTH], config.forget_bias)  # gates i, f, g, o
                if name.startswith("bias_hh"):
                    weights.requires_grad_(False)

        def forward(self, tokens_TB, states):
            outputs, states = self.lstm(self.dropout(self.embed(tokens_TB)), states)
            return self.unembed(self.dropout(outputs)), states

    model, rate, best, step = Model(), LEARNING_RATE, math.inf, 0
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    zeros = tuple(torch.zeros(LAYERS, B, WIDTH) for _ in range(2))
    states = zeros

    def loss_of(rows_BN, index, states):
        window_TB = rows_BN[:, index * T : index * T + T + 1].T.contiguous()
        logits, states = model(window_TB[:-1], states)
        return F.cross_entropy(logits.flatten(0, 1), window_TB[1:].flatten()), states

    def mean_loss(split):
        model.eval()
        with torch.no_grad():
            total, carried, windows = 0.0, zeros, (splits[split].shape[1] - 1) // T
            for index in range(windows):
                loss, carried = loss_of(splits[split], index, carried)
                total += loss.item()
        model.train()
        return total / windows

    def train(steps):
        nonlocal rate, step, states
        windows, total = windows_of(tokens.train, config), 0.0
        for _ in range(steps):
            if step % windows == 0:
                states = zeros
            if EPOCHS.value and SCHEDULE.value == "fixed":
                rate = LEARNING_RATE / 4 ** sum(step >= int(config.num_steps * f) for f in QUARTERED_AFTER)
            model.zero_grad()
            loss, states = loss_of(splits["train"], step % windows, tuple(s.detach() for s in states))
            loss.backward()
            nn.utils.clip_grad_norm_(trained, CLIP_NORM)
            with torch.no_grad():
                for weights in trained:
                    weights.add_(weights.grad, alpha=-rate)
            total, step = total + loss.item(), step + 1
        return total / steps

    def validate():
        nonlocal rate, best
        if SCHEDULE.value == "plateau":
            loss = mean_loss("validation")
            rate, best = (rate if loss < best else rate / 4), min(best, loss)

    return train, validate, lambda: mean_loss("test")


def jax_steps():
    """Makes the function of a number of steps that ``paired.compare`` calls."""
    return jax_side(0)[0]


def torch_steps():
    """Makes the function of a number of steps that ``paired.compare`` calls."""
    return torch_side(0)[0]


def train_and_test(make, arguments, seed, steps_an_epoch):
    """(seconds of all epochs' steps, test loss) of a side, in a process of its own."""
    flags.FLAGS(arguments)
    paired.pin()
    train, validate, test = make(seed)
    seconds = 0.0
    for _ in range(EPOCHS.value):
        start = time.perf_counter()
        train(steps_an_epoch)
        seconds += time.perf_counter() - start
        validate()
    return seconds, test()


def main(_):
    config, tokens = config_and_tokens()
    tokens_a_step = config.batch_size * config.context_length
    print(f"{tokens.vocab_size:,} words, LSTM of {LAYERS} layers of {WIDTH}")
    print(f"our side: {OUTPUT.value} softmax, forget bias {config.forget_bias:g}")
    print(f"PyTorch's side: full softmax, LSTM with initial weights of {TORCH_START.value}")
    if not EPOCHS.value:
        makers = {"jax": jax_steps, "torch": torch_steps}
        paired.compare({side: makers[side] for side in SIDES.value}, "tokens", tokens_a_step)
        return
    makers, windows = {"jax": jax_side, "torch": torch_side}, windows_of(tokens.train, config)
    context = multiprocessing.get_context("spawn")  # a forked JAX or OpenMP can hang
    print(f"{EPOCHS.value} epochs of {windows} steps; PyTorch's schedule is {SCHEDULE.value}")
    for side in SIDES.value:
        perplexities = []
        for seed in range(NUM_SEEDS.value):
            with ProcessPoolExecutor(1, context) as pool:
                seconds, loss = pool.submit(train_and_test, makers[side], sys.argv, seed, windows).result()
            perplexities.append(math.exp(loss))
            speed = tokens_a_step * windows * EPOCHS.value / seconds
            print(f"{side:6} seed {seed}: test perplexity {perplexities[-1]:.2f}, {speed:,.0f} tokens/s", flush=True)
        if len(perplexities) > 1:
            spread = f"{statistics.mean(perplexities):.2f}, from {min(perplexities):.2f} to {max(perplexities):.2f}"
            print(f"{side:6} mean of {len(perplexities)} seeds {spread}", flush=True)


if __name__ == "__main__":
    app.run(main)
