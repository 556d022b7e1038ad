"""Pieces of SVG that figures are made of, which can be inlined into a page of a light or a dark theme.

Lines and text use `currentColor`, so they take the page's colour; lengths are CSS pixels.
"""

import hashlib
import io
import re
import unicodedata
import warnings
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

import numpy as np

# A colour that no figure uses for data: what matplotlib draws in it becomes `currentColor`.
INK = "#010203"

# Ends of the colour ramps in OKLab (lightness, green-red, blue-yellow), so that equal steps look equally large.
PALE = (0.965, -0.002, -0.008)
NAVY = (0.29, -0.015, -0.105)
WHITE = (0.965, 0.0, 0.0)
BLUE = (0.42, -0.03, -0.145)
RUST = (0.42, 0.115, 0.085)

MATPLOTLIB_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reporting",
    "text.parse_math": False,
    "font.size": 12.0,
    "axes.labelsize": 12.0,
    "xtick.labelsize": 11.0,
    "ytick.labelsize": 11.0,
    "legend.fontsize": 12.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
}


def document(label: str, width: float, height: float, body: str, attributes: str = "") -> str:
    """One `<svg>` element around `body`, `width` x `height` pixels, announced to screen readers as `label`.

    Ids that nothing refers to are dropped; the others get a prefix made from the content, because all figures of a page
    share one namespace.
    """
    prefix = "s" + hashlib.sha256(f"{label}\n{body}".encode()).hexdigest()[:10] + "-"
    referenced = set(re.findall(r'(?:url\(#|href="#)([^")]+)', body))

    def add_prefix(tag: re.Match) -> str:
        references = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", tag[0])
        return re.sub(r' id="([^"]*)"', lambda id: f' id="{prefix}{id[1]}"' if id[1] in referenced else "", references)

    body = re.sub(r"<[^<>]+>", add_prefix, body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label={quoteattr(printable(label))} '
        f'font-family="sans-serif"{attributes}>{body}</svg>'
    )


def from_matplotlib(label: str, figure) -> str:
    """A matplotlib figure, drawn under `MATPLOTLIB_STYLE` at 72 dots an inch, as an `<svg>` element.

    The same figure gives the same bytes: it holds no dates, and ids are hashed with a fixed salt.
    """
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # matplotlib only measures a character that its own font lacks; the browser draws it.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    whole = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", lambda control: printable(control[0]), buffer.getvalue())
    width, height = (float(number) for number in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', whole).groups())
    body = whole[whole.index(">", whole.index("<svg")) + 1 : whole.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # A style element would apply to every figure of the page. Its one rule becomes attributes of the root.
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href").replace(INK, "currentColor")
    # Text inherits the page's font. (Some versions of matplotlib write `font: 12px A, B`, others `font-family: A, B`.)
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", body)
    body = re.sub(r"font-family: [^;\"]*; ", "", body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    return document(label, width, height, body, ' stroke-linejoin="round" stroke-linecap="butt"')


def text(x: float, y: float, string: str, anchor: str = "middle", rotate: float = 0.0, attributes: str = "") -> str:
    """A `<text>` element centred vertically on `y`, turned by `rotate` degrees about its anchor."""
    turned = f' transform="rotate({rotate:g} {x:g} {y:g})"' if rotate else ""
    return (
        f'<text x="{x:g}" y="{y:g}" dy=".35em" text-anchor="{anchor}" fill="currentColor"'
        f"{turned}{attributes}>"
        f"{escape(printable(string))}</text>"
    )


def text_width(string: str, size: float) -> float:
    """The most pixels that `string` is wide in common fonts of `size` pixels."""
    return size * sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.64 for c in printable(string))


def printable(string: str) -> str:
    """`string` with its control characters spelled out: XML forbids most of them, and the rest are invisible."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(string))


def visible(token: str) -> str:
    """A token as a figure prints it: spaces as open boxes, an empty token as the empty set, controls spelled out."""
    return printable(token).replace(" ", "\N{OPEN BOX}") or "\N{EMPTY SET}"


def ramp(fractions: np.ndarray, colours: Sequence[tuple[float, float, float]] = (PALE, NAVY)) -> np.ndarray:
    """Colours `#rrggbb` of `fractions` in [0, 1] along straight lines through evenly spaced OKLab `colours`.

    Source: Ottosson (2020), "A perceptual color space for image processing".
    """
    clipped = np.clip(np.asarray(fractions, np.float64), 0.0, 1.0)
    knots = np.linspace(0.0, 1.0, len(colours))
    lightness, green_red, blue_yellow = (np.interp(clipped, knots, axis) for axis in zip(*colours, strict=True))
    long = (lightness + 0.3963377774 * green_red + 0.2158037573 * blue_yellow) ** 3
    medium = (lightness - 0.1055613458 * green_red - 0.0638541728 * blue_yellow) ** 3
    short = (lightness - 0.0894841775 * green_red - 1.2914855480 * blue_yellow) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=-1,
    ).clip(0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    bytes_ = np.rint(255 * encoded).astype(int)
    return np.apply_along_axis(lambda rgb: "#{:02x}{:02x}{:02x}".format(*rgb), -1, bytes_)
