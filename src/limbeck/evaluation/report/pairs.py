"""The report of pair tasks: the page of a run, with a section for each set of pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from limbeck.errors import InputError
from limbeck.evaluation.pair_systems import PairSetScores
from limbeck.evaluation.report import ReportFiles, write_report
from limbeck.evaluation.report.model import Report, Section, Table
from limbeck.evaluation.results import format_ms, format_value, signed

#: The two texts of a test pair, by row.
PairTexts = Callable[[int], tuple[str, str]]

_LONGEST = 240
_TAKES = "“Vectors kept”: both texts were encoded before, as an index keeps them."


@dataclass(frozen=True)
class PairReport:
    """All that a report of pair tasks shows.

    Attributes:
        page: results, title, curves and so on; what is in its sections comes behind those of the sets.
        sets: name to set, with the scores of all systems.
        student: the system that the run is for.
        teacher: the system that it learnt from; None where there was none.
        texts: set to the texts of its test pairs.
        audits: set to how its teacher stood against the student's start.
        listed: how many pairs a table of disagreements holds.
    """

    page: Report
    sets: Mapping[str, PairSetScores]
    student: str
    teacher: str | None
    texts: Mapping[str, PairTexts]
    audits: Mapping[str, Table]
    listed: int = 8


def write_pair_report(report: PairReport, folder: Path) -> ReportFiles:
    """Write `report.html`, `report.md` and the figures of the latter.

    Args:
        report: what to show.
        folder: where to; made if need be.

    Returns:
        The paths of the two pages.

    Raises:
        InputError: for a student or teacher that has not scored a set; when matplotlib or Jinja2 is missing.

    Example:
        >>> page = Report(results, compared=("student-interaction", "backbone"))  # doctest: +SKIP
        >>> write_pair_report(
        ...     PairReport(page, {"stsb": scores}, "student-interaction", "teacher", texts, {}), Path("pairs")
        ... )  # doctest: +SKIP
    """
    sections = [*_sections(report), *report.page.sections]
    return write_report(replace(report.page, sections=sections), folder)


def largest_disagreements(
    student: NDArray[np.float64], teacher: NDArray[np.float64], count: int
) -> tuple[list[int], list[int]]:
    """The pairs that two systems place most differently, by their ranks within the set.

    Args:
        student: scores of one, shape (pairs,).
        teacher: scores of the other, on any scale.
        count: how many of each kind.

    Returns:
        The rows of pairs that the student puts higher than the teacher, and those that it puts lower, the
        largest difference first.

    Example:
        >>> largest_disagreements(np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.9, 0.5]), 5)
        ([0], [1])
    """
    differences = places(student) - places(teacher)
    order = np.argsort(-differences, kind="stable").tolist()
    higher = [row for row in order if differences[row] > 0][:count]
    return higher, [row for row in order[::-1] if differences[row] < 0][:count]


def places(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where each score stands in its set, from 0 for the lowest to 1 for the highest, ties shared.

    Example:
        >>> places(np.array([0.3, 0.1, 0.2])).tolist()
        [1.0, 0.0, 0.5]
    """
    return np.asarray((stats.rankdata(scores) - 1) / max(1, len(scores) - 1))


def _sections(report: PairReport) -> Iterator[Section]:
    from limbeck.evaluation.report.pair_plots import POINTS, PairPlot  # noqa: PLC0415 - needs the extra

    for number, (name, scores) in enumerate(report.sets.items(), start=1):
        audit = [replace(report.audits[name], title="Audit of the teacher")] if name in report.audits else []
        times = _times(scores)
        if report.teacher is None:
            yield Section(f"set-{number}", name, tables=[*times, *audit])
            continue
        for system in (report.student, report.teacher):
            if system not in scores.systems:
                raise InputError(f"the set '{name}' has no scores of '{system}'")
        student, teacher = (
            np.asarray(scores.systems[system].test, dtype=np.float64)
            for system in (report.student, report.teacher)
        )
        labels = np.asarray(scores.test_labels, dtype=np.float64)
        agreement = format_value(float(stats.spearmanr(student, teacher).statistic))
        shown = f"{POINTS:,} of {len(labels):,} test pairs" if len(labels) > POINTS else "the test pairs"
        yield Section(
            f"set-{number}",
            f"{name}: student and teacher",
            PairPlot((report.student, report.teacher), (student, teacher), labels),
            f"{name}: scores of {report.student} against those of {report.teacher}, with a Spearman "
            f"correlation of {agreement}; and the mean label of each tenth of the pairs by score.",
            f"First: {shown}; Spearman's correlation of the two is {agreement}. Second: how labels rise with "
            "the score, for each system by its own scores; on the diagonal, where there is one, a score is "
            "the label to expect.",
            [*_disagreements(report, name, student, teacher, labels), *times, *audit],
        )


def _disagreements(
    report: PairReport,
    name: str,
    student: NDArray[np.float64],
    teacher: NDArray[np.float64],
    labels: NDArray[np.float64],
) -> Iterator[Table]:
    placed = places(student), places(teacher)
    heading = ("Text 1", "Text 2", "Label", report.student, str(report.teacher), "Difference")
    kinds = zip(
        ("The student puts higher than the teacher", "The student puts lower than the teacher"),
        largest_disagreements(student, teacher, report.listed),
        strict=True,
    )
    for title, rows in kinds:
        if rows:
            cells = [
                (
                    *(_shortened(text) for text in report.texts[name](row)),
                    f"{labels[row]:.3g}",
                    *(format_value(one[row]) for one in placed),
                    signed(placed[0][row] - placed[1][row]),
                )
                for row in rows
            ]
            yield Table(heading, cells, _PLACES, texts=2, title=title)


_PLACES = (
    "Labels: from 0 to 1, of the range that they may have. Figures of the systems: the place of the pair in "
    "the set, 0 for the lowest score and 1 for the highest."
)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _times(scores: PairSetScores) -> Sequence[Table]:
    if not any(one.latency_encoded for one in scores.systems.values()):
        return []
    rows = []
    for system, one in scores.systems.items():
        known = (one.latency, "not measured"), (one.latency_encoded, "–")
        cells = [(no, "–") if t is None else (format_ms(t.p50), format_ms(t.p95)) for t, no in known]
        rows.append((system, *cells[0], *cells[1]))
    heading = ("System", "From the texts", "95th percentile", "Vectors kept", "95th percentile")
    return [Table(heading, rows, _TAKES, title="Milliseconds per pair")]
