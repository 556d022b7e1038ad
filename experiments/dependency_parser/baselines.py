"""Parsers that learn next to nothing: the floor under every score.

Right-branching: every word's head is the word before it, the first word's is ROOT. Left-branching is its mirror image:
every word's head is the word after it, the last word's is ROOT. The commonest head by tag pair looks at tags and
distance alone, a word at a time, so that its arcs need not form a tree.

Axis letters: N sentences, T positions (ROOT is 0), n words of one sentence, C candidate heads (n + 1).
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from experiments.dependency_parser.scores import attachment, gold_heads

FARTHEST = 5  # distances beyond it are taken together
NUM_DISTANCES = 2 * FARTHEST + 1
ROOT, UNKNOWN = 0, 1  # ids of tags that no word of the training sentences has


class TagPairs(NamedTuple):
    """What the baseline knows of the training sentences.

    tag_ids:  {tag: id}; ids 0 and 1 are ROOT's tag and unknown tags
    arc_share: [dependent's tag, head's tag, distance + 5]: of the pairs of positions with these tags and this signed
              distance (head minus dependent, clipped to ±5), the share that are arcs
    labels:   {(dependent's tag id, head's tag id, whether the head is on the left): its commonest label}, and the
              commonest of each dependent's tag id alone
    commonest_label: of all words
    """

    tag_ids: dict
    arc_share: np.ndarray
    labels: dict
    commonest_label: str


# --- Heads.


def right_branching(sentences, num_positions):
    """Heads [N, T] of trees in which every word's head is the word before it; the first word's is ROOT."""
    has_word_NT = gold_heads(sentences, num_positions) >= 0
    return np.where(has_word_NT, np.arange(num_positions) - 1, -1).astype(np.int32)


def left_branching(sentences, num_positions):
    """Heads [N, T] of trees in which every word's head is the word after it; the last word's is ROOT."""
    has_word_NT = gold_heads(sentences, num_positions) >= 0
    positions_T = np.arange(num_positions)
    is_last_NT = positions_T == has_word_NT.sum(1, keepdims=True)
    return np.where(has_word_NT, np.where(is_last_NT, 0, positions_T + 1), -1).astype(np.int32)


def count_tag_pairs(sentences):
    """The `TagPairs` of training sentences.

    A share is arcs / (pairs + 1), so that a pair seen once does not count as certain. Raises ValueError without words.
    """
    tags = sorted({tag for sentence in sentences for tag in sentence.tags})
    if not tags:
        raise ValueError("the commonest head by tag pair needs training sentences with words: there are none")
    tag_ids = {tag: number for number, tag in enumerate(tags, start=UNKNOWN + 1)}
    shape = (len(tag_ids) + 2, len(tag_ids) + 2, NUM_DISTANCES)
    arcs, pairs = np.zeros(np.prod(shape)), np.zeros(np.prod(shape))
    labels = Counter()
    for sentence in sentences:
        ids = _ids(sentence, tag_ids)
        keys_nC = np.ravel_multi_index(_pairs(ids), shape)
        np.add.at(pairs, keys_nC, _is_other_word(len(sentence.tags)))
        np.add.at(arcs, keys_nC[np.arange(len(ids) - 1), sentence.heads], 1)
        for position, (head, label) in enumerate(zip(sentence.heads, sentence.labels, strict=True), start=1):
            labels[(int(ids[position]), int(ids[head]), head < position), label] += 1
            labels[int(ids[position]), label] += 1
            labels[None, label] += 1
    commonest = {}
    for (key, label), _ in sorted(labels.items(), key=lambda item: (-item[1], item[0][1])):
        commonest.setdefault(key, label)
    return TagPairs(tag_ids, (arcs / (pairs + 1)).reshape(shape), commonest, commonest.pop(None))


def commonest_heads(tag_pairs, sentences, num_positions):
    """Heads [N, T]: of all positions of the sentence, the one whose tag and distance were an arc most often.

    Of equals the nearest is taken, and of two at one distance the one before the word.
    """
    heads_NT = np.full((len(sentences), num_positions), -1, np.int32)
    for n, sentence in enumerate(sentences):
        num_words = len(sentence.tags)
        shares_nC = np.where(
            _is_other_word(num_words), tag_pairs.arc_share[_pairs(_ids(sentence, tag_pairs.tag_ids))], -1.0
        )
        distance_nC = np.arange(num_words + 1) - np.arange(1, num_words + 1)[:, None]
        order_nC = np.lexsort((distance_nC, np.abs(distance_nC), -shares_nC))
        heads_NT[n, 1 : num_words + 1] = order_nC[:, 0]
    return heads_NT


# --- Labels for heads that are given.


def commonest_labels(tag_pairs, sentences, heads_NT, label_names):
    """Label ids [N, T] of given heads: the commonest of the two tags and the head's side, else of the word's tag.

    -1 where there is no word, and for a label that `label_names` lacks.
    """
    id_of = {name: label for label, name in enumerate(label_names)}
    labels_NT = np.full(np.shape(heads_NT), -1, np.int32)
    for n, sentence in enumerate(sentences):
        ids = _ids(sentence, tag_pairs.tag_ids).tolist()
        for position in range(1, len(ids)):
            head = int(heads_NT[n, position])
            of_tag = tag_pairs.labels.get(ids[position], tag_pairs.commonest_label)
            label = tag_pairs.labels.get((ids[position], ids[head], head < position), of_tag)
            labels_NT[n, position] = id_of.get(label, -1)
    return labels_NT


def measure_baselines(train, test, label_names, num_positions=None):
    """Heads, labels and scores on the test sentences of every baseline that knows the training sentences.

    Returns {"right_branching_heads": [N, T], "right_branching_labels", "right_branching_uas", "right_branching_las",
    and so for left_branching and tag_pair}; T is `num_positions`, by default the longest test sentence's words + 1.
    """
    T = num_positions or 1 + max(len(sentence.heads) for sentence in test)
    tag_pairs = count_tag_pairs(train)
    heads = {
        "right_branching": right_branching(test, T),
        "left_branching": left_branching(test, T),
        "tag_pair": commonest_heads(tag_pairs, test, T),
    }
    measured = {}
    for name, heads_NT in heads.items():
        labels_NT = commonest_labels(tag_pairs, test, heads_NT, label_names)
        uas, las = attachment(test, heads_NT, labels_NT, label_names)
        measured |= {f"{name}_heads": heads_NT, f"{name}_labels": labels_NT, f"{name}_uas": uas, f"{name}_las": las}
    return measured


def _ids(sentence, tag_ids):
    """Tag ids [C] of ROOT and every word."""
    return np.array([ROOT, *(tag_ids.get(tag, UNKNOWN) for tag in sentence.tags)])


def _pairs(ids):
    """Indices into [dependent's tag, head's tag, distance], three arrays [n, C], of words and candidate heads."""
    positions = np.arange(len(ids))
    distance_nC = np.clip(positions - positions[1:, None], -FARTHEST, FARTHEST) + FARTHEST
    return np.broadcast_arrays(ids[1:, None], ids[None], distance_nC)


def _is_other_word(num_words):
    """Whether [n, C] a candidate head is another position than the word itself."""
    return np.arange(num_words + 1) != np.arange(1, num_words + 1)[:, None]
