"""Training speed of the Transformer on text, side by side with a plain GPT of the same shape in PyTorch.

    python -m benchmarks.language_model                                    nanoGPT's CPU setting
    python -m benchmarks.language_model --preset=gpt2_124m --batch_size=32 --sides=jax --steps=10 --rounds=5

The second is for an accelerator.

Prints tokens/s and the model's floating-point operations, and their share of the device's peak where that is known: 6
operations a parameter and token, and 12 L T D a token for attention (Chowdhery et al. 2022, appendix B). The text is
random: speed does not depend on it.

Axes: B batch, T time, D model width, H heads, V vocabulary.
"""

import os
import statistics
import tempfile

import numpy as np
from absl import app, flags

from benchmarks import paired

SIDES = flags.DEFINE_multi_enum(
    "sides", ["jax", "torch"], ["jax", "torch"], "the sides; the first is compared with each of the others"
)
PRESET = flags.DEFINE_string("preset", "nanogpt_cpu", "the preset of transformer_lm that is trained")
BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "sequences in a step, in one microbatch; default: the preset's")
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # bfloat16 without sparsity, from the data sheets


def configured(folder):
    """(Experiment, config, vocabulary) of the preset on random text.

    It has as many characters as tiny_shakespeare has, or as many as the preset's tokeniser has pieces.
    """
    import experiments
    from training.config import override

    experiment = experiments.load("transformer_lm")
    preset = dict(experiment.presets[PRESET.value].overrides)
    vocab_size = preset["tokenizer_size"] if preset["tokenizer"] == "sentencepiece" else 65
    path = os.path.join(folder, "text.txt")
    if not os.path.exists(path):
        first = 0x20000 if vocab_size > 65 else 33  # ideographs: no surrogates among them
        alphabet = np.array([chr(i) for i in range(first, first + vocab_size)])
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(np.random.default_rng(0).choice(alphabet, 1_115_394)))
    given = {"corpus": path, "tokenizer": "char", "eval_windows": 8}
    if BATCH_SIZE.value:
        given |= {"batch_size": BATCH_SIZE.value, "optimizer.accumulate": 1}
    return experiment, override(experiment.config, preset | given), vocab_size


def jax_side():
    """Makes steps -> loss of the last ones, by this project's engine."""
    from training import run

    with tempfile.TemporaryDirectory() as folder:
        experiment, config, _ = configured(folder)
        task = run.make_task(experiment, "deep", config)
    return paired.engine(task)[0]


def torch_side():
    """Makes steps -> loss of the last one, as a PyTorch user would write it: eager, fused attention, fused AdamW."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(paired.THREADS.value)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        _, c, vocab_size = configured(folder)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention_norm = nn.LayerNorm(c.d_model, bias=c.bias)
            self.query_key_value = nn.Linear(c.d_model, 3 * c.d_model, bias=c.bias)
            self.output = nn.Linear(c.d_model, c.d_model, bias=c.bias)
            self.mlp_norm = nn.LayerNorm(c.d_model, bias=c.bias)
            self.mlp_in = nn.Linear(c.d_model, 4 * c.d_model, bias=c.bias)
            self.mlp_project = nn.Linear(4 * c.d_model, c.d_model, bias=c.bias)

        def forward(self, x_BTD):
            joined = self.query_key_value(self.attention_norm(x_BTD))
            joined = joined.view(*x_BTD.shape[:2], 3, c.num_heads, c.d_model // c.num_heads)
            q, k, v = joined.permute(2, 0, 3, 1, 4)
            z_BHTC = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x_BTD = x_BTD + self.output(z_BHTC.transpose(1, 2).reshape(x_BTD.shape))
            return x_BTD + self.mlp_project(F.gelu(self.mlp_in(self.mlp_norm(x_BTD)), approximate="tanh"))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(vocab_size, c.d_model)
            self.positions = nn.Embedding(c.context_length, c.d_model)
            self.layers = nn.ModuleList(Layer() for _ in range(c.num_layers))
            self.final_norm = nn.LayerNorm(c.d_model, bias=c.bias)
            for vectors in (self.embed, self.positions):
                nn.init.normal_(vectors.weight, std=0.02)

        def forward(self, tokens_BT):
            x_BTD = self.embed(tokens_BT) + self.positions(torch.arange(tokens_BT.shape[1]))
            for layer in self.layers:
                x_BTD = layer(x_BTD)
            return F.linear(self.final_norm(x_BTD), self.embed.weight)

    model = GPT()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": c.optimizer.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        groups,
        lr=c.optimizer.learning_rate,
        betas=(c.optimizer.b1, c.optimizer.b2),
        fused=True,
    )
    text = torch.randint(0, vocab_size, (1_003_854,))

    def run(steps):
        for _ in range(steps):
            starts = torch.randint(len(text) - c.context_length, (c.batch_size,)).tolist()
            windows = torch.stack([text[i : i + c.context_length + 1] for i in starts])
            loss = F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), c.optimizer.clip)
            optimizer.step()
        return loss.item()

    return run


def main(_):
    makers = {"jax": jax_side, "torch": torch_side}
    if "torch" in SIDES.value and PRESET.value != "nanogpt_cpu":
        raise app.UsageError("PyTorch's side is nanogpt_cpu's, on a CPU: add --sides=jax")
    with tempfile.TemporaryDirectory() as folder:
        experiment, c, vocab_size = configured(folder)
    tokens = c.batch_size * c.context_length
    speeds = paired.compare({side: makers[side] for side in SIDES.value}, "tokens", tokens)
    if "jax" not in speeds:
        return
    import jax
    import jax.numpy as jnp

    module, _ = experiment.language_model(c, vocab_size)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1), int))["params"]
    parameters = sum(x.size for x in jax.tree.leaves(shapes)) - module.config.context_length * c.d_model
    a_token = 6 * parameters + 12 * c.num_layers * c.context_length * c.d_model
    flops = statistics.median(speeds["jax"]) * tokens * a_token
    device = jax.devices()[0].device_kind
    peak = next((peak for name, peak in PEAK_FLOPS.items() if name in device), None)
    share = f", {flops / peak:.1%} of the peak of {device}" if peak else f" on {device}"
    print(f"jax: {flops / 1e12:.3f} model TFLOP/s{share}")


if __name__ == "__main__":
    app.run(main)
