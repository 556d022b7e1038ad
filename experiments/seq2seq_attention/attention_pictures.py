"""Pictures of attention: where each target word looks, beside the links that are known or that an aligner finds.

All are of the first seed.

Axes: S source time, N pairs, T target time, P pairs whose attention is drawn.
"""

from typing import NamedTuple

from data.subwords import SentencePiece
from experiments.seq2seq_attention.corpus import GENERATED, Corpus
from experiments.seq2seq_attention.measures import align_by_hmm
from reporting.alignments import AlignmentPicture, alignment_pictures
from reporting.figures import MOST_CELLS
from training.experiment import ArmResult

DRAWN_ONCE = "transformer"  # the arm that is shown beside the others on the first sentence
END_SIGN = "[end]"
WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"  # sentencepiece's sign for the space before a word
CONTINUATION = "\N{MIDDLE DOT}"


class ScoredArm(NamedTuple):
    """An arm's result, the corpus that it was tested on, and what was measured of it, {name: array [S, ...]}."""

    arm: str
    result: ArmResult
    corpus: Corpus
    examined: dict

    @property
    def attends(self):
        """Whether there is attention to draw."""
        return "drawn_weights" in self.examined


def translation_pictures(compared, drawn_once):
    """Attention to the drawn sentences that fit: a figure for each where arms are compared, else one of all."""
    if not compared:
        return []
    test = compared[0].corpus.pairs["test"]
    drawn = [
        (p, n)
        for p, n in enumerate(compared[0].examined["drawn_pairs"][0])
        if max(test.source_length[n], test.target_length[n]) <= MOST_CELLS
    ]
    if not drawn:
        return []
    if len(compared) + len(drawn_once) == 1:
        pictures = [draw_pair(compared[0], p, f"test sentence {n + 1}") for p, n in drawn]
        title = f"Attention of {compared[0].arm} to sentences of the test set"
        return [alignment_pictures(title, caption_pictures(compared), pictures, link_name=name_links(compared[0]))]
    all_figures = []
    for p, n in drawn:
        arms = compared if all_figures else [*compared, *drawn_once]
        all_figures.append(
            alignment_pictures(
                f"Attention to sentence {n + 1} of the test set: {', '.join(t.arm for t in arms)}",
                "The same for another sentence" if all_figures else caption_pictures(arms),
                [draw_pair(t, p, t.arm) for t in arms],
                link_name=name_links(compared[0]),
            )
        )
    return all_figures


def sequence_pictures(tested):
    """Attention to one sentence of each task of sequences; no figure where there is none."""
    if not tested:
        return []
    return [
        alignment_pictures(
            f"Attention to sequences: {', '.join(t.arm for t in tested)}",
            caption_pictures(tested),
            [draw_pair(t, 0, t.arm) for t in tested],
        )
    ]


def draw_pair(tested, p, title):
    """The AlignmentPicture of the p-th drawn pair, framed where gold links or, of real text, the aligner's are."""
    corpus, n = tested.corpus, tested.examined["drawn_pairs"][0, p]
    test = corpus.pairs["test"]
    S, T = test.source_length[n], test.target_length[n]
    links_NTS = corpus.gold["test"].links if corpus.gold else align_by_hmm(corpus, "test")
    return AlignmentPicture(
        title,
        read_words(corpus, test.source[n, :S]),
        read_words(corpus, test.target[n, :T]),
        tested.examined["drawn_weights"][0, p, :T, :S],
        links_NTS[n, :T, :S],
    )


def read_words(corpus, ids):
    """What is written on a picture's axis for each id: the word, the end's sign, or a subword piece.

    A piece that begins a word stands as it is, and one that continues a word has a dot in front; punctuation has none.
    Where the space before a word is a piece of its own, it is a space.
    """
    words = []
    for id in ids.tolist():
        piece = corpus.tokenizer.piece(id)
        if id == corpus.end:
            piece = END_SIGN
        elif isinstance(corpus.tokenizer, SentencePiece):
            starts_word = piece.startswith(WORD_START) or not any(map(str.isalnum, piece))
            piece = (piece.removeprefix(WORD_START) or " ") if starts_word else CONTINUATION + piece
        words.append(piece)
    return words


def name_links(tested):
    """What the frames of a picture mark."""
    return "gold link" if tested.corpus.gold else "link of an HMM aligner"


def caption_pictures(tested):
    """How to read the rows, the frames and the words of pictures of these arms."""
    sentences = [
        "Each row is where the step looks that predicts its target word, having read the reference's words before it; "
        f"{END_SIGN} is the end token. First seed"
    ]
    if any(t.corpus.name == GENERATED for t in tested):
        sentences.append("The sentences that are drawn were chosen to show many kinds of words")
    if not all(t.corpus.gold for t in tested):
        sentences.append(
            "What the words of this text depend on is not known: frames are the links that a statistical aligner (IBM "
            "model 1, then an HMM), trained on the training pairs, finds, and it errs too"
        )
    if any(isinstance(t.corpus.tokenizer, SentencePiece) for t in tested):
        sentences.append(f"A piece that continues a word has a dot in front ({CONTINUATION})")
    for t in tested:
        if t.arm == DRAWN_ONCE:
            number = int(t.examined["map"][0]) + 1
            sentences.append(f"Of {t.arm}: cross-attention map {number}, which aligns best on the validation pairs")
    return ". ".join(sentences)
