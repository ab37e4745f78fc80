"""The plots of a report: quality against time, per-query differences, training curves; each as an SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from limbeck.evaluation.report.placement import Box, place_labels
from limbeck.evaluation.report.svg import (
    FIRST,
    INK,
    MUTED,
    PAPER,
    SECOND,
    draw,
    drawing,
    new_figure,
    style_axes,
    to_svg,
)
from limbeck.evaluation.results import Estimate

Curve = tuple[str, NDArray[np.float64], NDArray[np.float64]]

_CURVE_POINTS = 300
_BARS = 1_200
_PANEL_CHARACTERS = 33
_MARKER_RADIUS = 6.0


@dataclass(frozen=True, slots=True)
class Frame:
    """The size of a figure in pixels, and how its text is broken."""

    name: str
    width: int
    label_characters: int
    columns: int


# Text does not shrink with the page: a narrow screen gets a drawing of its own.
FRAMES = (Frame("wide", 720, 26, 3), Frame("narrow", 350, 15, 1))


@dataclass(frozen=True, slots=True)
class QualityPoint:
    """A system in the plot of quality against time; `role` is 1 or 2 for the two compared, else 0."""

    name: str
    ms: float
    quality: Estimate
    role: int = 0


def quality_plot(points: Sequence[QualityPoint], metric: str, unit: str, frame: Frame, alt: str) -> str:
    """Quality against the median time per query or pair (logarithmic), with intervals and labels.

    Args:
        points: the systems, times above 0 ms.
        metric: what the vertical axis shows.
        unit: what the time is for.
        frame: the size.
        alt: the text for those who cannot see it.
    """
    figure = new_figure(frame.width, 420 if frame.name == "wide" else 400)
    axes = figure.add_subplot()
    style_axes(axes)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    times, values = np.array([p.ms for p in points]), np.array([p.quality.value for p in points])
    _limit_time(axes, times)
    _limit_quality(axes, points)
    frontier = _frontier(times, values)
    axes.plot(*frontier.T, color=MUTED, linewidth=1.1, linestyle=(0, (1.5, 3)), zorder=1)
    for point in points:
        color = (INK, FIRST, SECOND)[point.role]
        if point.quality.has_interval:
            axes.vlines(
                point.ms, point.quality.low, point.quality.high, color=color, linewidth=1.4, alpha=0.55
            )
        axes.plot(
            point.ms,
            point.quality.value,
            "o",
            color=color,
            markersize=9,
            markeredgecolor=PAPER,
            zorder=4 + bool(point.role),
        )
    axes.set_xlabel(f"median time per {unit}, ms", color=MUTED, labelpad=6)
    set_heading(axes, metric)
    draw(figure)
    _label_points(axes, points, frontier, frame)
    return to_svg(figure, f"quality-{frame.name}", alt)


def difference_plot(differences: NDArray[np.float64], names: tuple[str, str], frame: Frame, alt: str) -> str:
    """Per-query differences, sorted from the first system's largest win to its largest loss.

    Args:
        differences: shape (queries,), first minus second.
        names: the two systems.
        frame: the size.
        alt: the text for those who cannot see it.
    """
    ordered = np.sort(differences)[::-1]
    wins, losses = int((ordered > 0).sum()), int((ordered < 0).sum())
    edges = np.arange(len(ordered) + 1, dtype=np.float64)
    if len(ordered) > _BARS:
        # More bars than pixels: quantiles have the same outline.
        edges = np.linspace(0, len(ordered), _BARS + 1)
        ordered = ordered[((edges[:-1] + edges[1:]) / 2).astype(int)]
    figure = new_figure(frame.width, 300)
    axes = figure.add_subplot()
    style_axes(axes)
    for color, part in ((FIRST, np.maximum(ordered, 0)), (SECOND, np.minimum(ordered, 0))):
        axes.stairs(part, edges, fill=True, color=color, linewidth=0)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.spines["bottom"].set_visible(False)
    reach = max(0.05, float(np.abs(ordered).max(initial=0.0)) * 1.08)
    axes.set_ylim(-reach, reach)
    axes.set_xlim(0, max(1.0, edges[-1]))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], symmetric=True))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:+.2g}".replace("-", "−") if value else "0")
    )
    axes.set_xlabel("queries, sorted", color=MUTED, labelpad=6)
    ties = len(differences) - wins - losses
    # Sorted downwards, the bars leave the upper right and the lower left corner free.
    _corner(axes, f"{_short(names[0], frame)} better: {wins:,}", FIRST, top=True)
    _corner(axes, f"{_short(names[1], frame)} better: {losses:,}", SECOND, top=False)
    _corner(axes, f"equal: {ties:,}", MUTED, top=True, line=1)
    return to_svg(figure, f"differences-{frame.name}", alt)


def curves_plot(curves: Sequence[Curve], frame: Frame, alt: str) -> str:
    """Training curves, a panel each, since losses differ in scale: as logged, and smoothed.

    Args:
        curves: name, steps of shape (points,) in ascending order, and values of shape (points,).
        frame: the size.
        alt: the text for those who cannot see it.
    """
    columns = min(frame.columns, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(frame.width, 30 + 200 * rows)
    for index, (name, steps, values) in enumerate(curves):
        axes = figure.add_subplot(rows, columns, index + 1)
        style_axes(axes)
        x, y = _thin(steps, values)
        axes.plot(x, y, color=FIRST, linewidth=1.0, alpha=0.35)
        axes.plot(x, _smooth(y), color=FIRST, linewidth=1.9, marker="o" if len(x) == 1 else "")
        # Around a single step every other tick would be rounded to it.
        axes.xaxis.set_major_locator(
            MaxNLocator(3, integer=True) if x[0] != x[-1] else FixedLocator(x[:1].tolist())
        )
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.margins(x=0.01, y=0.12)
        set_heading(axes, _panel_name(name))
        if index >= len(curves) - columns:
            axes.set_xlabel("step", color=MUTED, labelpad=4)
    return to_svg(figure, f"curves-{frame.name}", alt)


def _panel_name(curve: str) -> str:
    """As much of a curve's name as stands above a panel: "distil: cosine kl divergence"."""
    words = curve.removesuffix("_loss").replace("_", " ")
    return words if len(words) <= _PANEL_CHARACTERS else f"{words[: _PANEL_CHARACTERS - 1]}…"


def _limit_time(axes: Axes, times: NDArray[np.float64]) -> None:
    # At least a decade and room at the sides for the labels; whole decades leave too much empty.
    low, high = np.log10(times.min()), np.log10(times.max())
    room = max(0.12 * (high - low), (1.0 - (high - low)) / 2, 0.3)
    axes.set_xlim(10 ** (low - room), 10 ** (high + room))


def _limit_quality(axes: Axes, points: Sequence[QualityPoint]) -> None:
    known = [(p.quality.low, p.quality.high) for p in points if p.quality.has_interval]
    ends = [p.quality.value for p in points] + [end for pair in known for end in pair]
    room = max(0.14 * (max(ends) - min(ends)), 0.02)
    axes.set_ylim(min(ends) - room, max(ends) + room)


def _frontier(times: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The systems that no other beats in both quality and time, (systems, 2), fastest first."""
    order = np.lexsort((-values, times))
    best = np.maximum.accumulate(values[order])
    kept = np.concatenate([[True], best[1:] > best[:-1]])
    chosen = order[kept]
    return np.stack([times[chosen], values[chosen]], axis=1)


def _label_points(
    axes: Axes, points: Sequence[QualityPoint], frontier: NDArray[np.float64], frame: Frame
) -> None:
    names = [textwrap.fill(point.name, frame.label_characters, break_on_hyphens=False) for point in points]
    colors = [(INK, FIRST, SECOND)[point.role] for point in points]
    places = [tuple(axes.transData.transform((p.ms, p.quality.value))) for p in points]
    texts = [
        axes.text(
            point.ms,
            point.quality.value,
            name,
            color=color,
            fontsize=11.5,
            va="center",
            ha="center",
            parse_math=False,
            zorder=6,
            in_layout=False,
        )
        for point, name, color in zip(points, names, colors, strict=True)
    ]
    with drawing():
        extents = [text.get_window_extent() for text in texts]
    obstacles = [
        Box(x - _MARKER_RADIUS, y - _MARKER_RADIUS, x + _MARKER_RADIUS, y + _MARKER_RADIUS) for x, y in places
    ]
    for (x, _), point in zip(places, points, strict=True):
        if point.quality.has_interval:
            low, high = axes.transData.transform(
                [(point.ms, point.quality.low), (point.ms, point.quality.high)]
            )[:, 1]
            obstacles.append(Box(x - 3, low, x + 3, high))
    corners = axes.transData.transform(frontier)
    for start, end in pairwise(corners):
        obstacles += [Box(x - 2, y - 2, x + 2, y + 2) for x, y in np.linspace(start, end, 60)]
    inner = axes.get_window_extent()
    bounds = Box(inner.x0, inner.y0, inner.x1, inner.y1)
    labels = place_labels(places, [(e.width, e.height) for e in extents], bounds, obstacles)
    back = axes.transData.inverted()
    for text, label, (x, y) in zip(texts, labels, places, strict=True):
        box = label.box
        centre = back.transform(((box.left + box.right) / 2, (box.bottom + box.top) / 2))
        text.set_position((centre[0], centre[1]))
        text.set_multialignment("left" if box.left > x else "right" if box.right < x else "center")
        if label.leader:
            nearest = (min(max(x, box.left), box.right), min(max(y, box.bottom), box.top))
            start, end = back.transform([(x, y), nearest])
            axes.plot([start[0], end[0]], [start[1], end[1]], color=MUTED, linewidth=0.8, zorder=2)


def set_heading(axes: Axes, text: str) -> None:
    """Says what the vertical axis shows, above it: a name beside the axis would have to be turned."""
    axes.set_title(text, loc="left", color=INK, fontsize=12, pad=8, parse_math=False)


def _corner(axes: Axes, text: str, color: str, *, top: bool, line: int = 0) -> None:
    at = (1.0, 1.0) if top else (0.0, 0.0)
    axes.annotate(
        text,
        at,
        xycoords="axes fraction",
        xytext=(-6 if top else 6, (-6 - 18 * line) if top else 8),
        textcoords="offset points",
        ha="right" if top else "left",
        va="top" if top else "bottom",
        color=color,
        parse_math=False,
    )


def _short(name: str, frame: Frame) -> str:
    return textwrap.shorten(name, 2 * frame.label_characters, placeholder="…")


def _thin(
    steps: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most some hundred points, each the mean of its neighbourhood."""
    if len(steps) <= _CURVE_POINTS:
        return steps, values
    groups = np.array_split(np.arange(len(steps)), _CURVE_POINTS)
    return np.array([steps[g].mean() for g in groups]), np.array([values[g].mean() for g in groups])


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moving average over about a tenth of the curve, centred so that it does not lag; cut at the ends."""
    half, at = len(values) // 20, np.arange(len(values))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low))
