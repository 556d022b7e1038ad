"""How good translations are, by sacrebleu, and the files in which they are kept.

Texts are detokenised lines, one a sentence. Line ends within one count as spaces, so that the scores of a list are
those of its file.
"""

from typing import NamedTuple

import numpy as np

TRANSLATIONS_FILE, SOURCES_FILE, REFERENCES_FILE = "translations.txt", "sources.txt", "references.txt"


class Scores(NamedTuple):
    """BLEU and chrF of a corpus, in percent, and sacrebleu's signatures, which say how they were computed."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def score(outputs, references):
    """The ``Scores`` of translations against one reference each.

    BLEU (Papineni et al. 2002) of the whole corpus as sacrebleu computes it by default (Post 2018): with case, split
    into words by its tokeniser 13a. chrF2 (Popovic 2015): character n-grams of up to 6, recall counting twice.

    Raises ValueError where there are no translations, or not as many as references.
    """
    from sacrebleu.metrics import BLEU, CHRF

    outputs, references = _check(outputs, references)
    bleu, chrf = BLEU(), CHRF()
    return Scores(
        bleu.corpus_score(outputs, [references]).score,
        chrf.corpus_score(outputs, [references]).score,
        str(bleu.get_signature()),
        str(chrf.get_signature()),
    )


def sentence_chrf(outputs, references):
    """The chrF2 [N] of each translation, in percent: what ranks single sentences.

    chrF rather than BLEU, which is 0 before smoothing wherever no four words in a row are right. It is 0 where the
    translation or the reference is empty. Raises ValueError as ``score`` does.
    """
    from sacrebleu.metrics import CHRF

    chrf = CHRF()
    pairs = zip(*_check(outputs, references), strict=True)
    return np.array([chrf.sentence_score(output, [reference]).score for output, reference in pairs])


def write_translations(sources, references, outputs):
    """{file name: bytes} of a test set, in UTF-8: line i of each file belongs to test sentence i.

    TRANSLATIONS_FILE holds the outputs alone and REFERENCES_FILE the references, so that
    ``sacrebleu references.txt -i translations.txt`` scores them. All three are written whatever the data: a user who
    has no files of the test set, as with TFDS or generated sentences, can score them, too.

    Raises ValueError as ``score`` does, and for another number of sources.
    """
    outputs, references = _check(outputs, references)
    if len(sources) != len(outputs):
        raise ValueError(f"{len(outputs)} translations of {len(sources)} source sentences: give one for each")
    texts = {TRANSLATIONS_FILE: outputs, SOURCES_FILE: map(_one_line, sources), REFERENCES_FILE: references}
    return {name: "".join(f"{line}\n" for line in lines).encode() for name, lines in texts.items()}


def _check(outputs, references):
    """Both as lists of single lines."""
    if len(outputs) != len(references):
        raise ValueError(f"{len(outputs)} translations and {len(references)} references: give one for each")
    if not len(outputs):
        raise ValueError("there are no translations to score: give at least one")
    return [_one_line(text) for text in outputs], [_one_line(text) for text in references]


def _one_line(text):
    # A model that writes bytes may write a line end, which would shift all later lines of the file.
    return " ".join(text.splitlines())
