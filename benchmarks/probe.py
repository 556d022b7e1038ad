"""Probing a random GPT-2-small, 12 layers of 12 heads: ours and TransformerLens, from the same Hugging Face folder.

    python -m benchmarks.probe [--parts=scores,ablation,paths] [--folder=DIR]

    scores      induction, previous-token and duplicate-token score of every head on 4 sequences [BOS, r, r] of 257
                tokens. TransformerLens caches the patterns; or keeps only the stripes, in hooks that end the run after
                the last pattern, before MLP and logits.
    ablation    the loss on the second copy of 2 sequences [BOS, r, r] of 51 tokens without each of the 144 heads.
                TransformerLens: one forward a head, with a hook.
    paths       what one head of layer 9 writes into each of the 24 later heads' queries, patched, on such sequences.
                TransformerLens: ``get_act_patch_direct_path``, a forward a path. The norm is computed anew, as there.
                For us late layers are the cheap ones: ours is also timed from a head of layer 3, whose 96 receivers
                have as many layers to run after them, on the mean, as those of all pairs of heads.

Both sides run on all cores that the process may use and must agree. Each has a process of its own and waits while
another works; they take turns within every round, so that whatever else the machine does falls on all of them. Ours
is called once before, to compile. Extra memory is the peak of a call's resident memory above what the process with its
model held before (/proc, so Linux only). The folder is made with transformers, its attention weights scaled up so that
heads differ and matter.
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
SIZES = {"scores": (4, 128), "ablation": (2, 25), "paths": (2, 25)}  # sequences, tokens in r
NAMES = ("previous_token_score", "duplicate_token_score", "induction_score")
SENDERS = {"gain": (9, 5), "gain of an early head": (3, 5)}
PATHS = LAYERS * (LAYERS - 1) // 2 * HEADS**2 * 3  # of all pairs of heads, into queries, keys and values


def make(folder):
    """Writes the random GPT-2-small."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config())
    with torch.no_grad():
        for block in model.transformer.h:
            block.attn.c_attn.weight *= 3
            block.attn.c_proj.weight *= 10
    model.save_pretrained(folder)


def tokens_of(part):
    size, block = SIZES[part]
    tokens = np.random.default_rng(1).integers(0, VOCABULARY - 1, (2, size, block))
    bos = np.full((size, 1), VOCABULARY - 1)
    clean, other = (np.concatenate([bos, t, t], axis=1) for t in tokens)
    corrupted = np.concatenate([bos, other[:, 1 : 1 + block], clean[:, 1 + block :]], axis=1)
    return clean, corrupted


def asked(part):
    """The positions of the second copy whose next token is in it."""
    block = SIZES[part][1]
    return np.arange(block + 1, 2 * block)


# --- Ours.


def ours(folder, part, early=False):
    import jax
    import jax.numpy as jnp

    from models.pretrained import folder as pretrained
    from probes import ablation, attention_scores, patching

    model, variables = pretrained.load(folder)
    clean, corrupted = (jnp.asarray(t, jnp.int32) for t in tokens_of(part))
    at = asked(part)

    def loss(logits_BTV):
        right_BT = jnp.take_along_axis(logits_BTV, clean[:, at + 1, None], axis=-1)[..., 0]
        return (jax.nn.logsumexp(logits_BTV, axis=-1) - right_BT).mean()

    if part == "scores":
        stripes = jax.jit(lambda v, t: attention_scores.stripe_scores(model, v, t, SIZES[part][1]))
        return lambda: stripes(variables, clean)
    if part == "ablation":
        return lambda: {"loss": ablation.sweep(model, variables, clean, loss, "zero", at=at)}

    def paths(name):
        options = {"senders": [SENDERS[name]], "kinds": ("query",), "exact": True, "at": at}
        gains = patching.path_patch(model, variables, clean, corrupted, loss, **options)["query"]
        return {name: gains[SENDERS[name]][SENDERS[name][0] + 1 :]}

    return partial(paths, "gain of an early head" if early else "gain")


# --- TransformerLens.


def transformer_lens(folder, part):
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.patching import get_act_patch_direct_path

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_grad_enabled(False)
    model = TransformerBridge.boot_transformers(str(folder)).eval()
    clean, corrupted = (torch.from_numpy(t) for t in tokens_of(part))
    at = torch.from_numpy(asked(part))

    def loss(logits_BTV):
        return torch.nn.functional.cross_entropy(logits_BTV[:, at].flatten(0, 1), clean[:, at + 1].flatten())

    def cached():
        _, cache = model.run_with_cache(clean, return_type=None, names_filter=is_pattern)
        scores = torch.stack([stripes_of(cache["pattern", layer]) for layer in range(LAYERS)], dim=1)
        return dict(zip(NAMES, scores.numpy(), strict=True))

    def sweep():
        losses = np.zeros((LAYERS, HEADS))
        for layer, head in np.ndindex(LAYERS, HEADS):

            def zero(z_BTHC, hook, head=head):
                z_BTHC[:, :, head] = 0
                return z_BTHC

            losses[layer, head] = loss(model.run_with_hooks(clean, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", zero)]))
        return {"loss": losses}

    def paths():
        caches = [model.run_with_cache(t, names_filter=lambda name: name.endswith("attn.hook_z"))[1]
                  for t in (clean, corrupted)]  # fmt: skip
        patched = get_act_patch_direct_path(model, corrupted, *caches, loss, *SENDERS["gain"], "q", verbose=False)
        return {"gain": patched.numpy()[SENDERS["gain"][0] + 1 :] - loss(model(corrupted)).item()}

    return {"scores": cached, "ablation": sweep, "paths": paths}[part]


def transformer_lens_hooks(folder, part):
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_grad_enabled(False)
    model = TransformerBridge.boot_transformers(str(folder)).eval()
    clean = torch.from_numpy(tokens_of(part)[0])

    class Ended(Exception):
        pass

    def score():
        kept = []

        def keep(pattern_BHQK, hook):
            kept.append(stripes_of(pattern_BHQK))
            if len(kept) == LAYERS:
                raise Ended

        try:
            model.run_with_hooks(clean, return_type=None, fwd_hooks=[(is_pattern, keep)])
        except Ended:
            model.reset_hooks()
        return dict(zip(NAMES, torch.stack(kept, dim=1).numpy(), strict=True))

    return score


def is_pattern(name):
    return name.endswith("attn.hook_pattern")


def stripes_of(pattern_BHQK):
    import torch

    block = SIZES["scores"][1]
    later, second = torch.arange(1, 1 + 2 * block), torch.arange(1 + block, 1 + 2 * block)
    rows_and_columns = ((later, later - 1), (second, second - block), (second, second - block + 1))
    return torch.stack([pattern_BHQK[:, :, q, k].mean((0, -1)) for q, k in rows_and_columns])


SIDES = {
    "scores": {"ours": ours, "TransformerLens, cached patterns": transformer_lens,
               "TransformerLens, stripes in hooks": transformer_lens_hooks},
    "ablation": {"ours": ours, "TransformerLens": transformer_lens},
    "paths": {"ours": ours, "TransformerLens": transformer_lens, "ours, from layer 3": partial(ours, early=True)},
}  # fmt: skip


# --- Turns.


def resident_megabytes(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1e3 for line in status if line.startswith(field))


def measured(side):
    """(seconds, extra megabytes, values) of one call."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # sets the peak, VmHWM, back to the present
    before, begin = resident_megabytes("VmRSS"), time.perf_counter()
    values = {name: np.asarray(value) for name, value in side().items()}
    return time.perf_counter() - begin, resident_megabytes("VmHWM") - before, values


def serve(build, folder, part, connection):
    """Builds one side, then measures a call whenever asked, until told to stop."""
    side = build(folder, part)
    while connection.recv() != "stop":
        connection.send(measured(side))


def compare(part, folder, rounds, pause):
    """Prints one part's table."""
    spawn = multiprocessing.get_context("spawn")
    connections, processes = {}, []
    for side, build in SIDES[part].items():
        connections[side], theirs = spawn.Pipe()
        processes.append(spawn.Process(target=serve, args=(build, folder, part, theirs), daemon=True))
        processes[-1].start()
        theirs.close()

    def ask(side):
        time.sleep(pause)
        connections[side].send("go")
        return connections[side].recv()

    first = {side: ask(side) for side in connections if side.startswith("ours")}
    found = {side: [] for side in connections}
    for _ in range(rounds):
        for side in connections:
            found[side].append(ask(side))
    for connection in connections.values():
        connection.send("stop")
    for process in processes:
        process.join()

    mine = first["ours"][2]
    pairs = [(mine[name], calls[-1][2][name]) for calls in found.values() for name in mine if name in calls[-1][2]]
    difference, spread = max(np.abs(a - b).max() for a, b in pairs), max(np.ptp(values) for values in mine.values())
    if not difference < max(1e-5, 0.01 * spread):
        raise SystemExit(f"{part}: the sides disagree by {difference:.1e}: this measures nothing")
    print(f"\n{part}: {rounds} rounds; values spread over {spread:.2g}, the sides agree to {difference:.0e}; "
          f"first call of ours, compilation included: {first['ours'][0]:.1f} s")  # fmt: skip
    print(f"{'':36}{'median s':>10}{'fastest':>10}{'slowest':>10}{'x ours':>10}{'extra MB':>10}")
    seconds = {side: [call[0] for call in calls] for side, calls in found.items()}
    for side, times in seconds.items():
        ratio = statistics.median(t / o for t, o in zip(times, seconds["ours"], strict=True))
        megabytes = statistics.median(call[1] for call in found[side])
        print(f"{side:36}{statistics.median(times):10.2f}{min(times):10.2f}{max(times):10.2f}{ratio:10.2f}"
              f"{megabytes:10.0f}", flush=True)  # fmt: skip
    if part == "paths":
        for side, calls in found.items():
            (gains,) = calls[-1][2].values()
            each = statistics.median(seconds[side]) / gains.size
            print(f"{side}: {each:.3f} s a path; all {PATHS:,} paths at this rate: {each * PATHS / 3600:.2f} h")


def main():
    arguments = ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--parts", default="scores,ablation,paths", help="which of the three")
    arguments.add_argument("--folder", help="a GPT-2-small of transformers; default: a random one, made anew")
    arguments.add_argument("--rounds", type=int, help="timed calls of each side; default: 7 for scores, 1 for others")
    arguments.add_argument("--pause", type=float, default=0.5, help="seconds between calls, for idle threads to sleep")
    arguments = arguments.parse_args()

    os.environ["HF_HUB_OFFLINE"] = "1"
    packages = ", ".join(f"{name} {version(name)}" for name in ("jax", "torch", "transformer_lens"))
    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores; {packages}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or Path(temporary) / "gpt2")
        if not arguments.folder:
            make(folder)
        for part in arguments.parts.split(","):
            rounds = arguments.rounds or (7 if part == "scores" else 1)
            compare(part, str(folder), rounds, arguments.pause)


if __name__ == "__main__":
    main()
