"""Probing of a random GPT-2-small, 12 layers of 12 heads: this project's and TransformerLens's, from one folder.

    python -m benchmarks.probe [--parts=scores,ablation,paths] [--folder=DIR]

    scores      induction, previous-token and duplicate-token score of every head on 4 sequences [BOS, r, r] of 257
                tokens. TransformerLens runs in two ways: it caches the patterns, or it keeps only the stripes, in hooks
                that end the run after the last pattern, before MLP and logits.
    ablation    the loss on the second copy of 2 sequences [BOS, r, r] of 51 tokens without each of the 144 heads.
                TransformerLens runs one forward pass for each head, with a hook.
    paths       what one head of layer 9 writes into each of the 24 later heads' queries, patched, on such sequences.
                TransformerLens runs ``get_act_patch_direct_path``, one forward pass for each path. Both sides compute
                the norm anew. This project's cost is lowest for late layers, so it is also timed from a head of layer
                3: after its 96 receivers as many layers remain to run, on average, as after those of all pairs of
                heads.

Both sides run on all cores that the process may use, and must agree. Each has a process of its own and waits while
another works; they take turns within every round, so that whatever else the machine does slows all of them. This
project's side is called once before the rounds, to compile. Extra memory is the peak of a call's resident memory above
what the process held with its model before the call (by /proc, so on Linux only). The folder is made with transformers;
its attention weights are scaled up so that heads differ and matter.

Axes: B sequences, T time (Q query, K key position), V vocabulary, H heads, C head width, L layers.
"""

import ctypes
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from argparse import ArgumentParser
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

VOCABULARY, LAYERS, HEADS = 50257, 12, 12
SIZES = {"scores": (4, 128), "ablation": (2, 25), "paths": (2, 25)}  # number of sequences, tokens in r
SCORE_NAMES = ("previous_token_score", "duplicate_token_score", "induction_score")
SENDERS = {"gain": (9, 5), "gain of an early head": (3, 5)}
NUM_PATHS = LAYERS * (LAYERS - 1) // 2 * HEADS**2 * 3  # between all pairs of heads, into queries, keys and values


def write_random_gpt2(folder):
    """Writes a random GPT-2-small as a Hugging Face folder."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config())
    with torch.no_grad():
        for block in model.transformer.h:
            block.attn.c_attn.weight *= 3
            block.attn.c_proj.weight *= 10
    model.save_pretrained(folder)


def clean_and_corrupted(part):
    """A part's sequences [BOS, r, r], and the same with another first copy: two arrays [B, T]."""
    size, block = SIZES[part]
    blocks = np.random.default_rng(1).integers(0, VOCABULARY - 1, (2, size, block))
    bos = np.full((size, 1), VOCABULARY - 1)
    clean, other = (np.concatenate([bos, r, r], axis=1) for r in blocks)
    corrupted = np.concatenate([bos, other[:, 1 : 1 + block], clean[:, 1 + block :]], axis=1)
    return clean, corrupted


def scored_positions(part):
    """The positions of the second copy whose next token is in it, too."""
    block = SIZES[part][1]
    return np.arange(block + 1, 2 * block)


# --- This project's side.


def ours(folder, part, from_early_head=False):
    """Makes the function () -> {name: values} that this project computes a part with."""
    import jax
    import jax.numpy as jnp

    from models.pretrained.folder import load
    from probes import ablation, attention_scores, patching

    model, variables = load(folder)
    clean, corrupted = (jnp.asarray(tokens_BT, jnp.int32) for tokens_BT in clean_and_corrupted(part))
    positions = scored_positions(part)

    def loss(logits_BTV):
        right_BT = jnp.take_along_axis(logits_BTV, clean[:, positions + 1, None], axis=-1)[..., 0]
        return (jax.nn.logsumexp(logits_BTV, axis=-1) - right_BT).mean()

    if part == "scores":
        block_length = SIZES[part][1]
        stripe_scores = jax.jit(lambda v, tokens: attention_scores.stripe_scores(model, v, tokens, block_length))
        return lambda: stripe_scores(variables, clean)
    if part == "ablation":
        return lambda: {"loss": ablation.sweep(model, variables, clean, loss, "zero", positions=positions)}

    def patch_paths(name):
        sender = SENDERS[name]
        gains = patching.path_patch(
            model,
            variables,
            clean,
            corrupted,
            loss,
            senders=[sender],
            kinds=("query",),
            exact=True,
            positions=positions,
        )
        return {name: gains["query"][sender][sender[0] + 1 :]}

    return partial(patch_paths, "gain of an early head" if from_early_head else "gain")


# --- TransformerLens.


def transformer_lens(folder, part):
    """Makes the function () -> {name: values} that TransformerLens computes a part with."""
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.patching import get_act_patch_direct_path

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_grad_enabled(False)
    model = TransformerBridge.boot_transformers(str(folder)).eval()
    clean, corrupted = (torch.from_numpy(tokens_BT) for tokens_BT in clean_and_corrupted(part))
    positions = torch.from_numpy(scored_positions(part))

    def loss(logits_BTV):
        return torch.nn.functional.cross_entropy(
            logits_BTV[:, positions].flatten(0, 1), clean[:, positions + 1].flatten()
        )

    def score_cached_patterns():
        _, cache = model.run_with_cache(clean, return_type=None, names_filter=is_pattern)
        scores = torch.stack([stripe_means(cache["pattern", layer]) for layer in range(LAYERS)], dim=1)
        return dict(zip(SCORE_NAMES, scores.numpy(), strict=True))

    def ablate_each_head():
        losses = np.zeros((LAYERS, HEADS))
        for layer, head in np.ndindex(LAYERS, HEADS):

            def zero(z_BTHC, hook, head=head):
                z_BTHC[:, :, head] = 0
                return z_BTHC

            losses[layer, head] = loss(model.run_with_hooks(clean, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", zero)]))
        return {"loss": losses}

    def patch_paths():
        layer, head = SENDERS["gain"]
        _, clean_cache = model.run_with_cache(clean, names_filter=is_head_output)
        _, corrupted_cache = model.run_with_cache(corrupted, names_filter=is_head_output)
        patched_losses = get_act_patch_direct_path(
            model,
            corrupted,
            clean_cache,
            corrupted_cache,
            loss,
            layer,
            head,
            "q",
            verbose=False,
        )
        return {"gain": patched_losses.numpy()[layer + 1 :] - loss(model(corrupted)).item()}

    return {"scores": score_cached_patterns, "ablation": ablate_each_head, "paths": patch_paths}[part]


def transformer_lens_hooks(folder, part):
    """Makes the function () -> {score: values} of TransformerLens that keeps stripes alone and stops before the end."""
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_grad_enabled(False)
    model = TransformerBridge.boot_transformers(str(folder)).eval()
    clean = torch.from_numpy(clean_and_corrupted(part)[0])

    class LastLayerReachedError(Exception):
        pass

    def score():
        means_of_layers = []

        def keep_stripes(pattern_BHQK, hook):
            means_of_layers.append(stripe_means(pattern_BHQK))
            if len(means_of_layers) == LAYERS:
                raise LastLayerReachedError

        try:
            model.run_with_hooks(clean, return_type=None, fwd_hooks=[(is_pattern, keep_stripes)])
        except LastLayerReachedError:
            model.reset_hooks()
        return dict(zip(SCORE_NAMES, torch.stack(means_of_layers, dim=1).numpy(), strict=True))

    return score


def is_pattern(name):
    return name.endswith("attn.hook_pattern")


def is_head_output(name):
    return name.endswith("attn.hook_z")


def stripe_means(pattern_BHQK):
    """The mean attention [3, H] along the stripe of each score, in the order of SCORE_NAMES."""
    import torch

    block = SIZES["scores"][1]
    later, second = torch.arange(1, 1 + 2 * block), torch.arange(1 + block, 1 + 2 * block)
    rows_and_columns = ((later, later - 1), (second, second - block), (second, second - block + 1))
    return torch.stack([pattern_BHQK[:, :, q, k].mean((0, -1)) for q, k in rows_and_columns])


SIDES = {
    "scores": {
        "ours": ours,
        "TransformerLens, cached patterns": transformer_lens,
        "TransformerLens, stripes in hooks": transformer_lens_hooks,
    },
    "ablation": {"ours": ours, "TransformerLens": transformer_lens},
    "paths": {
        "ours": ours,
        "TransformerLens": transformer_lens,
        "ours, from layer 3": partial(ours, from_early_head=True),
    },
}


# --- Turns.


def resident_megabytes(field):
    """Resident memory of this process by a field of /proc/self/status: VmRSS now, VmHWM at its peak."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1e3 for line in status if line.startswith(field))


def measure_call(compute):
    """Calls a side's function: (seconds, extra megabytes, {name: values})."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets the peak, VmHWM, to the memory in use
    before, start = resident_megabytes("VmRSS"), time.perf_counter()
    values = {name: np.asarray(value) for name, value in compute().items()}
    return time.perf_counter() - start, resident_megabytes("VmHWM") - before, values


def serve(build, folder, part, connection):
    """Builds one side, then answers every message with the measurements of a call, until the message is "stop"."""
    compute = build(folder, part)
    while connection.recv() != "stop":
        connection.send(measure_call(compute))


def compare(part, folder, rounds, pause):
    """Measures all sides of one part and prints its table."""
    spawn = multiprocessing.get_context("spawn")
    connections, processes = {}, []
    for side, build in SIDES[part].items():
        connections[side], connection_of_process = spawn.Pipe()
        processes.append(spawn.Process(target=serve, args=(build, folder, part, connection_of_process), daemon=True))
        processes[-1].start()
        connection_of_process.close()

    def request_call(side):
        time.sleep(pause)
        connections[side].send("go")
        return connections[side].recv()

    first_calls = {side: request_call(side) for side in connections if side.startswith("ours")}
    calls = {side: [] for side in connections}
    for _ in range(rounds):
        for side in connections:
            calls[side].append(request_call(side))
    for connection in connections.values():
        connection.send("stop")
    for process in processes:
        process.join()

    our_seconds, _, our_values = first_calls["ours"]
    pairs = [
        (values, calls_of_side[-1][2][name])
        for calls_of_side in calls.values()
        for name, values in our_values.items()
        if name in calls_of_side[-1][2]
    ]
    difference = max(np.abs(a - b).max() for a, b in pairs)
    spread = max(np.ptp(values) for values in our_values.values())
    if not difference < max(1e-5, 0.01 * spread):
        raise SystemExit(f"{part}: the sides disagree by {difference:.1e}: this measures nothing")
    print(
        f"\n{part}: {rounds} rounds; values spread over {spread:.2g}, the sides agree to {difference:.0e}; "
        f"first call of ours, compilation included: {our_seconds:.1f} s"
    )
    print(f"{'':36}{'median s':>10}{'fastest':>10}{'slowest':>10}{'x ours':>10}{'extra MB':>10}")
    seconds = {side: [call[0] for call in calls_of_side] for side, calls_of_side in calls.items()}
    for side, times in seconds.items():
        median, fastest, slowest = statistics.median(times), min(times), max(times)
        ratio = statistics.median(t / o for t, o in zip(times, seconds["ours"], strict=True))
        megabytes = statistics.median(call[1] for call in calls[side])
        print(f"{side:36}{median:10.2f}{fastest:10.2f}{slowest:10.2f}{ratio:10.2f}{megabytes:10.0f}", flush=True)
    if part == "paths":
        for side, calls_of_side in calls.items():
            (gains,) = calls_of_side[-1][2].values()
            each = statistics.median(seconds[side]) / gains.size
            print(f"{side}: {each:.3f} s a path; all {NUM_PATHS:,} paths at this rate: {each * NUM_PATHS / 3600:.2f} h")


def main():
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="scores,ablation,paths", help="the parts to measure, with commas between")
    parser.add_argument("--folder", help="folder of a GPT-2-small as transformers writes it; default: a random one")
    parser.add_argument("--rounds", type=int, help="timed calls of each side; default: 7 for scores, 1 for the others")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between calls, in which idle threads stop")
    arguments = parser.parse_args()

    os.environ["HF_HUB_OFFLINE"] = "1"
    packages = ", ".join(f"{name} {version(name)}" for name in ("jax", "torch", "transformer_lens"))
    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores; {packages}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or Path(temporary) / "gpt2")
        if not arguments.folder:
            write_random_gpt2(folder)
        for part in arguments.parts.split(","):
            rounds = arguments.rounds or (7 if part == "scores" else 1)
            compare(part, str(folder), rounds, arguments.pause)


if __name__ == "__main__":
    main()
