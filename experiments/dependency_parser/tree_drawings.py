"""Dependency trees as arcs over a sentence, gold against predicted, and the table of a parser's transitions.

The predicted tree is drawn above the words, ROOT's arrow included. A wrong head's arc is dashed and its label crossed;
where only the label is wrong, the label alone is crossed. The gold arcs of the wrong words hang below. A sentence too
long for the page is broken into rows; an arc between two rows leaves one at its edge and enters the other there.
Lengths are CSS pixels. Positions count words from 1; ROOT is 0.
"""

from itertools import pairwise
from typing import NamedTuple

from reporting import svg
from reporting.figures import COLOURS, WIDTH, Figure
from reporting.tables import table

WORD_SIZE, TAG_SIZE, LABEL_SIZE = 13, 10, 10
LEVEL_HEIGHT = 19  # between the levels of arcs: room for a label
LOWEST_LEVEL = 16  # from a word to the lowest arc
PORT_GAP = 6  # between the ends of two arcs at one word
WORD_GAP = 10
MARGIN = 14
ROW_GAP = 22
CORNER = 5  # radius of an arc's corners
ARROW = 6
WORD_HEIGHT = 32  # of a word with its tag below it
LONGEST_WORD = 24  # characters; the rest of a longer word is shown on hover
GOLD, WRONG = COLOURS[0], COLOURS[1]
CROSS = "\N{BALLOT X}"
LEGEND = (
    f"Above the words is the predicted tree: the arc from a wrong head is dashed and its label crossed ({CROSS}); a "
    "crossed label on a solid arc is wrong by itself. Below hang the gold arcs of the wrong words."
)


class Arc(NamedTuple):
    """An arc to draw: from `head` (0: ROOT) to `dependent`; `is_head_wrong` and `is_label_wrong` mark it."""

    head: int
    dependent: int
    label: str
    hover: str
    is_head_wrong: bool = False
    is_label_wrong: bool = False

    @property
    def text(self):
        """The label as it is printed."""
        cross = f"{CROSS} " if self.is_head_wrong or self.is_label_wrong else ""
        name = ("ROOT" if self.label in ("", "root") else f"ROOT {self.label}") if self.head == 0 else self.label
        return f"{cross}{svg.printable(name)}".rstrip()


class Part(NamedTuple):
    """What of an arc lies in a row of words `first` to `last`: from `left` to `right`, at a level from 1 upwards.

    An end that lies in another row is `first` - 1 or `last` + 1, the row's edges.
    """

    arc: Arc
    left: int
    right: int
    level: int


class Row(NamedTuple):
    """Where a row's words and the ends of its arcs are, in x.

    centres: {position: x}; ends: {(part, position): x}; above and below: its parts; width: with margins
    """

    first: int
    last: int
    centres: dict
    ends: dict
    above: tuple
    below: tuple
    width: float


def draw_tree(title, caption, sentence, heads=None, labels=None, width=WIDTH):
    """The figure of a sentence with its predicted tree above and its gold arcs below where the two differ.

    Args:
      sentence: its forms, tags, heads and labels (gold), as data.treebanks.Sentence has them.
      heads, labels: of the predicted tree, one a word; without labels arcs have none, without heads the gold tree is
        drawn.
      width: of the page, in pixels.
    Raises:
      ValueError: heads, labels and words differ in number.
    """
    above, below = arcs_of(sentence, heads, labels)
    rows = _rows(sentence, above, below, width)
    parts, top = [], 6.0
    for row in rows:
        word_y = top + _height(row.above) + WORD_SIZE / 2
        above_y, below_y = word_y - WORD_SIZE / 2 - 3, word_y + WORD_HEIGHT - WORD_SIZE / 2
        parts += [_draw_part(row, p, row.above, above_y, -1, _colour(p.arc)) for p in row.above]
        parts += _draw_words(row, sentence, word_y)
        parts += [_draw_part(row, p, row.below, below_y, 1, GOLD) for p in row.below]
        top = below_y + _height(row.below) + ROW_GAP
    markup = svg.document(title, max(row.width for row in rows), top - ROW_GAP + 6, "\n".join(parts))
    return Figure(title, markup, caption)


def transition_table(title, caption, steps):
    """The table of a parser's steps: (stack, buffer, new arc, transition), each as text, one a row."""
    columns = ("step", "stack", "buffer", "new arc", "transition")
    return table(title, caption, columns, [(number, *step) for number, step in enumerate(steps)])


def arcs_of(sentence, heads=None, labels=None):
    """(the arcs above, the arcs below) of a sentence: the predicted tree, and the gold arcs of the wrong words."""
    num_words = len(sentence.forms)
    heads = sentence.heads if heads is None else [int(head) for head in heads]
    is_labelled = labels is not None or heads is sentence.heads
    labels = (sentence.labels if heads is sentence.heads else [""] * num_words) if labels is None else labels
    if not num_words or {len(heads), len(labels), len(sentence.heads)} != {num_words}:
        raise ValueError(
            f"a tree of {num_words} words has {len(heads)} heads, {len(labels)} labels and {len(sentence.heads)} gold "
            "heads: give one of each for every word, and at least one word"
        )
    forms = ("ROOT", *sentence.forms)
    above, below = [], []
    for dependent, (head, label, gold, gold_label) in enumerate(
        zip(heads, labels, sentence.heads, sentence.labels, strict=True), start=1
    ):
        is_label_wrong = is_labelled and label != gold_label
        hover = f"{forms[head]} → {forms[dependent]}{f', {label}' if label else ''}"
        if head != gold or is_label_wrong:
            should = f"gold: {forms[gold]} → {forms[dependent]}{f', {gold_label}' if is_labelled else ''}"
            below.append(Arc(gold, dependent, gold_label if is_labelled else "", should))
            hover += f"; {should}"
        above.append(Arc(head, dependent, label, hover, head != gold, is_label_wrong))
    return above, below


# --- Where things are.


def _rows(sentence, above, below, width):
    """The sentence's words in as few rows as fit into `width`, filled from the first."""
    rows, first, num_words = [], 1, len(sentence.forms)
    while first <= num_words:
        row = _row(sentence, above, below, first, first)
        for last in range(first + 1, num_words + 1):
            longer = _row(sentence, above, below, first, last)
            if longer.width > width:
                break
            row = longer
        rows.append(row)
        first = row.last + 1
    return rows


def _row(sentence, above, below, first, last):
    """The `Row` of the words `first` to `last`, each as far left as the labels of its arcs allow."""
    above, below = _parts(above, first, last), _parts(below, first, last)
    offsets, half_widths = {}, {}
    for position in range(first, last + 1):
        of_sides = [_offsets(parts, position) for parts in (above, below)]
        offsets |= of_sides[0] | of_sides[1]
        widest_end = max((abs(offset) for side in of_sides for offset in side.values()), default=0) + PORT_GAP / 2
        roots = [part.arc.text for part in (*above, *below) if part.left == part.right == position]
        half_widths[position] = max(
            svg.text_width(_shown(sentence.forms[position - 1]), WORD_SIZE) / 2,
            svg.text_width(_shown(sentence.tags[position - 1]), TAG_SIZE) / 2,
            widest_end,
            *(svg.text_width(text, LABEL_SIZE) / 2 for text in roots),
        )
    xs = {first - 1: MARGIN}
    half_widths |= {first - 1: -WORD_GAP, last + 1: 0.0}
    by_right = {}
    for part in (*above, *below):
        by_right.setdefault(part.right, []).append(part)
    for position in range(first, last + 2):
        x = xs[position - 1] + half_widths[position - 1] + WORD_GAP + half_widths[position]
        for part in by_right.get(position, ()):
            if part.left < part.right:
                start = xs[part.left] + offsets.get((part, part.left), 0.0)
                x = max(x, start + _label_room(part) - offsets.get((part, position), 0.0))
        xs[position] = x
    ends = {(part, end): xs[end] + offsets.get((part, end), 0.0) for part in (*above, *below) for end in part[1:3]}
    centres = {position: xs[position] for position in range(first, last + 1)}
    return Row(first, last, centres, ends, above, below, xs[last + 1] + MARGIN)


def _parts(arcs, first, last):
    """The parts of arcs in a row, shorter arcs below longer ones, such that no two of one level overlap."""
    placed = []
    spans = [((arc.head or arc.dependent, arc.dependent), arc) for arc in arcs]
    for (head, dependent), arc in sorted(spans, key=lambda item: (abs(item[0][0] - item[0][1]), item[1].dependent)):
        left, right = max(min(head, dependent), first - 1), min(max(head, dependent), last + 1)
        if right < first or left > last:
            continue
        if left < right:  # only neighbours that share no more than an end may have one level
            levels = [p.level for p in placed if p.left < right and left < p.right and p.left < p.right]
            placed.append(Part(arc, left, right, 1 + max(levels, default=0)))
    for arc in arcs:  # ROOT's arrows, above everything at their words
        if arc.head == 0 and first <= arc.dependent <= last:
            levels = [p.level for p in placed if p.left <= arc.dependent <= p.right]
            placed.append(Part(arc, arc.dependent, arc.dependent, 1 + max(levels, default=0)))
    return tuple(placed)


def _offsets(parts, position):
    """{(part, position): how far from the word's centre the part ends}: long arcs inside, so that none cross."""
    to_left = sorted((p for p in parts if p.right == position > p.left), key=lambda p: p.level)
    to_right = sorted((p for p in parts if p.left == position < p.right), key=lambda p: -p.level)
    root = [p for p in parts if p.left == p.right == position]
    in_order = (*to_left, *root, *to_right)
    middle = len(to_left) if root else (len(in_order) - 1) / 2
    return {(part, position): PORT_GAP * (number - middle) for number, part in enumerate(in_order)}


def _label_room(part):
    """The least width of an arc: its label's, and its corners'."""
    return (svg.text_width(part.arc.text, LABEL_SIZE) if part.arc.text else 0.0) + 2 * CORNER + 2


def _height(parts):
    """How high the parts of one side of the words are, labels included."""
    return LOWEST_LEVEL + LEVEL_HEIGHT * max(part.level for part in parts) if parts else 0.0


def _shown(word):
    word = svg.printable(word)
    return word if len(word) <= LONGEST_WORD else word[: LONGEST_WORD - 1] + "…"


# --- What is drawn.


def _colour(arc):
    """The colour of a predicted arc."""
    return WRONG if arc.is_head_wrong else "currentColor"


def _label_middle(row, part, parts):
    """The middle of the part's widest stretch that no end of a higher arc crosses (as some do in crossing trees)."""
    left, right = row.ends[part, part.left], row.ends[part, part.right]
    ends = (row.ends[p, end] for p in parts if p.level > part.level for end in {p.left, p.right})
    stops = sorted([left, right, *(x for x in ends if left < x < right)])
    return sum(max(pairwise(stops), key=lambda stretch: stretch[1] - stretch[0])) / 2


def _draw_words(row, sentence, y):
    """The row's words, each with its tag below and itself in full on hover."""
    drawn = []
    for position, x in row.centres.items():
        form, tag = sentence.forms[position - 1], sentence.tags[position - 1]
        hover = f"<title>{svg.escape(svg.printable(f'{position} {form} ({tag})'))}</title>"
        word = svg.text(x, y, _shown(form), attributes=f' font-size="{WORD_SIZE}" font-weight="600"')
        below = svg.text(x, y + 15, _shown(tag), attributes=f' font-size="{TAG_SIZE}" opacity="0.75"')
        drawn.append(f"<g>{hover}{word}{below}</g>")
    return drawn


def _draw_part(row, part, parts, y, direction, colour):
    """One of the parts of a side, rising from `y` (`direction` -1) or hanging (1), with arrow head, label and hover."""
    arc = part.arc
    level_y = y + direction * (LOWEST_LEVEL + LEVEL_HEIGHT * (part.level - 1))
    left, right = row.ends[part, part.left], row.ends[part, part.right]
    if part.left == part.right:
        path = f"M{left:g} {level_y:g}V{y:g}"
    else:
        down, up = -direction * CORNER, direction * CORNER
        start = f"M{left:g} {y:g}V{level_y + down:g}q0 {up:g} {CORNER} {up:g}"
        stop = f"H{right - CORNER:g}q{CORNER} 0 {CORNER} {down:g}V{y:g}"
        path = (start if part.left >= row.first else f"M{left:g} {level_y:g}") + (
            stop if part.right <= row.last else f"H{right:g}"
        )
    dashes = ' stroke-dasharray="5 3"' if arc.is_head_wrong else ""
    drawn = [
        f"<title>{svg.escape(svg.printable(arc.hover))}</title>",
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>',
    ]
    if row.first <= arc.dependent <= row.last:
        tip = row.ends[part, arc.dependent]
        rise = direction * ARROW
        drawn.append(f'<path d="M{tip:g} {y:g}l{-ARROW / 2:g} {rise:g}h{ARROW}z" fill="{colour}"/>')
    ends_here = part.left >= row.first or part.right <= row.last
    if arc.text and ends_here:
        is_wrong = arc.is_head_wrong or arc.is_label_wrong
        weight = ' font-weight="600"' if is_wrong else ""
        label_y = level_y + direction * (LABEL_SIZE / 2 + 2)
        x = _label_middle(row, part, parts)
        drawn.append(svg.text(x, label_y, arc.text, attributes=f' font-size="{LABEL_SIZE}"{weight}'))
    return f"<g>{''.join(drawn)}</g>"
