"""What a report is made of, before it becomes a page: plain data that both pages are written from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import yaml

from limbeck.errors import InputError
from limbeck.evaluation.results import (
    Comparison,
    Results,
    Unit,
    format_interval,
    format_ms,
    format_p,
    format_value,
    plural,
    signed,
)
from limbeck.evaluation.retrieval import RunMetrics
from limbeck.evaluation.significance import QueryDifference, largest_changes

if TYPE_CHECKING:
    from limbeck.evaluation.report.plots import Frame

CurvePoint = tuple[int, str, float]

_TESTS: Mapping[Unit, str] = {
    "query": "Paired randomisation test over the queries.",
    "pair": "Over the pairs: paired randomisation test for accuracy, shifted bootstrap for the others.",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of strings: a heading and rows of the same length, with a note below.

    Attributes:
        heading: of the columns.
        rows: the cells.
        note: a sentence below.
        texts: how many columns at the start hold running text, and not a name or a figure.
        title: a line above.
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    texts: int = 0
    title: str = ""


class Drawable(Protocol):
    """What can be drawn for a wide page and for a narrow one."""

    def __call__(self, frame: Frame, name: str, alt: str) -> str:
        """The SVG for a frame, its ids starting with the name; `alt` is for those who cannot see it."""
        ...


@dataclass(frozen=True, slots=True)
class Section:
    """A further part of a report, behind the comparisons.

    Attributes:
        name: of its figure's file; unlike that of any other plot of the page.
        heading: above it.
        figure: what is drawn; None leaves it out.
        alt: the figure in words.
        caption: below the figure.
        tables: below that.
    """

    name: str
    heading: str
    figure: Drawable | None = None
    alt: str = ""
    caption: str = ""
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Report:
    """All that a report shows; what is left out is left out of the page.

    Attributes:
        results: the systems with their metrics, times, comparisons, machine and recipe.
        runs: per-query metrics of the systems, for differences, wins and losses.
        title: the heading of the page.
        lead: a sentence or two under it.
        metric: the metric of plots and comparisons; None takes the first of the results.
        compared: the two systems to set against each other, the better one first; None takes those of the
            first comparison.
        query_text: gives the text of a query id, for example `queries.text`.
        curves: (step, loss name, value) as logged while training.
        audit: how the teacher stood against the student's start.
        changes: how many of the largest wins, and of the largest losses, are listed.
        sections: what else there is to show.

    Example:
        >>> report = Report(results, runs, query_text=queries.text)  # doctest: +SKIP
        >>> write_report(report, Path("run"))  # doctest: +SKIP
    """

    results: Results
    runs: Mapping[str, RunMetrics] = field(default_factory=dict)
    title: str = "Limbeck report"
    lead: str = ""
    metric: str | None = None
    compared: tuple[str, str] | None = None
    query_text: Callable[[str], str] = str
    curves: Sequence[CurvePoint] = ()
    audit: Table | None = None
    changes: int = 8
    sections: Sequence[Section] = ()

    def __post_init__(self) -> None:
        systems = self.results.systems
        if not systems:
            raise InputError("there are no systems to report on", expected="results of at least one system")
        for name in self.compared or ():
            if name not in systems:
                raise InputError(
                    f"there is no system {name!r} to compare", expected=f"one of {', '.join(systems)}"
                )
        if self.metric is not None and self.metric not in self.results.metric_names:
            raise InputError(
                f"no system has the metric {self.metric!r}",
                expected=f"one of {', '.join(self.results.metric_names)}",
            )

    @property
    def main_metric(self) -> str:
        """The metric of plots and comparisons."""
        return self.metric or next(iter(self.results.metric_names), "")

    @property
    def main_comparison(self) -> Comparison | None:
        """The comparison that stands at the top of the page."""
        if self.compared is not None:
            return self.results.comparison(*self.compared, self.main_metric)
        return next((c for c in self.results.comparisons if c.metric == self.main_metric), None)

    @property
    def pair(self) -> tuple[str, str] | None:
        """The two systems that are set against each other."""
        if self.compared is not None:
            return self.compared
        comparison = self.main_comparison
        return None if comparison is None else (comparison.first, comparison.second)

    def role(self, system: str) -> int:
        """1 for the first of the two systems, 2 for the second, 0 for others: their colours."""
        return 0 if self.pair is None or system not in self.pair else 1 + self.pair.index(system)


@dataclass(frozen=True, slots=True)
class Cell:
    """A metric of a system, ready to print."""

    value: str
    interval: str = ""
    mark: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True)
class SystemRow:
    """A system in the table of results, ready to print."""

    name: str
    role: int
    cells: Sequence[Cell]
    p50: str
    p95: str


@dataclass(frozen=True, slots=True)
class Change:
    """A query of which one system makes more than the other, ready to print."""

    query: str
    first: str
    second: str
    difference: str


def system_rows(report: Report) -> list[SystemRow]:
    """The table of results."""
    results = report.results
    baseline = report.pair[1] if report.pair else None
    rows = []
    for name, system in results.systems.items():
        cells = []
        for metric in results.metric_names:
            estimate = system.metrics.get(metric)
            cells.append(
                Cell("–")
                if estimate is None
                else Cell(
                    format_value(estimate.value),
                    format_interval(estimate).strip(),
                    results.mark(name, metric, baseline),
                    estimate.value == results.best(metric),
                )
            )
        latency = system.latency_ms
        times = ("–", "–") if latency is None else (format_ms(latency.p50), format_ms(latency.p95))
        rows.append(SystemRow(name, report.role(name), cells, *times))
    return rows


def comparison_table(report: Report) -> Table | None:
    """Every comparison with its interval and p-values."""
    if not report.results.comparisons:
        return None
    baselines = {c.second for c in report.results.comparisons}
    alone = len(baselines) == 1
    heading = (
        "System",
        "Metric",
        "Difference",
        "95 % interval",
        "p",
        "p, corrected",
        "Better",
        "Worse",
        "Equal",
    )
    rows = [
        (
            c.first if alone else f"{c.first} against {c.second}",
            c.metric,
            signed(c.difference),
            format_interval(c).strip() or "–",
            format_p(c.p_value),
            format_p(c.p_holm),
            *c.outcomes,
        )
        for c in report.results.comparisons
    ]
    note = f"{_TESTS[report.results.unit]} Two-sided; corrected by Holm's method over each metric."
    return Table(heading, rows, f"Each system against {baselines.pop()}. {note}" if alone else note)


def changes(report: Report) -> tuple[list[Change], list[Change]]:
    """The largest wins and losses of the first system with their queries; empty without per-query metrics."""
    pair = report.pair
    if pair is None or any(name not in report.runs for name in pair):
        return [], []
    wins, losses = largest_changes(
        report.runs[pair[0]], report.runs[pair[1]], report.main_metric, report.changes
    )
    return [_change(report, row) for row in wins], [_change(report, row) for row in losses]


def _change(report: Report, row: QueryDifference) -> Change:
    return Change(
        report.query_text(row.query_id),
        format_value(row.first),
        format_value(row.second),
        signed(row.difference),
    )


def summary(report: Report) -> str:
    """One sentence about the main comparison; empty without one."""
    c = report.main_comparison
    if c is None:
        return ""
    if c.significant:
        verdict = f"{c.first} is {'better' if c.difference > 0 else 'worse'} than {c.second}"
    else:
        verdict = f"{c.first} and {c.second} cannot be told apart"
    outcomes = f"; better on {c.wins:,}, worse on {c.losses:,}, equal on {c.ties:,}"
    return (
        f"{verdict} on {c.queries:,} {plural(report.results.unit)}: {c.metric} {signed(c.difference)}"
        f"{format_interval(c)}, p\u00a0{format_p(c.p_holm, relation=True)}"
        f"{outcomes if c.wins + c.losses + c.ties else ''}."
    )


def recipe_text(report: Report) -> str:
    """The recipe as YAML; empty without one."""
    recipe = dict(report.results.recipe)
    return yaml.safe_dump(recipe, allow_unicode=True, sort_keys=False, width=90) if recipe else ""
