"""Training speed of the flagship's two-layer arm, side by side with the same model, batch and optimiser in PyTorch.

    python -m benchmarks.train_step --rounds=20

The two sides live in processes of their own, pinned to the same cores, and take turns: a slow moment of the machine
meets both. Needs PyTorch, which nothing else here does.

Axes: B batch, T time, D model width, H heads, V vocabulary (tokens and BOS).
"""

import multiprocessing
import os
import statistics
import sys
import time

from absl import app, flags

ROUNDS = flags.DEFINE_integer("rounds", 20, "turns of each side", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 50, "training steps a turn", lower_bound=1)
THREADS = flags.DEFINE_integer("threads", 2, "threads, and cores, of each side", lower_bound=1)
SIDES = flags.DEFINE_list("sides", ["jax", "torch"], "the sides; the first is compared with each of the others")

BATCH_SIZE, LENGTH, TOKENS, WIDTH, HEADS, LAYERS = 64, 64, 64, 64, 4, 2
SHORTEST_PERIOD, LONGEST_PERIOD = 8, LENGTH // 2
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 3e-3, 0.01, 1.0  # as in the flagship's config
BOS = TOKENS


def jax_side():
    """Makes steps -> loss of the last ones, by this project's engine: the flagship's two_layer arm as it trains."""
    import experiments
    from training import parallel, run
    from training.step import init_state, without_sums

    experiment = experiments.load("induction_heads")
    config = run.select_arms(experiment, experiment.config, ("two_layer",), {})["two_layer"]
    task = experiment.task(config)
    single = parallel.choose("single")
    train_steps = parallel.train_steps(single, task, num_seeds=1)
    state = parallel.place(single, init_state(task, seed=0))

    def run_steps(steps):
        nonlocal state
        state = train_steps(without_sums(state), steps)
        total, weight = state.sums["loss"]
        return float(total / weight)

    return run_steps


def torch_side():
    """Makes steps -> loss of the last one, as a PyTorch user would write it: eager, fused attention, fused AdamW."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(THREADS.value)
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


def serve(side, arguments, connection):
    """Answers each number of steps with (steps per second, loss), until told None."""
    flags.FLAGS(arguments)
    if hasattr(os, "sched_setaffinity"):  # XLA takes its number of threads from the cores that it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: THREADS.value])
    run = {"jax": jax_side, "torch": torch_side}[side]()
    while (steps := connection.recv()) is not None:
        start = time.perf_counter()
        loss = run(steps)
        connection.send((steps / (time.perf_counter() - start), loss))


def main(_):
    context = multiprocessing.get_context("spawn")  # a forked JAX or OpenMP can hang
    ends = {}
    for side in SIDES.value:
        ends[side], theirs = context.Pipe()
        context.Process(target=serve, args=(side, sys.argv, theirs), daemon=True).start()
    speeds, losses = {side: [] for side in ends}, {}
    for turn in range(ROUNDS.value + 1):
        for side, end in ends.items():
            end.send(STEPS.value)
            speed, losses[side] = end.recv()
            if turn:  # turn 0 compiles and warms up
                speeds[side].append(speed)
    for end in ends.values():
        end.send(None)
    first = SIDES.value[0]
    for side, rates in speeds.items():
        line = f"{side:6} {statistics.median(rates):6.1f} steps/s (min {min(rates):.1f}, max {max(rates):.1f})"
        if side != first:
            ratios = [a / b for a, b in zip(speeds[first], rates, strict=True)]
            line += f"   {first}/{side}: {statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})"
        print(f"{line}   loss {losses[side]:.3f} after {STEPS.value * (ROUNDS.value + 1)} steps")


if __name__ == "__main__":
    app.run(main)
