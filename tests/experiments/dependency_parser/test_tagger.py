"""The tagger: it learns, no training sentence is tagged by a tagger that has seen it, and its file is checked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import serialization

from data import treebanks
from data.treebanks import Sentence, Treebank
from experiments.dependency_parser import tagger

EWT = Path(__file__).parents[4] / "shared" / "data" / "ud_ewt"
FOLDS = 3


def generate(num_sentences, seed):
    """Sentences whose tags are decided by the word, its ending or shape (such words are new), or the word before."""
    random = np.random.default_rng(seed)
    sentences = []
    for _ in range(num_sentences):
        pairs = []
        for kind in random.integers(0, 4, random.integers(1, 9)):
            stem = "".join(random.choice(list("bdgklmnprst"), 4))
            pairs += [
                [("the", "D"), ("walk", "N")],
                [("they", "P"), ("walk", "V")],
                [(f"{stem}ing", "V")],
                [(stem.capitalize(), "E")],
            ][kind]
        forms, tags = zip(*pairs, strict=True)
        sentences.append(Sentence(forms, tags, (), ()))
    return tuple(sentences)


@pytest.fixture(scope="module", autouse=True)
def small_taggers():
    """Tests compile quickly, and run slowly."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"D_EMBED": 12, "D_HIDDEN": 24, "BATCH_ROWS": 8, "LEAST_STEPS": 150}.items():
            patch.setattr(tagger, name, value)
        yield


@pytest.fixture(scope="module")
def treebank():
    return Treebank("made", generate(120, 0), generate(20, 1), generate(60, 2), "")


@pytest.fixture(scope="module")
def prediction(treebank):
    return tagger.predict_tags(treebank, FOLDS)


def test_words_endings_shapes_and_neighbours_are_learnt(treebank, prediction):
    assert prediction.accuracy > 0.98
    for split in treebanks.SPLITS:
        assert tagger.measure_accuracy(treebank[split], prediction.treebank[split]) > 0.97
        for gold, tagged in zip(treebank[split], prediction.treebank[split], strict=True):
            assert tagged == gold._replace(tags=tagged.tags)
    assert tagger.measure_accuracy(treebank.test, prediction.treebank.test) == prediction.accuracy


def test_no_tagger_has_seen_what_it_tags_in_training(treebank, prediction):
    # The tag of a word that one sentence alone has, many times, cannot be known from elsewhere.
    secret = Sentence(("xyzzy",) * 9, ("S",) * 9, (), ())
    with_secret = Treebank("made", (*treebank.train[:60], secret), (secret,), (secret,), "")
    tagged = tagger.predict_tags(with_secret, FOLDS)
    assert set(tagged.treebank.test[0].tags) == {"S"}  # its tagger has seen it
    assert "S" not in tagged.treebank.train[-1].tags
    assert tagged.accuracy == 1.0


def test_folds_are_blind_to_their_own_sentences_exactly(treebank):
    sentences = treebank.train[:30]
    fold_N = np.arange(30) % FOLDS
    changed = [s._replace(tags=s.tags[::-1]) if fold == 1 else s for s, fold in zip(sentences, fold_N, strict=True)]
    before, after = (tagger.train_taggers(given, fold_N, FOLDS, 0).params for given in (sentences, changed))
    for fold in range(FOLDS + 1):
        pair = [jax.tree.leaves(tagger._select(params, fold)) for params in (before, after)]
        is_same = all(np.array_equal(a, b) for a, b in zip(*pair, strict=True))
        assert is_same == (fold == 1)


def test_a_tagger_depends_on_the_seed_alone(treebank, prediction):
    again = tagger.predict_tags(treebank, FOLDS)
    assert again.tagger == prediction.tagger
    assert again.treebank == prediction.treebank
    assert tagger.predict_tags(treebank, FOLDS, seed=1).tagger != prediction.tagger


def test_one_tagger_can_be_trained_alone(treebank):
    alone = tagger.loads(tagger.train_tagger(treebank.train))
    assert tagger.measure_accuracy(treebank.test, tagger.tag_sentences(alone, treebank.test)) > 0.98


def test_the_file_tags_new_sentences(treebank, prediction):
    restored = tagger.loads(prediction.tagger)
    assert tagger.tag_sentences(restored, treebank.test) == prediction.treebank.test
    # A sentence's tags do not depend on its neighbours, and gold tags are not looked at.
    blind = treebank.test[7]._replace(tags=())
    assert tagger.tag_sentences(restored, [blind]) == (prediction.treebank.test[7],)
    plain = treebanks.split_text("They walk. The walk\nis qqqqing")
    assert tagger.tag_sentences(restored, plain)[0].tags[:2] == ("P", "V")
    assert tagger.tag_sentences(restored, plain)[1].tags[:2] == ("D", "N")
    assert tagger.tag_sentences(restored, []) == ()
    long = Sentence(("walk",) * 300, (), (), ())
    assert len(tagger.tag_sentences(restored, [long])[0].tags) == 300


def test_unseen_features_and_the_space_between_sentences_are_zeros():
    params = tagger.init_params(jax.random.key(0), 1, 4, 3)
    params["embed"] = params["embed"].at[1:].set(1.0)
    unseen = np.zeros((1, 5, 5), np.int32)
    empty = tagger.tag_logits(params | {"embed": params["embed"] * 0}, unseen + 1)
    np.testing.assert_array_equal(tagger.tag_logits(params, unseen), empty)
    word_only = unseen.copy()
    word_only[..., 0] = 1
    dropped = tagger.tag_logits(params, word_only, np.zeros((1, 5), bool))
    np.testing.assert_array_equal(dropped, empty)
    assert not np.array_equal(tagger.tag_logits(params, word_only, np.ones((1, 5), bool)), empty)


def test_damaged_files_and_impossible_folds_are_refused(treebank, prediction):
    fields = serialization.msgpack_restore(prediction.tagger)
    other_shape = fields | {"params": fields["params"] | {"hidden_bias": np.zeros((1, 2), np.float32)}}
    for content, message in [
        (b"", "the tagger is damaged"),
        (prediction.tagger[:-9], "the tagger is damaged"),
        (b"{}", "the tagger is damaged"),
        (serialization.msgpack_serialize(fields | {"format": 2}), "no file of format 1"),
        (serialization.msgpack_serialize(other_shape), "its arrays have other shapes"),
    ]:
        with pytest.raises(ValueError, match=message):
            tagger.loads(content)
    with pytest.raises(ValueError, match="folds=1 must lie between 2 and the number of training sentences, 120"):
        tagger.predict_tags(treebank, folds=1)
    with pytest.raises(ValueError, match="folds=121 must lie between"):
        tagger.predict_tags(treebank, folds=121)


@pytest.mark.slow
def test_ewt_is_tagged_as_well_as_windows_can():
    if not EWT.is_dir():
        pytest.skip(f"no {EWT}")
    # In a process of its own, without the tests' quick compilation, which makes slow programs.
    program = f"""
from data import treebanks
from experiments.dependency_parser import tagger
treebank = treebanks.load({str(EWT)!r})
tagged = tagger.predict_tags(treebank).treebank
print([tagger.measure_accuracy(treebank[split], tagged[split]) for split in treebanks.SPLITS])
"""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command, root = [sys.executable, "-c", program], Path(tagger.__file__).parents[2]
    output = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True).stdout
    accuracies = json.loads(output)
    assert min(accuracies) >= 0.93
    assert max(accuracies) - min(accuracies) < 0.02  # the parser's training tags are as wrong as those of testing
