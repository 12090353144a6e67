"""Figures as inline SVG with the page's colours and fonts, light or dark.

Matplotlib draws with placeholder colours, each of which is replaced by a CSS variable of the page.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.artist import Artist
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
_SIZE_INCHES = (4.4, 3.1)
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
_MOVING = re.compile(r'<g id="moves (?P<what>[^|"]*)\|(?P<at>[^|"]*)\|(?P<visibility>\w+)"')
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
        axes = figure.add_subplot()
        paint(axes)
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return _for_page(buffer.getvalue(), description, _geometry(figure, axes))


def moves(
    artists: Iterable[Artist], figures: str, at: tuple[float, float], *, is_hidden: bool = False
) -> None:
    """Marks artists as moved by the page's slider.

    Args:
      artists: a point, or a line through it.
      figures: names of the figures that are its x and y; only x for a vertical line.
      at: where the artists are drawn.
      is_hidden: whether they are not shown until the slider has moved.
    """
    visibility = "hidden" if is_hidden else "visible"
    for artist in artists:
        artist.set_gid(f"moves {figures}|{at[0]:.9g} {at[1]:.9g}|{visibility}")


def _geometry(figure: Figure, axes: Axes) -> str:
    """Returns the attributes that relate the SVG's coordinates to those of the axes.

    Each is two points, the lower left and the upper right of the axes.
    """
    width, height = 72 * figure.get_size_inches()
    box = axes.get_position()
    corners = box.x0 * width, (1 - box.y0) * height, box.x1 * width, (1 - box.y1) * height
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    places = " ".join(f"{number:.2f}" for number in corners)
    limits = " ".join(f"{number:g}" for number in (left, bottom, right, top))
    return f'data-axes="{places}" data-limits="{limits}"'


def legend_above(axes: Axes, columns: int) -> None:
    """Adds a legend above the axes, where it doesn't cover the plot."""
    style = {"borderaxespad": 0.2, "handlelength": 1.6, "columnspacing": 1.4}
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=columns, **style)


def _for_page(svg: str, description: str, geometry: str) -> Markup:
    svg = _NOT_DRAWING.sub("", _PROLOGUE.sub("", svg))
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = _FONT.sub(r"font: \g<size> var(--sans)", svg)
    moving = r'<g data-moves="\g<what>" data-at="\g<at>" visibility="\g<visibility>"'
    svg = _MOVING.sub(moving, svg)
    svg = _GROUP_ID.sub("<g", svg)
    label = escape(description)
    scale = f" {geometry}" if "data-moves" in svg else ""
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{label}"{scale} ', 1))
