"""Training speed of the GRU translator with additive attention, side by side with the same model in plain PyTorch.

    python -m benchmarks.seq2seq_attention --rounds=8 [--source=FILE --target=FILE]

Without files, sentences are random ids as long as those of Multi30k English-French; speed depends on lengths alone.
With files, such as Multi30k's, they are subwords. Both sides train on the same batches, of sentences of about the same
length, and start from the same weights; before anything is timed their losses on the first batches must agree. Ours
runs by the project's engine. PyTorch's is eager, as a user would write it, but spares what a user can spare: keys are
computed once a sentence and the softmax's logits once a batch, not once a step. Needs PyTorch, which nothing but
benchmarks does.

Axes: B sentences of a batch, N all of them, S source time, T target time, E width of embeddings, F width of the
decoder's state and of the annotations, A width in which queries and keys are compared, V vocabulary.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from absl import app, flags

from benchmarks import paired

flags.set_default(paired.STEPS, 20)
flags.set_default(paired.ROUNDS, 8)
SIDES = flags.DEFINE_list("sides", ["jax", "torch"], "the sides; the first is compared with each of the others")
SOURCE = flags.DEFINE_string("source", "", "file of source sentences, one a line; default: random ids")
TARGET = flags.DEFINE_string("target", "", "file of their translations")
VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 8000, "joint vocabulary of both languages")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "sentences of a step")
WIDTHS = flags.DEFINE_list(
    "widths", ["256", "512", "256"], "of embeddings, of the decoder's state, and in which attention compares"
)
DROPOUT = flags.DEFINE_float("dropout", 0.0, "rate of dropout on embeddings and before the softmax, on both sides")
NUM_BUCKETS = flags.DEFINE_integer("num_buckets", 6, "groups of sentences of about the same length", lower_bound=1)

RANDOM_SENTENCES, LONGEST = 20_000, 60  # tokens; longer pairs are left out
LEARNING_RATE, CLIP_NORM = 1e-3, 1.0
END = 2  # sentencepiece's </s>
LARGEST_DIFFERENCE = 1e-4  # of losses


class Pairs(NamedTuple):
    """Sentences as ids, END last, zeros after it; lengths include END. ``read`` is END and all target ids but END."""

    source_NS: np.ndarray
    source_length_N: np.ndarray
    read_NT: np.ndarray
    target_NT: np.ndarray
    target_length_N: np.ndarray


def translator_config():
    """The ``models.seq2seq.Seq2SeqConfig`` of both sides."""
    from models.seq2seq import Seq2SeqConfig

    d_embed, d_hidden, d_attention = map(int, WIDTHS.value)
    return Seq2SeqConfig(VOCAB_SIZE.value, d_embed, d_hidden, d_attention, score="additive", dropout=DROPOUT.value)


# --- The sentences, and their batches.


@cache
def prepare():
    """(Pairs, buckets) that both sides train on."""
    from data.buckets import make_buckets

    sources, targets = read_ids() if SOURCE.value else random_ids()
    kept = [n for n in range(len(sources)) if max(len(sources[n]), len(targets[n])) < LONGEST]
    source_NS, source_length_N = pad([[*sources[n], END] for n in kept])
    target_NT, target_length_N = pad([[*targets[n], END] for n in kept])
    read_NT, _ = pad([[END, *targets[n]] for n in kept])
    pairs = Pairs(source_NS, source_length_N, read_NT, target_NT, target_length_N)
    return pairs, make_buckets(source_length_N, target_length_N, NUM_BUCKETS.value)


def read_ids():
    """Lists of the files' ids, by a joint vocabulary of subwords."""
    from data.parallel_text import load
    from data.subwords import SentencePiece, train_sentencepiece

    pairs = load(SOURCE.value, TARGET.value).train
    lines = [line for pair in pairs for line in pair]
    processor = SentencePiece(train_sentencepiece(lines, vocab_size=VOCAB_SIZE.value, exact=False)).processor
    return processor.encode([source for source, _ in pairs]), processor.encode([target for _, target in pairs])


def random_ids():
    """Lists of random ids whose lengths are spread about as those of Multi30k: 14 subwords, and 1.5 more in French."""
    rng = np.random.default_rng(0)
    source_length_N = np.clip(rng.lognormal(np.log(13.3), 0.32, RANDOM_SENTENCES).round(), 3, 45).astype(int)
    more_N = rng.normal(1.5, 2.5, RANDOM_SENTENCES).round()
    target_length_N = np.maximum(source_length_N + more_N, 3).astype(int)
    return [
        [rng.integers(END + 1, VOCAB_SIZE.value, length).tolist() for length in length_N]
        for length_N in (source_length_N, target_length_N)
    ]


def pad(sentences):
    """(ids [N, longest], lengths [N]) of lists of ids."""
    length_N = np.array([len(ids) for ids in sentences], np.int32)
    ids_NT = np.zeros((len(sentences), length_N.max()), np.int32)
    for row_T, ids in zip(ids_NT, sentences, strict=True):
        row_T[: len(ids)] = ids
    return ids_NT, length_N


def batches(num_steps):
    """(sentences [num_steps, B], buckets [num_steps]) of the first steps."""
    import jax
    import jax.numpy as jnp

    from data.buckets import bucket_batch

    _, buckets = prepare()
    make_all = jax.jit(jax.vmap(lambda step: bucket_batch(buckets, 0, step, BATCH_SIZE.value)))
    return jax.device_get(make_all(jnp.arange(num_steps)))


def num_steps():
    """All steps of a side, those of the first turn included."""
    return paired.STEPS.value * (paired.ROUNDS.value + 1)


# --- This project's side.


def make_task():
    """The Task that the engine trains."""
    import jax
    import jax.numpy as jnp

    from data.buckets import bucket_batch
    from models.losses import switch_losses, token_losses
    from models.seq2seq import translator
    from training.experiment import Loss, Task
    from training.optimizer import OptimizerConfig, adamw

    pairs, buckets = prepare()
    model = translator(translator_config())
    settings = OptimizerConfig(LEARNING_RATE, warmup_steps=0, final_fraction=1.0, weight_decay=0.0, clip=CLIP_NORM)

    def batch(seed, step, data):
        sentences_B, bucket = bucket_batch(buckets, seed, step, BATCH_SIZE.value)
        return jax.tree.map(lambda x: x[sentences_B], data), jnp.full(BATCH_SIZE.value, bucket)

    def loss_of(lengths):
        S, T = lengths

        def loss(params, batch, rngs):
            read_BT, target_BT = batch.read_NT[:, :T], batch.target_NT[:, :T]
            logits_BTV, _ = model.forward(
                {"params": params}, batch.source_NS[:, :S], batch.source_length_N, read_BT, rngs=rngs
            )
            is_token_BT = jnp.arange(T) < batch.target_length_N[:, None]
            return jnp.sum(token_losses(logits_BTV, target_BT) * is_token_BT), ()

        return loss

    losses = [loss_of(lengths) for lengths in buckets.lengths]

    def loss(variables, batch, rngs):
        rows, bucket_B = batch
        total, _ = switch_losses(bucket_B[0], losses, variables["params"], rows, rngs if DROPOUT.value else {})
        return Loss(total, rows.target_length_N.sum())

    optimizer = adamw(settings, num_steps())
    return Task(model.model, model.init, lambda variables, data: {}, batch, loss, optimizer, data=pairs)


def jax_side():
    """Makes steps -> their mean loss, by this project's engine."""
    return paired.engine(make_task())[0]


# --- PyTorch's side.


def torch_translator(config, params):
    """A PyTorch module with the weights of our translator; each GRU's second bias is 0 at the start.

    (source [B, S], source lengths [B], target ids read [B, T]) -> logits [B, T, V].
    """
    import torch
    from torch import nn

    E, F, A = config.d_embed, config.d_hidden, config.d_attention

    class Translator(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(config.vocab_size, E)
            self.encoder = nn.GRU(E, F // 2, batch_first=True, bidirectional=True)
            self.first_state = nn.Linear(F, F, bias=False)
            self.query = nn.Linear(F, A, bias=False)
            self.key = nn.Linear(F, A)
            self.score = nn.Linear(A, 1, bias=False)
            self.decoder = nn.GRUCell(E + F, F)
            self.readout = nn.Linear(F + E + F, E)
            self.unembed = nn.Linear(E, config.vocab_size)
            self.unembed.weight = self.embed.weight
            self.dropout = nn.Dropout(config.dropout)

        def embed_tokens(self, tokens):
            return self.dropout(E**0.5 * self.embed(tokens))

        def forward(self, source_BS, source_length_B, read_BT):
            packed = nn.utils.rnn.pack_padded_sequence(
                self.embed_tokens(source_BS), source_length_B, batch_first=True, enforce_sorted=False
            )
            outputs, last_2BF = self.encoder(packed)
            h_BSF, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
            padding_BS = torch.arange(h_BSF.shape[1]) >= source_length_B[:, None]
            state_BF = torch.tanh(self.first_state(torch.cat([last_2BF[0], last_2BF[1]], dim=1)))
            keys_BSA, y_BTE = self.key(h_BSF), self.embed_tokens(read_BT)
            states, contexts = [], []
            for y_BE in y_BTE.unbind(1):
                scores_BS = self.score(torch.tanh(self.query(state_BF)[:, None] + keys_BSA)).squeeze(2)
                weights_BS = scores_BS.masked_fill(padding_BS, -torch.inf).softmax(1)
                context_BF = torch.bmm(weights_BS[:, None], h_BSF).squeeze(1)
                state_BF = self.decoder(torch.cat([y_BE, context_BF], dim=1), state_BF)
                states.append(state_BF)
                contexts.append(context_BF)
            read_out = torch.cat([torch.stack(states, 1), y_BTE, torch.stack(contexts, 1)], dim=2)
            return self.unembed(self.dropout(torch.tanh(self.readout(read_out))))

    model = Translator()
    joined = {
        "embed.weight": params["embed"].T,
        "unembed.bias": params["unembed_bias"],
        "first_state.weight": params["first_state"],
        "query.weight": params["recurrent"][:, :A],
        "key.weight": params["key"],
        "key.bias": params["key_bias"],
        "score.weight": params["score_vector"][:, None],
        "decoder.weight_ih": np.concatenate([params["gates_of_word"], params["gates_of_context"]]),
        "decoder.weight_hh": params["recurrent"][:, A:],
        "decoder.bias_ih": params["gates_bias"],
        "decoder.bias_hh": np.zeros(3 * F),
        "readout.weight": np.concatenate([params[f"readout_of_{name}"] for name in ("state", "word", "context")]),
        "readout.bias": params["readout_bias"],
    }
    for direction, suffix in (("forward", ""), ("backward", "_reverse")):
        cell = params[f"encoder_{direction}"]
        joined |= {
            f"encoder.weight_ih_l0{suffix}": cell["input"]["kernel"],
            f"encoder.weight_hh_l0{suffix}": cell["recurrent"]["kernel"],
            f"encoder.bias_ih_l0{suffix}": cell["bias"],
            f"encoder.bias_hh_l0{suffix}": np.zeros(3 * F // 2),
        }
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in parameters.keys() | joined.keys():
            parameters[name].copy_(torch.tensor(np.array(joined[name]).T))
    return model


def torch_loss(model, sentences_B, bucket):
    """The mean cross-entropy of a batch's target tokens, padding left out."""
    import torch
    from torch.nn import functional

    pairs, buckets = prepare()
    S, T = buckets.lengths[bucket]
    rows = Pairs(*(torch.tensor(array[sentences_B].astype(np.int64)) for array in pairs))
    logits_BTV = model(rows.source_NS[:, :S], rows.source_length_N, rows.read_NT[:, :T])
    padding_BT = torch.arange(T) >= rows.target_length_N[:, None]
    targets_BT = rows.target_NT[:, :T].masked_fill(padding_BT, -100)
    return functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=-100)


def torch_side():
    """Makes steps -> their mean loss, as a PyTorch user would write it: eager, with fused Adam; our first weights."""
    import torch

    torch.set_num_threads(paired.THREADS.value)
    torch.manual_seed(0)
    model = torch_translator(translator_config(), first_params())
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    coming = zip(*batches(num_steps()), strict=True)

    def run(steps):
        total = 0.0
        for _ in range(steps):
            loss = torch_loss(model, *next(coming))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            total += loss.item()
        return total / steps

    return run


# --- The comparison.


def first_params():
    """The weights that both sides start from, numpy arrays."""
    import jax

    from models.seq2seq import translator
    from training.step import key

    return jax.tree.map(np.asarray, translator(translator_config()).init(key(0, "init"))["params"])


def check_losses():
    """Prints both sides' losses on the first batches, without dropout; exits where they are not the same."""
    import jax
    import torch

    task, params = make_task(), first_params()
    data = jax.device_put(task.data)
    model = torch_translator(translator_config(), params).eval()
    loss_of = jax.jit(lambda params, step: task.loss({"params": params}, task.batch(0, step, data), {})[:2])
    for step, (sentences_B, bucket) in enumerate(zip(*batches(2), strict=True)):
        total, weight = loss_of(params, step)
        with torch.no_grad():
            ours, theirs = float(total / weight), torch_loss(model, sentences_B, bucket).item()
        print(f"loss on batch {step}: {ours:.6f} and PyTorch's {theirs:.6f}", flush=True)
        if abs(ours - theirs) > LARGEST_DIFFERENCE:
            raise SystemExit("the two sides are not the same model")


def main(_):
    pairs, buckets = prepare()
    sentences, _ = batches(num_steps())
    tokens_a_step = pairs.target_length_N[sentences].sum(1).mean()
    print(
        f"{len(pairs.source_NS):,} sentences of {pairs.source_length_N.mean():.1f} source and "
        f"{pairs.target_length_N.mean():.1f} target tokens, END included; buckets {buckets.lengths}; "
        f"{tokens_a_step:.0f} target tokens a step",
        flush=True,
    )
    if len(SIDES.value) > 1:
        check_losses()
    makers = {"jax": jax_side, "torch": torch_side}
    paired.compare({side: makers[side] for side in SIDES.value}, "target tokens", tokens_a_step)


if __name__ == "__main__":
    app.run(main)
