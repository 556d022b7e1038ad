"""BLEU and chrF against values computed by hand and against sacrebleu's own command on the files that are written."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.seq2seq_attention import translation_scores
from experiments.seq2seq_attention.translation_scores import score, sentence_chrf, write_translations

ROOT = Path(__file__).parents[3]
REFERENCES = ["Un homme roule à vélo.", "Deux chiens jouent dans la neige.", "Une fille, assise, lit l'un des livres."]
OUTPUTS = ["Un homme fait du vélo.", "", "Une fille assise lit\u2028un des\rlivres."]


def test_references_score_100_against_themselves():
    scores = score(REFERENCES, REFERENCES)
    assert scores.bleu == pytest.approx(100)
    assert scores.chrf == pytest.approx(100)
    np.testing.assert_allclose(sentence_chrf(REFERENCES, REFERENCES), 100)


def test_a_prefix_loses_by_the_brevity_penalty_alone():
    # All n-grams are right; the length is 5 of 6 words: exp(1 - 6/5).
    assert score(["a b c d e"], ["a b c d e f"]).bleu == pytest.approx(100 * math.exp(-0.2))


def test_bleu_adds_up_the_counts_of_the_corpus():
    outputs = ["the cat sat on a mat", "the cat"]
    references = ["the cat sat on the mat", "a dog ran"]
    # Right n-grams of n = 1 to 4: 5 of 6 + 2, 3 of 5 + 1, 2 of 4, 1 of 3; 8 words against 9.
    expected = 100 * math.exp(1 - 9 / 8) * (5 / 8 * 3 / 6 * 2 / 4 * 1 / 3) ** 0.25
    assert score(outputs, references).bleu == pytest.approx(expected)


def test_bleu_minds_case_and_splits_off_punctuation():
    reference = "The cat sat on the mat."
    assert score(["The cat sat on the mat ."], [reference]).bleu == pytest.approx(100)
    # 6 of 7 words, then 5 of 6, 4 of 5 and 3 of 4: all n-grams but the first of each length.
    lower = score(["the cat sat on the mat."], [reference]).bleu
    assert lower == pytest.approx(100 * (6 / 7 * 5 / 6 * 4 / 5 * 3 / 4) ** 0.25)


def test_chrf_is_the_mean_over_lengths_of_character_n_grams():
    # Characters: 2 of 3; pairs: 1 of 2; triples: 0 of 1; nothing longer. Precision and recall are the same.
    expected = 100 * (2 / 3 + 1 / 2 + 0) / 3
    assert score(["abd"], ["abc"]).chrf == pytest.approx(expected)
    np.testing.assert_allclose(sentence_chrf(["abd", "xyz"], ["abc", "abc"]), [expected, 0])


def test_chrf_weighs_recall_four_times_as_much_as_precision():
    # Precision 1; recall of n = 1 to 3: 3 of 4, 2 of 3, 1 of 2. F = 5 P R / (4 P + R).
    recall = (3 / 4 + 2 / 3 + 1 / 2) / 3
    assert score(["abc"], ["abcd"]).chrf == pytest.approx(100 * 5 * recall / (4 + recall))


def test_signatures_say_how_the_scores_were_computed():
    import sacrebleu

    scores = score(OUTPUTS, REFERENCES)
    bleu = dict(part.split(":") for part in scores.bleu_signature.split("|"))
    chrf = dict(part.split(":") for part in scores.chrf_signature.split("|"))
    version = sacrebleu.__version__
    assert bleu == {"nrefs": "1", "case": "mixed", "eff": "no", "tok": "13a", "smooth": "exp", "version": version}
    assert chrf == {
        "nrefs": "1",
        "case": "mixed",
        "eff": "yes",
        "nc": "6",
        "nw": "0",
        "space": "no",
        "version": version,
    }


def test_empty_outputs_count_as_missing_words():
    full = score(OUTPUTS[:1] + OUTPUTS[2:], REFERENCES[:1] + REFERENCES[2:])
    with_empty = score(OUTPUTS, REFERENCES)
    assert 0 < with_empty.bleu < full.bleu
    assert 0 < with_empty.chrf < full.chrf
    assert sentence_chrf(OUTPUTS, REFERENCES)[1] == 0
    nothing = score(["", ""], REFERENCES[:2])
    assert (nothing.bleu, nothing.chrf) == (0, 0)


def test_single_sentences_are_ranked_from_best_to_worst():
    reference = "Un homme roule à vélo dans la rue."
    ranked = [reference, "Un homme roule à vélo dans une rue.", "Un homme fait du vélo.", "Deux chiens dorment."]
    scores_N = sentence_chrf(ranked, [reference] * 4)
    assert (np.diff(scores_N) < 0).all()


def test_a_file_has_one_line_for_each_test_sentence():
    sources = ["A man rides a bicycle.", "Two dogs\nplay.", "A girl reads."]
    files = write_translations(sources, REFERENCES, OUTPUTS)
    assert set(files) == {"translations.txt", "sources.txt", "references.txt"}
    assert files["translations.txt"].decode() == "Un homme fait du vélo.\n\nUne fille assise lit un des livres.\n"
    assert files["references.txt"].decode().split("\n") == [*REFERENCES, ""]
    assert files["sources.txt"].decode().split("\n") == [sources[0], "Two dogs play.", sources[2], ""]


def test_sacrebleus_command_gives_the_same_scores_for_the_files(tmp_path):
    for name, content in write_translations(REFERENCES, REFERENCES, OUTPUTS).items():
        (tmp_path / name).write_bytes(content)
    command = "-m sacrebleu references.txt -i translations.txt -m bleu chrf -w 6"
    result = subprocess.run(
        [sys.executable, *command.split()], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    bleu, chrf = json.loads(result.stdout)
    scores = score(OUTPUTS, REFERENCES)
    assert bleu["score"] == pytest.approx(scores.bleu, abs=1e-5)
    assert chrf["score"] == pytest.approx(scores.chrf, abs=1e-5)
    assert bleu["signature"] == scores.bleu_signature


def test_scoring_imports_sacrebleu_only_then_and_touches_neither_network_nor_files(tmp_path):
    program = """
import sys
from experiments.seq2seq_attention import translation_scores
assert "sacrebleu" not in sys.modules
def refuse(event, arguments):
    if event in ("os.mkdir", "socket.connect", "socket.getaddrinfo"):
        sys.exit(f"{event} {arguments}")
sys.dont_write_bytecode = True
sys.addaudithook(refuse)
translation_scores.score(["a b"], ["a b"])
translation_scores.sentence_chrf(["a b"], ["a b"])
assert "sacrebleu" in sys.modules
"""
    environment = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", [score, sentence_chrf, lambda o, r: write_translations(r, r, o)])
def test_another_number_of_references_and_an_empty_test_set_are_refused(function):
    with pytest.raises(ValueError, match="1 translations and 2 references: give one for each"):
        function(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="no translations to score"):
        function([], [])


def test_another_number_of_sources_is_refused():
    with pytest.raises(ValueError, match="2 translations of 1 source sentences"):
        translation_scores.write_translations(["a"], ["b", "c"], ["b", "c"])
