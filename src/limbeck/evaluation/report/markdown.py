"""The report as one Markdown page; its figures lie beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from limbeck.evaluation.report import model
from limbeck.evaluation.report.model import Change, Report
from limbeck.evaluation.results import markdown_table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#])")
_MARKS = (
    "▲ significantly better than {0}, ▼ significantly worse (p < 0.05, corrected). Brackets: 95 % intervals."
)


def to_markdown(report: Report, figures: Mapping[str, tuple[str, str]]) -> str:
    """The page as text.

    Args:
        report: what it shows.
        figures: `quality`, `differences`, `curves` and those of the sections where there are such: path
            relative to the page, alt text.
    """
    blocks = [f"# {plain(report.title)}", plain(report.lead), plain(model.summary(report))]
    blocks += ["## Results", _results(report)]
    if report.pair is not None:
        blocks.append(_MARKS.format(plain(report.pair[1])))
    blocks += _figure("## Quality against time", figures.get("quality"))
    blocks += _figure("## Query by query", figures.get("differences"))
    for heading, rows in zip(("Largest wins", "Largest losses"), model.changes(report), strict=True):
        blocks += _changes(report, heading, rows)
    blocks += _table("## Comparisons", model.comparison_table(report))
    for section in report.sections:
        blocks += _section(section, figures.get(section.name))
    blocks += _figure("## Training", figures.get("curves"))
    blocks += _table("## Audit of the teacher", report.audit)
    if report.results.machine:
        facts = [f"- {plain(key)}: {plain(value)}" for key, value in report.results.machine.items()]
        blocks += ["## Machine", "\n".join(facts)]
    recipe = model.recipe_text(report)
    if recipe:
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", recipe)), default=0))
        blocks += ["## Recipe", f"{fence}yaml\n{recipe}{fence}"]
    return "\n\n".join(block for block in blocks if block) + "\n"


def plain(text: str) -> str:
    """Text in which nothing is taken for markup, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _results(report: Report) -> str:
    heading = ["System", *report.results.metric_names, f"ms per {report.results.unit}", "95th percentile, ms"]
    rows = [heading]
    for row in model.system_rows(report):
        cells = [
            (f"**{cell.value}**" if cell.best else cell.value)
            + cell.mark
            + (f" {cell.interval}" if cell.interval else "")
            for cell in row.cells
        ]
        rows.append([plain(row.name), *cells, row.p50, row.p95])
    return markdown_table(rows)


def _changes(report: Report, heading: str, rows: Sequence[Change]) -> list[str]:
    if not rows or report.pair is None:
        return []
    table = [["Query", *map(plain, report.pair), "Difference"]]
    table += [[plain(row.query), row.first, row.second, row.difference] for row in rows]
    return [f"### {heading}", markdown_table(table)]


def _table(heading: str, table: model.Table | None) -> list[str]:
    if table is None:
        return []
    rows = [[plain(cell) for cell in row] for row in (table.heading, *table.rows)]
    return [heading, markdown_table(rows), plain(table.note)]


def _section(section: model.Section, figure: tuple[str, str] | None) -> list[str]:
    blocks = [f"## {plain(section.heading)}", *_figure("", figure), plain(section.caption)]
    for table in section.tables:
        blocks += _table(f"### {plain(table.title)}" if table.title else "", table)
    return blocks


def _figure(heading: str, figure: tuple[str, str] | None) -> list[str]:
    return [] if figure is None else [heading, f"![{plain(figure[1])}]({figure[0]})"]
