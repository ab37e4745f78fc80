"""The report of a run: one HTML page that needs nothing but itself, and one Markdown page with its figures.

    Report (model) -> plots -> HTML, Markdown

Plots need matplotlib and pages need Jinja2, the extra `report`; both are imported when a report is written.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from limbeck.errors import InputError
from limbeck.evaluation.report.model import CurvePoint, Report, Section, Table
from limbeck.files import atomic_path

__all__ = ["CurvePoint", "Report", "ReportFiles", "Section", "Table", "write_report"]

FIGURES = "report-figures"


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where the pages of a report lie."""

    html: Path
    markdown: Path


def write_report(report: Report, folder: Path) -> ReportFiles:
    """Write `report.html`, `report.md` and the figures of the latter (`report-figures/*.svg`).

    Args:
        report: what to show.
        folder: where to; made if need be. Each file appears whole or not at all.

    Returns:
        The paths of the two pages.

    Raises:
        InputError: when matplotlib or Jinja2 is not installed.
    """
    require_extra()
    from limbeck.evaluation.report import html, markdown, svg  # noqa: PLC0415 - needs the extra

    drawn = html.draw_plots(report)
    figures = {}
    for name, plot in drawn.items():
        path = folder / FIGURES / f"{name}.svg"
        _write(path, svg.standalone(plot.drawings["wide"]))
        figures[name] = (f"{FIGURES}/{name}.svg", plot.alt)
    files = ReportFiles(folder / "report.html", folder / "report.md")
    _write(files.markdown, markdown.to_markdown(report, figures))
    _write(files.html, html.to_html(report, drawn))
    return files


def require_extra() -> None:
    """Make sure that a report can be written, before hours of work end in one that cannot.

    Raises:
        InputError: when matplotlib or Jinja2 is not installed; it says what to install.
    """
    for module, name in (("matplotlib", "matplotlib"), ("jinja2", "Jinja2")):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise InputError(
                f"a report needs {name}, which is not installed", remedy="pip install 'limbeck[report]'"
            ) from error


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
