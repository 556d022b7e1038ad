"""Output layers for large vocabularies: the adaptive softmax, which is exact and two-level, and the sampled softmax.

Both need ids that fall in frequency: id 0 is the most frequent word.

The adaptive softmax (Grave et al. 2017) keeps frequent words in a head and divides the others among tails. The head's
softmax has an entry for each of its words and one for each tail; a word w of tail i has probability
P(tail i) P(w | tail i), and a tail's softmax is only computed where the target lies in it. Its hidden vector is first
projected to a smaller width, a quarter for the first tail, a sixteenth for the second, and so on, but no less than 4.

Axes: N positions, D width, V vocabulary, K sampled words, M rows of a chunk, C words of a tail.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from models.losses import token_losses

REDUCTION = 4  # factor by which the width falls from one tail to the next (Grave et al. 2017, section 4.3)
NARROWEST = 4  # the least width of a tail
CHUNK = 64  # rows whose tail is computed at once
# Multiplications and additions that take about as long as the rest of a logit, its exponential and sums: an estimate
# from the times of head and tails on two CPU cores.
ELEMENTWISE = 30


def tail_widths(width, num_tails):
    """What vectors are projected to before each tail."""
    return [min(max(width // REDUCTION ** (i + 1), NARROWEST), width) for i in range(num_tails)]


@dataclass(frozen=True)
class AdaptiveSoftmax:
    """Which words lie where: ids below ``cutoffs[0]`` in the head, those below ``cutoffs[i + 1]`` in tail i.

    The last cutoff is the vocabulary's size. Raises ValueError for cutoffs that do not rise.
    """

    width: int
    cutoffs: tuple[int, ...]

    def __post_init__(self):
        if len(self.cutoffs) < 2 or list(self.cutoffs) != sorted({*self.cutoffs}) or self.cutoffs[0] < 1:
            raise ValueError(
                f"cutoffs={self.cutoffs} must rise from at least 1, the last being the size of the vocabulary: "
                "an adaptive softmax needs a head and a tail"
            )

    @property
    def tails(self):
        """(first id, number of words, projected width) of each tail."""
        pairs = zip(self.cutoffs, self.cutoffs[1:], strict=False)
        widths = tail_widths(self.width, len(self.cutoffs) - 1)
        return [(low, high - low, width) for (low, high), width in zip(pairs, widths, strict=True)]

    def init(self, key):
        """Parameters: ``head`` [words and tails, D], and of each tail ``project_i`` [D, d] and ``tail_i`` [C, d]."""
        keys = iter(jax.random.split(key, 1 + 2 * len(self.tails)))

        def uniform(rows, columns, scale):
            return jax.random.uniform(next(keys), (rows * columns,), minval=-scale, maxval=scale).reshape(rows, columns)

        params = {"head": uniform(self.cutoffs[0] + len(self.tails), self.width, 0.1)}
        for i, (_, size, width) in enumerate(self.tails):
            # The variance of logits is that of the head's, so that a narrower tail does not start flatter.
            params[f"project_{i}"] = uniform(self.width, width, (3 / self.width) ** 0.5)
            params[f"tail_{i}"] = uniform(size, width, 0.1 * (self.width / width) ** 0.5)
        return params

    def losses(self, params, hidden_ND, targets_N):
        """Cross-entropy [N] in nats of each target, exact; the cost depends on how many targets lie in tails."""
        first = self.cutoffs[0]
        entry_N = targets_N
        tail_losses_N = 0.0
        for i, (low, size, _) in enumerate(self.tails):
            inside_N = (targets_N >= low) & (targets_N < low + size)
            entry_N = jnp.where(inside_N, first + i, entry_N)
            # Rows whose target lies in the tail come first, the others are never looked at.
            order_N = jnp.argsort(~inside_N, stable=True)
            rows_Nd = _permute(hidden_ND @ params[f"project_{i}"], order_N)
            losses_N = losses_of_first(rows_Nd, params[f"tail_{i}"], (targets_N - low)[order_N], inside_N.sum())
            tail_losses_N += _permute(losses_N, jnp.argsort(order_N))
        return token_losses(hidden_ND @ params["head"].T, entry_N) + tail_losses_N

    def log_probabilities(self, params, hidden_ND):
        """Log-probabilities [N, V] of all words."""
        head_NV = jax.nn.log_softmax(hidden_ND @ params["head"].T)
        parts = [head_NV[:, : self.cutoffs[0]]]
        for i in range(len(self.tails)):
            logits_NC = hidden_ND @ params[f"project_{i}"] @ params[f"tail_{i}"].T
            parts.append(jax.nn.log_softmax(logits_NC) + head_NV[:, self.cutoffs[0] + i, None])
        return jnp.concatenate(parts, axis=1)


@jax.custom_vjp
def _permute(x_N, order_N):
    """``x_N[order_N]`` of a permutation, whose gradient is a gather by the inverse in place of a slow scatter."""
    return x_N[order_N]


_permute.defvjp(
    lambda x_N, order_N: (x_N[order_N], order_N),
    lambda order_N, grad_N: (grad_N[jnp.argsort(order_N)], None),
)


@jax.custom_vjp
def losses_of_first(rows_Nd, kernel_Cd, targets_N, count):
    """Cross-entropy [N] of softmax(rows kernel^T) for the first ``count`` rows, and 0 for the others.

    Chunks of rows are computed one after the other, as many as ``count`` asks for, forwards and backwards.
    """
    return _losses_forward(rows_Nd, kernel_Cd, targets_N, count)[0]


def _chunk(index, size, *arrays):
    return [jax.lax.dynamic_slice_in_dim(x, index * size, size) for x in arrays]


def _pad(x_N):
    """Zeros below, so that rows are whole chunks."""
    return jnp.pad(x_N, [(0, -len(x_N) % CHUNK)] + [(0, 0)] * (x_N.ndim - 1))


def _losses_forward(rows_Nd, kernel_Cd, targets_N, count):
    rows, targets = _pad(rows_Nd), _pad(targets_N)

    def turn(i, written):
        losses, normalizers = written
        rows_M, targets_M = _chunk(i, CHUNK, rows, targets)
        used_M = i * CHUNK + jnp.arange(CHUNK) < count
        logits_MC = rows_M @ kernel_Cd.T
        normalizers_M = jax.nn.logsumexp(logits_MC, axis=-1)
        target_logits_M = jnp.take_along_axis(logits_MC, targets_M[:, None], axis=1)[:, 0]
        losses_M = jnp.where(used_M, normalizers_M - target_logits_M, 0.0)
        put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=i * CHUNK, axis=0)
        return put(losses, losses_M), put(normalizers, normalizers_M)

    zeros = jnp.zeros(len(rows), rows.dtype)
    losses, normalizers = jax.lax.fori_loop(0, -(-count // CHUNK), turn, (zeros, zeros))
    return losses[: len(rows_Nd)], (rows_Nd, kernel_Cd, targets_N, count, normalizers)


def _losses_backward(saved, grad_losses_N):
    rows_Nd, kernel_Cd, targets_N, count, normalizers = saved
    rows, targets, grad_losses = _pad(rows_Nd), _pad(targets_N), _pad(grad_losses_N)

    def turn(i, gradients):
        grad_rows, grad_kernel = gradients
        rows_M, targets_M, grad_losses_M, normalizers_M = _chunk(i, CHUNK, rows, targets, grad_losses, normalizers)
        weights_M = jnp.where(i * CHUNK + jnp.arange(CHUNK) < count, grad_losses_M, 0.0)
        logits_MC = rows_M @ kernel_Cd.T
        one_hot_MC = jax.nn.one_hot(targets_M, len(kernel_Cd), dtype=logits_MC.dtype)
        grad_logits_MC = weights_M[:, None] * (jnp.exp(logits_MC - normalizers_M[:, None]) - one_hot_MC)
        grad_rows = jax.lax.dynamic_update_slice_in_dim(grad_rows, grad_logits_MC @ kernel_Cd, i * CHUNK, 0)
        return grad_rows, grad_kernel + grad_logits_MC.T @ rows_M

    start = jnp.zeros_like(rows), jnp.zeros_like(kernel_Cd)
    grad_rows, grad_kernel = jax.lax.fori_loop(0, -(-count // CHUNK), turn, start)
    return grad_rows[: len(rows_Nd)], grad_kernel, None, None


losses_of_first.defvjp(_losses_forward, _losses_backward)


def choose_cutoffs(counts_V, width, most_tails=4, head_share=0.5):
    """The cutoffs of the least expected cost of a target, by the counts of the words in the training text.

    At least ``head_share`` of the targets lie in the head, because narrow tails cost accuracy as well as save time, or
    as many as leave a word to each tail.

    Cost: multiplications and additions of the head and of the tails, and the rest of each logit in units of them; each
    tail weighted by how often it is computed (after Grave et al. 2017, section 4.2, who fit a model of a GPU's time in
    place of operations). Candidates grow geometrically. Raises ValueError for counts that do not fall, and for too few
    words.
    """
    counts_V = np.asarray(counts_V, np.float64)
    V = len(counts_V)
    if V < 4:
        raise ValueError(f"a vocabulary of {V} is too small for an adaptive softmax")
    # <unk> and <eos> come first whatever their counts, so a little disorder is no mistake.
    if np.corrcoef(np.arange(V), np.argsort(np.argsort(-counts_V, kind="stable")))[0, 1] < 0.9:
        raise ValueError("an adaptive softmax needs ids that fall in frequency, as those of a word tokenizer do")
    share_V = np.append(0.0, np.cumsum(counts_V)) / counts_V.sum()  # of targets below an id
    candidates = np.unique(np.geomspace(max(V // 256, 2), V - 1, 48).astype(int))
    narrow = tail_widths(width, most_tails)

    def tail_cost(i, low, high):
        share = share_V[high] - share_V[low]
        # A tail's logits are computed twice, forwards and backwards: 4 products where the head has 3.
        return width * narrow[i] + share * (4 / 3 * narrow[i] + ELEMENTWISE) * (high - low)

    cheapest = []
    for num_tails in range(1, min(most_tails, len(candidates)) + 1):
        room = candidates[: len(candidates) - num_tails + 1]
        firsts = [c for c in room if share_V[c] >= head_share] or [room[-1]]
        # The cheapest way to each last cutoff, tail by tail.
        best = {first: ((width + ELEMENTWISE) * (first + num_tails), (first,)) for first in firsts}
        for i in range(num_tails):
            ends = [V] if i == num_tails - 1 else [c for c in candidates if c > min(best)]
            best = {
                end: min((cost + tail_cost(i, low, end), (*way, end)) for low, (cost, way) in best.items() if low < end)
                for end in ends
            }
        cheapest.append(best[V])
    return tuple(map(int, min(cheapest)[1]))


def zipf_log_probabilities(ids, vocab_size):
    """log P(id) of the log-uniform distribution, P(k) = log((k + 2) / (k + 1)) / log(V + 1): about 1 / k."""
    return jnp.log(jnp.log1p(1 / (ids + 1.0)) / jnp.log(vocab_size + 1.0))


def sampled_losses(key, kernel_VD, bias_V, hidden_ND, targets_N, num_sampled):
    """An estimate [N] of the cross-entropy from the target and ``num_sampled`` words, the same for all positions.

    The words are drawn with replacement from the log-uniform distribution Q over ids. The sum over the vocabulary is
    estimated without bias by exp(logit of the target) + sum over other samples of exp(logit) / (K Q) (Bengio and
    Senecal 2008, section III; Jean et al. 2015, section 3). Its logarithm is biased, so this is for training; the loss
    by all logits is the exact one.
    """
    V = len(kernel_VD)
    uniform_K = jax.random.uniform(key, (num_sampled,))
    ids_K = jnp.clip(jnp.exp(uniform_K * jnp.log(V + 1.0)).astype(jnp.int32) - 1, 0, V - 1)
    target_logits_N = jnp.sum(hidden_ND * kernel_VD[targets_N], axis=-1) + bias_V[targets_N]
    weights_K = bias_V[ids_K] - jnp.log(num_sampled) - zipf_log_probabilities(ids_K, V)
    sample_logits_NK = jnp.where(targets_N[:, None] == ids_K, -jnp.inf, hidden_ND @ kernel_VD[ids_K].T + weights_K)
    logits_N1K = jnp.concatenate([target_logits_N[:, None], sample_logits_NK], axis=1)
    return jax.nn.logsumexp(logits_N1K, axis=1) - target_logits_N
