"""Figures as inline SVG with the page's colours and fonts, light or dark.

Matplotlib draws with placeholder colours, each of which is replaced by a CSS variable of the page.
"""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#010101"
MUTED = "#020202"
GRID = "#030303"
PAPER = "#040404"
POSITIVE = "#050505"
NEGATIVE = "#060606"

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    PAPER: "--paper",
    POSITIVE: "--positive",
    NEGATIVE: "--negative",
}
# The width of a figure's column on a wide page and on a phone, so that fonts are not scaled.
_SIZE_INCHES = (4.9, 3.4)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    # Names may contain $, such as a class $x$, and are not formulas.
    "text.parse_math": False,
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
}
_FONT = re.compile(r"font: (?P<size>[\d.]+px)[^;\"]*")
# Matplotlib numbers the groups of each figure from 1, but ids must be unique in the page.
_GROUP_ID = re.compile(r'<g id="[^"]*"')
_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
# Matplotlib's style element would apply to the whole page.
_NOT_DRAWING = re.compile(r"<(?P<tag>metadata|style)\b.*?</(?P=tag)>", re.DOTALL)


def draw(name: str, description: str, paint: Callable[[Axes], None]) -> Markup:
    """Returns an SVG element without external references.

    Args:
      name: unique among the figures of a page.
      description: text alternative for readers who can't see the figure.
      paint: draws on the axes.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # Matplotlib's font lacks glyphs that the browser has.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        figure.patch.set_alpha(0)
        paint(figure.add_subplot())
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return _for_page(buffer.getvalue(), description)


def legend_above(axes: Axes, columns: int) -> None:
    """Adds a legend above the axes, where it doesn't cover the plot."""
    style = {"borderaxespad": 0.2, "handlelength": 1.6, "columnspacing": 1.4}
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=columns, **style)


def _for_page(svg: str, description: str) -> Markup:
    svg = _NOT_DRAWING.sub("", _PROLOGUE.sub("", svg))
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = _FONT.sub(r"font: \g<size> var(--sans)", svg)
    svg = _GROUP_ID.sub("<g", svg)
    label = escape(description)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))
