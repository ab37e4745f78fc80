"""From a matplotlib figure to an SVG that takes its colours and its font from the page.

Design facts:
- Figures are drawn without pyplot, so that no state is left behind and no display is needed.
- The colours of a figure are stand-ins, exchanged for CSS variables: one SVG serves light and dark pages.
- Text stays text. It is laid out in matplotlib's own font, which is wider than what browsers take.
- Ids get a prefix, since one page holds several figures.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Stand-ins: greys that nothing else produces.
INK, MUTED, LINE, FIRST, SECOND, PAPER = (f"#0{i}0{i}0{i}" for i in range(1, 7))
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
    PAPER: "var(--paper)",
}
# Pixels are points: what is measured while drawing is what stands in the SVG.
_DPI = 72

THEME = """
:root{--paper:#fffdfa;--ink:#23201c;--muted:#6f675e;--line:#ddd5ca;--first:#b04e16;--second:#2f6597;
--font:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
@media (prefers-color-scheme:dark){:root{--paper:#191714;--ink:#ece6dd;--muted:#a69d91;--line:#3b362f;
--first:#f09a5c;--second:#82b4e4}}
svg text{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
"""


def new_figure(width: int, height: int) -> Figure:
    """An empty, transparent figure of a size in pixels, laid out so that nothing sticks out."""
    figure = Figure(
        figsize=(width / _DPI, height / _DPI), dpi=_DPI, layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1)
    )
    figure.patch.set_alpha(0.0)
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes) -> None:
    """Quiet axes: a light grid, no frame, small ticks."""
    axes.patch.set_alpha(0.0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(LINE)
    axes.tick_params(colors=MUTED, length=0, labelsize=11, pad=5, which="both")
    axes.grid(True, axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)


@contextmanager
def drawing() -> Iterator[None]:
    """The settings of this module for as long as something is drawn, and no longer."""
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "limbeck", "path.simplify_threshold": 0.2}
    with mpl.rc_context(settings), warnings.catch_warnings():
        # The measuring font lacks, for example, Chinese; the browser's font has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def draw(figure: Figure) -> None:
    """Lay the figure out, so that positions in pixels can be asked for."""
    with drawing():
        figure.canvas.draw()


def to_svg(figure: Figure, prefix: str, alt: str) -> str:
    """Render a figure as an inline SVG.

    Args:
        figure: drawn in the stand-in colours.
        prefix: put before every id; no two figures of a page may share it.
        alt: what a reader who cannot see the figure is told.

    Returns:
        An `<svg>` element without fixed size, labelled with `alt`.
    """
    buffer = io.StringIO()
    with drawing():
        figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", text)
    text = re.sub(r"(font: [^;\"]*?px )[^;\"]*", r"\1var(--font)", text)
    text = re.sub("|".join(_VARIABLES), lambda match: _VARIABLES[match[0]], text)
    opening, rest = text.split(">", 1)
    view_box = re.search(r'viewBox="[^"]*"', opening)
    if view_box is None:
        raise ValueError("matplotlib wrote an SVG without a viewBox")
    label = f'role="img" aria-label="{escape(alt, quote=True)}"'
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<svg {names} {view_box[0]} {label}>{rest}"


def standalone(svg: str) -> str:
    """The same SVG as a file of its own: with the colours that a page would give it, light and dark."""
    opening, rest = svg.split(">", 1)
    size = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', opening)
    extent = f' width="{size[1]}" height="{size[2]}"' if size else ""
    backdrop = '<rect width="100%" height="100%" fill="var(--paper)"/>'
    return f"{opening}{extent}><style>{THEME}</style>{backdrop}{rest}"
