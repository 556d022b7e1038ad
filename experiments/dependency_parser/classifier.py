"""The transition classifier of Chen and Manning (2014), and its fast form: sums of rows computed beforehand.

Axes: B decisions (any leading axes), I slots (words, tags and labels that describe a state), D width of an embedding,
F width of a hidden layer, V ids of a group, K transitions.
"""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax

from models.mlp import activation_function, gaussian_kernel

SLOTS = {"word": 18, "tag": 18, "label": 12}
INITIALIZATIONS = {"xavier": "xavier", "normal": "unit"}  # names in models.mlp.VARIANCES
TABLE_NUMBERS = 2**26  # a table of more numbers than this is not made: 256 MiB


@dataclass(frozen=True)
class ClassifierConfig:
    """Shapes and kinds of a classifier's parts; raises ValueError where they make no classifier."""

    num_words: int  # ids, that of no word included; as below
    num_tags: int
    num_labels: int
    num_transitions: int
    d_embed: int = 50
    d_hidden: int = 200
    num_hidden: int = 1  # number of hidden layers
    activation: str = "relu"  # cube, or a name in models.mlp.ACTIVATIONS
    dropout: float = 0.5  # rate on the last hidden layer
    initializer: str = "xavier"  # of all weights but the embeddings'; or normal: N(0, 1)
    embed_scale: float = 0.1  # standard deviation of the embeddings at the start
    use_words: bool = True
    use_tags: bool = True
    use_labels: bool = True

    def __post_init__(self):
        for name in ("num_words", "num_tags", "num_labels", "num_transitions", "d_embed", "d_hidden", "num_hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.initializer not in INITIALIZATIONS:
            raise ValueError(f"initializer={self.initializer!r} is not one of {', '.join(INITIALIZATIONS)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")
        if not self.groups:
            raise ValueError("use_words, use_tags and use_labels are all False; set one of them to True")
        activate(self.activation)

    @property
    def groups(self):
        """The groups of slots that the classifier sees."""
        return tuple(group for group in SLOTS if getattr(self, f"use_{group}s"))


def activate(name):
    """The function cube (Chen and Manning 2014, section 3.2), or one of models.mlp; raises ValueError for another."""
    if name == "cube":
        return lambda x: x**3
    try:
        return activation_function(name)
    except ValueError as error:
        raise ValueError(f"{error}, cube") from None


class SlotLayer(nn.Module):
    """An affine map [..., F] of the embeddings of all slots, side by side: what a dense layer over them computes.

    Groups of no more than D ids are multiplied as one-hot vectors with what each id adds in each slot: the same
    numbers, and in training on CPU half the time, as no gradient flows back to the embeddings of each decision.
    """

    config: ClassifierConfig

    @nn.compact
    def __call__(self, embeddings, ids):
        c = self.config
        slots = sum(SLOTS[group] for group in c.groups)
        kernel_init = gaussian_kernel(INITIALIZATIONS[c.initializer])
        kernel = self.param("kernel", kernel_init, (slots * c.d_embed, c.d_hidden))
        h = self.param("bias", nn.initializers.zeros, (c.d_hidden,))
        for group, part in split_kernel(c, kernel).items():
            embed_VD, leading = embeddings[group], ids[group].shape[:-1]
            if len(embed_VD) <= c.d_embed:
                one_hot = jax.nn.one_hot(ids[group], len(embed_VD), axis=-2, dtype=kernel.dtype)  # [..., V, I]
                h = h + one_hot.reshape(*leading, -1) @ rows_of(embed_VD, part)
            else:
                h = h + embed_VD[ids[group]].reshape(*leading, -1) @ part
        return h


def split_kernel(config, kernel):
    """The part [I D, F] of the first layer's kernel for each group."""
    parts, first = {}, 0
    for group in config.groups:
        parts[group] = kernel[first : first + SLOTS[group] * config.d_embed]
        first += len(parts[group])
    return parts


def rows_of(embed_VD, kernel):
    """What each id adds to the first layer in each slot: row v I + i for id v in slot i, [V I, F]."""
    D, F = embed_VD.shape[1], kernel.shape[1]
    kernel_DIF = kernel.reshape(-1, D, F).swapaxes(0, 1)
    return (embed_VD @ kernel_DIF.reshape(D, -1)).reshape(-1, F)


class Classifier(nn.Module):
    """Logits [..., K] of the transitions by hidden layers over the embeddings of all slots.

    Takes ids of words [..., 18], tags [..., 18] and labels [..., 12]; raises ValueError for other numbers of them. A
    group that the config leaves out has no parameters. Parameters: word_embed, tag_embed, label_embed [V, D], hidden_0,
    hidden_1, ... and transitions. Dropout takes the random stream ``dropout``.
    """

    config: ClassifierConfig

    @nn.compact
    def __call__(self, word_ids, tag_ids, label_ids, deterministic=True):
        c = self.config
        ids = dict(zip(SLOTS, (word_ids, tag_ids, label_ids), strict=True))
        for group, slots in SLOTS.items():
            if ids[group].shape[-1] != slots:
                raise ValueError(f"a state has {slots} {group}s, not {ids[group].shape[-1]}")
        init = nn.initializers.normal(c.embed_scale)
        counts = {group: getattr(c, f"num_{group}s") for group in c.groups}
        embeddings = {group: self.param(f"{group}_embed", init, (count, c.d_embed)) for group, count in counts.items()}
        h = activate(c.activation)(SlotLayer(c, name="hidden_0")(embeddings, ids))
        kernel_init = gaussian_kernel(INITIALIZATIONS[c.initializer])
        for i in range(1, c.num_hidden):
            h = activate(c.activation)(nn.Dense(c.d_hidden, kernel_init=kernel_init, name=f"hidden_{i}")(h))
        h = nn.Dropout(c.dropout)(h, deterministic=deterministic)
        return nn.Dense(c.num_transitions, kernel_init=kernel_init, name="transitions")(h)


class Tables(NamedTuple):
    """A classifier whose first layer is, where it can be, a sum of rows."""

    bias_F: jax.Array  # the first layer's
    rows: dict  # {group: [V I, F]}, as of rows_of
    products: dict  # {group: (embeddings [V, D], kernel [I D, F])} of those groups that are too large for rows
    layers: tuple  # (kernel, bias) of each layer above the first


def tabulate(config, variables):
    """The Tables of a classifier's variables (Chen and Manning 2014, section 3.2).

    A product reads all of the first layer's weights for every decision; a sum reads one row a slot. A group whose rows
    would be more than TABLE_NUMBERS numbers keeps its product.
    """
    params = variables["params"]
    rows, products = {}, {}
    for group, kernel in split_kernel(config, params["hidden_0"]["kernel"]).items():
        embed_VD = params[f"{group}_embed"]
        if len(embed_VD) * SLOTS[group] * config.d_hidden > TABLE_NUMBERS:
            products[group] = embed_VD, kernel
        else:
            rows[group] = rows_of(embed_VD, kernel)
    names = [*(f"hidden_{i}" for i in range(1, config.num_hidden)), "transitions"]
    layers = tuple((params[name]["kernel"], params[name]["bias"]) for name in names)
    return Tables(params["hidden_0"]["bias"], rows, products, layers)


def score_from_tables(config, tables, word_ids, tag_ids, label_ids):
    """The classifier's logits [..., K], without dropout."""
    h, ids = tables.bias_F, dict(zip(SLOTS, (word_ids, tag_ids, label_ids), strict=True))
    for group, (embed_VD, kernel) in tables.products.items():
        h = h + embed_VD[ids[group]].reshape(*ids[group].shape[:-1], -1) @ kernel
    for group, rows in tables.rows.items():
        # One gather a slot: a gather of [..., I, F] and a sum over I would be ten times as slow on CPU.
        for slot in range(SLOTS[group]):
            h = h + rows[ids[group][..., slot] * SLOTS[group] + slot]
    for kernel, bias in tables.layers:
        h = activate(config.activation)(h) @ kernel + bias
    return h
