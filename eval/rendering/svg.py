"""Matplotlib figures as SVG for pages: pixels instead of inches, colours as classes, text as text, the same bytes every time.

Colours appear twice: as attributes, so that a chart is right in any viewer, and as classes (f-NAME fills, s-NAME strokes), so that the
style sheet of a page can give them those of a dark scheme. Matplotlib is imported when the first chart is drawn, since that takes time.
"""

from __future__ import annotations

import io
import logging
import math
import re
import warnings
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from eval.rendering.theme import COLOURS, FONT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTER = 0.56  # mean width of a letter in font sizes
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
OWN = "chart-"  # before the group ids that become classes
_NAMES = {colour: name for name, colour in COLOURS.items()}
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff\ud800-\udfff]")  # XML has no such characters
_SETTINGS = Lock()  # matplotlib's settings are those of the process, and the page draws in several threads

Box = tuple[float, float, float, float]  # left, right, top, bottom, in pixels from the upper left corner


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this many pixels, one point each."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72, facecolor=COLOURS["paper"])


def new_axes(figure: Figure, box: Box) -> Axes:
    """Axes at this place: grid lines, no frame, no tick marks."""
    width, height = figure.get_size_inches() * 72
    left, right, top, bottom = box
    axes = figure.add_axes((left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height))
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0, labelsize=12, labelcolor=COLOURS["muted"], pad=8)
    axes.grid(True, color=COLOURS["grid"], linewidth=1)
    axes.set_axisbelow(True)
    return axes


def write(axes: Axes, x: float, y: float, text: str, colour: str = "ink", size: float = 12, align: str = "left", turn: float = 0) -> None:
    """Text whose base line begins at (x, y), in pixels from the upper left corner of the figure; `turn` in degrees."""
    axes.text(
        x,
        height_of(axes) - y,
        cleaned(text),
        color=COLOURS[colour],
        fontsize=size,
        ha=align,
        va="baseline",
        rotation=turn,
        rotation_mode="anchor",
        parse_math=False,
        transform=None,
    )


def height_of(axes: Axes) -> float:
    """Of the whole figure, in pixels."""
    return float(axes.figure.bbox.height)


def name_axes(axes: Axes, x_title: str, y_title: str) -> None:
    """What the axes are."""
    for name, title in ((axes.set_xlabel, x_title), (axes.set_ylabel, y_title)):
        name(cleaned(title), fontsize=13, color=COLOURS["ink"], labelpad=6, parse_math=False)


def plain_numbers(axes: Axes) -> None:
    """Ticks as 0.001, not as a power of ten."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
        axis.set_minor_locator(NullLocator())


def text_width(text: str, size: float) -> float:
    """In pixels, about; browsers have other fonts."""
    return LETTER * size * len(text)


def cleaned(text: str) -> str:
    """Without characters that XML forbids."""
    return _FORBIDDEN.sub("", text)


def is_finite(value: object) -> bool:
    """Whether it is a number that can be drawn."""
    return isinstance(value, int | float) and math.isfinite(value)


def svg_of(figure: Figure, description: str) -> str:
    """The figure as an SVG element; `description` is what a screen reader says."""
    import matplotlib

    file = io.BytesIO()
    fonts = logging.getLogger("matplotlib.font_manager")
    with _SETTINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that the measuring font lacks: the browser has its own fonts
        level, fonts.disabled = fonts.disabled, True
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": cleaned(description)}):
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        fonts.disabled = level
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(file.getvalue())
    width, height = (f"{side * 72:.6g}" for side in figure.get_size_inches())
    root.attrib.clear()
    root.attrib |= {"viewBox": f"0 0 {width} {height}", "width": width, "height": height, "role": "img", "aria-label": cleaned(description)}
    root.attrib |= {"font-family": FONT, "stroke-linejoin": "round", "stroke-linecap": "butt"}
    _prune(root)
    for element in root.iter():
        _restyle(element)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _prune(parent: ElementTree.Element) -> None:
    """Leave out metadata, the style sheet (it would be that of the whole page), clipping and white space."""
    for child in list(parent):
        _prune(child)
        tag = child.tag.removeprefix(f"{{{SVG}}}")
        empty = tag in ("g", "defs") and not len(child)
        if tag in ("metadata", "style", "clipPath") or empty:
            parent.remove(child)
        child.tail = None
    if parent.tag != f"{{{SVG}}}text":
        parent.text = None


def _restyle(element: ElementTree.Element) -> None:
    """Styles as attributes and classes; ids only where they are referred to; two digits after the point."""
    attributes = element.attrib
    attributes.pop("clip-path", None)
    classes = []
    if element.tag == f"{{{SVG}}}g":
        identity = attributes.pop("id", "")
        classes = [identity.removeprefix(OWN)] if identity.startswith(OWN) else []
    attributes |= _declarations(attributes.pop("style", ""))
    for kind, letter in (("fill", "f"), ("stroke", "s")):
        if name := _NAMES.get(attributes.get(kind, "")):
            classes.append(f"{letter}-{name}")
    if classes:
        attributes["class"] = " ".join(classes)
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    for name in ("d", "x", "y", "transform"):
        if name in attributes:
            attributes[name] = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}", " ".join(attributes[name].split()))


def _declarations(style: str) -> Mapping[str, str]:
    """A style as attributes; of a font only its size, since the page has its own."""
    pairs = dict(part.strip().split(": ", 1) for part in style.split(";") if ": " in part)
    if font := pairs.pop("font", ""):
        size = re.search(r"[\d.]+px", font)
        pairs["font-size"] = size[0] if size else "12px"
    pairs.pop("font-family", None)
    return pairs
