"""Training speed of the flagship's two-layer arm, side by side with the same model, batch and optimiser in PyTorch.

    python -m benchmarks.train_step --rounds=20

Needs PyTorch, which nothing but benchmarks does.

Axes: B batch, T time, D model width, H heads, V vocabulary (tokens and BOS).
"""

from absl import app, flags

from benchmarks import paired

SIDES = flags.DEFINE_list("sides", ["jax", "torch"], "the sides; the first is compared with each of the others")

BATCH_SIZE, LENGTH, TOKENS, WIDTH, HEADS, LAYERS = 64, 64, 64, 64, 4, 2
SHORTEST_PERIOD, LONGEST_PERIOD = 8, LENGTH // 2
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 3e-3, 0.01, 1.0  # as in the flagship's config
BOS = TOKENS


def jax_side():
    """Makes steps -> loss of the last ones, by this project's engine: the flagship's two_layer arm as it trains."""
    import experiments
    from training import run

    experiment = experiments.load("induction_heads")
    config = run.select_arms(experiment, experiment.config, ("two_layer",), {})["two_layer"]
    return paired.engine(run.make_task(experiment, "two_layer", config))[0]


def torch_side():
    """Makes steps -> loss of the last one, as a PyTorch user would write it: eager, fused attention, fused AdamW."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(paired.THREADS.value)
    torch.manual_seed(0)

    def linear(size_in, size_out):
        layer = nn.Linear(size_in, size_out, bias=False)
        nn.init.normal_(layer.weight, std=size_in**-0.5)
        return layer

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.query_key_value = linear(WIDTH, 3 * WIDTH)
            self.output = linear(WIDTH, WIDTH)

        def forward(self, x_BTD):
            joined = self.query_key_value(x_BTD).view(*x_BTD.shape[:2], 3, HEADS, WIDTH // HEADS)
            q, k, v = joined.permute(2, 0, 3, 1, 4)
            z_BHTC = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.output(z_BHTC.transpose(1, 2).reshape(x_BTD.shape))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(TOKENS + 1, WIDTH)
            self.positions = nn.Parameter(torch.empty(LENGTH, WIDTH))
            for vectors in (self.embed.weight, self.positions):
                nn.init.normal_(vectors, std=WIDTH**-0.5)
            self.layers = nn.ModuleList(Attention() for _ in range(LAYERS))
            self.unembed = linear(WIDTH, TOKENS + 1)

        def forward(self, tokens_BT):
            x_BTD = self.embed(tokens_BT) + self.positions
            for layer in self.layers:
                x_BTD = x_BTD + layer(x_BTD)
            return self.unembed(x_BTD)

    def make_batch():
        period_B1 = torch.randint(SHORTEST_PERIOD, LONGEST_PERIOD + 1, (BATCH_SIZE, 1))
        block_BV = torch.rand(BATCH_SIZE, TOKENS).argsort(dim=1)
        tokens_BT = block_BV.gather(1, torch.arange(LENGTH) % period_B1)
        tokens_BT = F.pad(tokens_BT, (1, 0), value=BOS)
        return tokens_BT[:, :-1], tokens_BT[:, 1:]

    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)

    def run(steps):
        for _ in range(steps):
            inputs_BT, targets_BT = make_batch()
            loss = F.cross_entropy(model(inputs_BT).flatten(0, 1), targets_BT.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
        return loss.item()

    return run


def main(_):
    makers = {"jax": jax_side, "torch": torch_side}
    paired.compare({side: makers[side] for side in SIDES.value})


if __name__ == "__main__":
    app.run(main)
