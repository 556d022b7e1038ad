"""The graph parser of Dozat and Manning (2017): every pair of words scored as dependent and head, then the best tree.

Axes: B sentences or packed rows, T positions, A width of what makes an arc, P width of what makes a label, L labels.
"""

import flax.linen as nn
import jax.numpy as jnp

from experiments.dependency_parser.arrays import bucket_segments
from experiments.dependency_parser.eisner import eisner
from experiments.dependency_parser.encoder import Encoder, EncoderConfig
from models.losses import token_losses
from models.mlp import activation_function, gaussian_kernel

IMPOSSIBLE = -1e9  # finite, so that a row without a possible head has no undefined gradient


class Biaffine(nn.Module):
    """Scores of arcs [B, T, T] and of the labels of chosen ones [B, T, L] over a bidirectional encoder.

    An arc's score is ``d U h + u h`` for a dependent's vector d and a head's h (equation 3), one a word and role; a
    label's is bilinear in two more such vectors, with terms in each of them and a bias (section 2.2). ``num_labels``
    counts id 0, no label: column l of the labels' scores is that of id l + 1.
    """

    config: EncoderConfig
    num_labels: int
    d_arc: int = 200
    d_label: int = 50
    activation: str = "leaky_relu"  # a name in models.mlp.ACTIVATIONS

    def setup(self):
        A, P, L = self.d_arc, self.d_label, self.num_labels - 1
        self.encoder = Encoder(self.config)
        self.roles = nn.Dense(2 * (A + P), kernel_init=gaussian_kernel("he"))
        self.drop = nn.Dropout(self.config.dropout, broadcast_dims=(1,))
        # Products of vectors whose entries are near 1 start near 1 too.
        self.arc = self.param("arc", nn.initializers.normal(1 / A), (A, A))
        self.arc_head = self.param("arc_head", nn.initializers.zeros, (A,))
        self.label = self.param("label", nn.initializers.normal(1 / P), (P, L * P))
        self.label_linear = nn.Dense(L, kernel_init=gaussian_kernel("xavier"))

    def __call__(self, words_BT, tags_BT, segments_BT, heads_BT, deterministic=True):
        """(the arcs' scores [B, T, T], the scores [B, T, L] of the labels of the arcs from ``heads_BT``)."""
        scores_BTT, words = self.score_arcs(words_BT, tags_BT, segments_BT, deterministic)
        return scores_BTT, self.score_labels(words, heads_BT)

    def score_arcs(self, words_BT, tags_BT, segments_BT, deterministic=True):
        """(scores [B, T, T], what ``score_labels`` needs of the words); scores[b, m, h] is that of the arc from h to m.

        A word's heads are the other positions of its segment, ROOT among them; all else is IMPOSSIBLE.
        """
        x_BTD = self.roles(self.encoder(words_BT, tags_BT, segments_BT, deterministic))
        x_BTD = self.drop(activation_function(self.activation)(x_BTD), deterministic=deterministic)
        A, P = self.d_arc, self.d_label
        dependents_BTA, heads_BTA, *words = jnp.split(x_BTD, [A, 2 * A, 2 * A + P], axis=-1)
        scores_BTT = jnp.einsum("bma,bha->bmh", dependents_BTA @ self.arc + self.arc_head, heads_BTA)
        is_same_BTT = segments_BT[:, :, None] == segments_BT[:, None]
        is_possible_BTT = is_same_BTT & (segments_BT[:, None] >= 0) & ~jnp.eye(segments_BT.shape[1], dtype=bool)
        return jnp.where(is_possible_BTT, scores_BTT, IMPOSSIBLE), tuple(words)

    def score_labels(self, words, heads_BT):
        """Scores [B, T, L] of the labels of the arcs from ``heads_BT``; those of words without a head mean nothing."""
        dependents_BTP, heads_BTP = words
        heads_BTP = jnp.take_along_axis(heads_BTP, jnp.maximum(heads_BT, 0)[..., None], axis=1)
        products_BTLP = (dependents_BTP @ self.label).reshape(*heads_BT.shape, -1, self.d_label)
        bilinear_BTL = jnp.einsum("btlp,btp->btl", products_BTLP, heads_BTP)
        return bilinear_BTL + self.label_linear(jnp.concatenate([dependents_BTP, heads_BTP], axis=-1))


def loss(scores_BTT, label_scores_BTL, heads_BT, labels_BT):
    """(sum, weight): cross-entropy in nats of the words' heads and of their labels at the true heads, and the words.

    Positions without a head, -1, count nowhere.
    """
    is_word_BT = heads_BT >= 0
    losses_BT = token_losses(scores_BTT, heads_BT) + token_losses(label_scores_BTL, labels_BT - 1)
    return jnp.sum(jnp.where(is_word_BT, losses_BT, 0.0)), jnp.sum(is_word_BT)


def parse_bucket(module, variables, words_BT, tags_BT, lengths_B):
    """(heads, ids of labels), int32 [B, T], of a bucket's sentences: the best trees, then each arc's best label.

    Heads are -1 and labels 0 at ROOT and in the padding. Slow outside jit.
    """
    segments_BT = bucket_segments(lengths_B, words_BT.shape[1])
    scores_BTT, words = module.apply(variables, words_BT, tags_BT, segments_BT, method="score_arcs")
    heads_BT = eisner(scores_BTT, lengths_B)
    labels_BT = 1 + jnp.argmax(module.apply(variables, words, heads_BT, method="score_labels"), axis=-1)
    return heads_BT, jnp.where(heads_BT >= 0, labels_BT, 0).astype(jnp.int32)
