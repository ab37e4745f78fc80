"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jinja2
import numpy as np
from markupsafe import Markup

from limbeck.evaluation.report import model, plots
from limbeck.evaluation.report.model import CurvePoint, Report, Section
from limbeck.evaluation.report.svg import THEME
from limbeck.evaluation.results import format_interval, format_ms, format_p, format_value, plural, signed
from limbeck.evaluation.significance import paired_values


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot in each of the frames: frame name to SVG, and what it shows in words."""

    name: str
    alt: str
    drawings: dict[str, str]


def draw_plots(report: Report) -> dict[str, Plot]:
    """The plots for which the report has the data: `quality`, `differences`, `curves`, the sections' own."""
    drawn = (_quality(report), _differences(report), _curves(report), *map(_of_section, report.sections))
    return {plot.name: plot for plot in drawn if plot is not None}


def to_html(report: Report, drawn: dict[str, Plot]) -> str:
    """The page as text; `drawn` is what `draw_plots` returned."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("limbeck.evaluation.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    wins, losses = model.changes(report)
    return environment.get_template("report.html.j2").render(
        report=report,
        theme=Markup(THEME),  # noqa: S704 - a constant
        plots={
            # matplotlib escapes what it writes; the rest of the page is escaped by the template.
            name: {frame: Markup(svg) for frame, svg in plot.drawings.items()}  # noqa: S704
            for name, plot in drawn.items()
        },
        metrics=report.results.metric_names,
        rows=model.system_rows(report),
        tiles=_tiles(report),
        summary=model.summary(report),
        comparisons=model.comparison_table(report),
        units=plural(report.results.unit),
        changes=[("Largest wins", wins), ("Largest losses", losses)],
        recipe=model.recipe_text(report),
    )


def _tiles(report: Report) -> list[tuple[str, str, str]]:
    """(figure, what it is, in comparison with what) for the head of the page."""
    pair, metric = report.pair, report.main_metric
    if pair is None:
        return []
    first, second = (report.results.systems[name] for name in pair)
    tiles = []
    if metric in first.metrics and metric in second.metrics:
        values = first.metrics[metric].value, second.metrics[metric].value
        tiles.append((format_value(values[0]), metric, f"{pair[1]}: {format_value(values[1])}"))
        made = report.main_comparison
        spread = (
            ""
            if made is None
            else f"95 % interval{format_interval(made)}, p\u00a0{format_p(made.p_holm, relation=True)}"
        )
        tiles.append((signed(values[0] - values[1]), f"{metric}, difference", spread))
    if first.latency_ms is not None:
        other = "" if second.latency_ms is None else f"{pair[1]}: {format_ms(second.latency_ms.p50)} ms"
        tiles.append((f"{format_ms(first.latency_ms.p50)} ms", f"per {report.results.unit}, median", other))
    return tiles


def _quality(report: Report) -> Plot | None:
    metric = report.main_metric
    points = [
        plots.QualityPoint(name, system.latency_ms.p50, system.metrics[metric], report.role(name))
        for name, system in report.results.systems.items()
        if system.latency_ms is not None and system.latency_ms.p50 > 0 and metric in system.metrics
    ]
    if not points:
        return None
    told = "; ".join(f"{p.name} {format_value(p.quality.value)} at {format_ms(p.ms)} ms" for p in points)
    unit = report.results.unit
    alt = f"{metric} against median time per {unit}: {told}."
    return Plot(
        "quality",
        alt,
        {frame.name: plots.quality_plot(points, metric, unit, frame, alt) for frame in plots.FRAMES},
    )


def _of_section(section: Section) -> Plot | None:
    if section.figure is None:
        return None
    drawn = {
        frame.name: section.figure(frame, f"{section.name}-{frame.name}", section.alt)
        for frame in plots.FRAMES
    }
    return Plot(section.name, section.alt, drawn)


def _differences(report: Report) -> Plot | None:
    pair = report.pair
    if pair is None or any(name not in report.runs for name in pair):
        return None
    _, first, second = paired_values(report.runs[pair[0]], report.runs[pair[1]], report.main_metric)
    # What is equal but for rounding is equal.
    values = np.where(np.abs(first - second) < 1e-12, 0.0, first - second)
    alt = (
        f"{report.main_metric} of {pair[0]} less that of {pair[1]}, query by query, sorted: "
        f"{(values > 0).sum():,} better, {(values < 0).sum():,} worse, {(values == 0).sum():,} equal."
    )
    return Plot(
        "differences",
        alt,
        {frame.name: plots.difference_plot(values, pair, frame, alt) for frame in plots.FRAMES},
    )


def _curves(report: Report) -> Plot | None:
    curves = _by_name(report.curves)
    if not curves:
        return None
    told = "; ".join(f"{name} from {values[0]:.3g} to {values[-1]:.3g}" for name, _, values in curves)
    alt = f"Training curves: {told}."
    return Plot("curves", alt, {frame.name: plots.curves_plot(curves, frame, alt) for frame in plots.FRAMES})


def _by_name(points: Sequence[CurvePoint]) -> list[plots.Curve]:
    """The curves in order of first appearance, sorted by step; points that are not finite are left out."""
    grouped: dict[str, list[tuple[int, float]]] = {}
    for step, name, value in points:
        if np.isfinite(value):
            grouped.setdefault(name, []).append((step, value))
    curves = []
    for name, pairs in grouped.items():
        pairs.sort(key=lambda pair: pair[0])
        steps, values = np.array(pairs, dtype=np.float64).T
        curves.append((name, steps, values))
    return curves
