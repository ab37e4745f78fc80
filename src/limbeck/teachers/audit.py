"""The audit: is the teacher better than what it is to teach?

A student learns to do as its teacher does. Before anything is distilled, the teacher reranks the development
candidates, and stands beside BM25 and beside the student as it starts, over the same candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from limbeck.data import RankedList, Rankings
from limbeck.errors import InputError, LimbeckError
from limbeck.evaluation import (
    DEFAULT_METRICS,
    Comparison,
    RunMetrics,
    compare_runs,
    evaluate_run,
    parse_metric,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from limbeck.data import Judgements

TEACHER, BM25, START, BEST = "teacher", "bm25", "student's start", "perfect order"
Verdict = Literal["better", "unclear", "not better"]

_ADVICE = (
    "use an ensemble of BM25, the backbone and a cross-encoder, its weights fitted on development queries",
    "fine-tune the cross-encoder on your own positives and mined negatives (more steps, more queries)",
    "take a stronger reranker, or one that was trained on texts like yours",
    "start from a weaker student, or keep the student as it is: it may be as good as your teachers",
)


class TeacherNotBetterError(LimbeckError):
    """The teacher ranks no better than the student does before it has learned anything."""


@dataclass(frozen=True)
class Audit:
    """The teacher beside BM25 and the student's start, on the development queries.

    Attributes:
        metric: the metric that decides.
        systems: metrics of each system, a value a query; "perfect order" puts the relevant candidates
            first, which is the most that reranking these candidates can reach.
        against_start: teacher minus the student's start.
        against_bm25: teacher minus BM25.
        verdict: "better" (significantly, p < 0.05), "unclear" (better on average, perhaps by chance), "not
        better".
        explanation: the verdict in words, with what to try when it is bad.
    """

    metric: str
    systems: Mapping[str, RunMetrics]
    against_start: Comparison
    against_bm25: Comparison
    verdict: Verdict
    explanation: str

    @property
    def headroom(self) -> float:
        """What the student can gain if it learns to do as well as the teacher, in the metric's unit."""
        return self.against_start.difference

    @property
    def passed(self) -> bool:
        """Whether there is something to distil."""
        return self.verdict != "not better"

    def require(self) -> None:
        """Do nothing if the audit is passed.

        Raises:
            TeacherNotBetterError: otherwise, with the explanation.
        """
        if not self.passed:
            raise TeacherNotBetterError(self.explanation)

    def table_rows(self) -> list[list[str]]:
        """The metrics side by side: a heading and a row a system."""
        names = next(iter(self.systems.values())).names
        return [
            ["System", *names],
            *([name, *(f"{run.mean(metric):.3f}" for metric in names)] for name, run in self.systems.items()),
        ]

    def to_dict(self) -> dict[str, object]:
        """The audit as JSON values."""
        return {
            "metric": self.metric,
            "systems": {
                name: {metric: run.mean(metric) for metric in run.names} for name, run in self.systems.items()
            },
            "headroom": self.headroom,
            "headroom_interval": [self.against_start.low, self.against_start.high],
            "p_value": self.against_start.p_value,
            "wins": self.against_start.wins,
            "losses": self.against_start.losses,
            "against_bm25": self.against_bm25.difference,
            "verdict": self.verdict,
            "explanation": self.explanation,
        }


def audit(
    teacher: Rankings,
    bm25: Rankings,
    student_start: Rankings,
    judgements: Judgements,
    *,
    metric: str = "nDCG@10",
    metrics: Sequence[str] = DEFAULT_METRICS,
    seed: int = 0,
) -> Audit:
    """Judge a teacher before it teaches.

    Args:
        teacher: the development candidates, scored by the teacher. For an ensemble that was fitted on these
            queries, give `EnsembleFit.held_out`, or it will look better than it is.
        bm25: the same candidates, scored by BM25.
        student_start: the same candidates, scored by the student before training.
        judgements: of the development queries.
        metric: what decides.
        metrics: what is computed besides.
        seed: of the intervals and the paired randomisation test.

    Returns:
        The comparison, with a verdict.

    Raises:
        InputError: when the three do not rank the same candidates, or no query is judged.

    Example:
        >>> report = audit(by_teacher, by_bm25, by_backbone, judgements)
        >>> report.verdict, report.headroom
        ('better', 0.031)
        >>> report.require()  # raises TeacherNotBetterError when there is nothing to distil
    """
    _same_candidates(teacher, {BM25: bm25, START: student_start})
    metric = parse_metric(metric).name
    wanted = list(dict.fromkeys([metric, *metrics]))
    perfect = Rankings.from_lists(_perfect(teacher, judgements), BEST)
    runs = {TEACHER: teacher, START: student_start, BM25: bm25, BEST: perfect}
    systems = {name: evaluate_run(run, judgements, wanted) for name, run in runs.items()}

    def compared(other: str) -> Comparison:
        return compare_runs(systems[TEACHER], systems[other], metric, names=(TEACHER, other), seed=seed)

    against_start, against_bm25 = compared(START), compared(BM25)
    verdict: Verdict = "not better"
    if against_start.difference > 0:
        verdict = "better" if against_start.significant else "unclear"
    explanation = _explain(verdict, metric, systems, against_start)
    return Audit(metric, systems, against_start, against_bm25, verdict, explanation)


def _same_candidates(teacher: Rankings, others: Mapping[str, Rankings]) -> None:
    for name, other in others.items():
        for query_id in dict.fromkeys([*teacher.query_ids, *other.query_ids]):
            if set(teacher.list_for(query_id).passage_ids) != set(other.list_for(query_id).passage_ids):
                raise InputError(
                    f"the teacher and {name} rank different candidates for query '{query_id}'",
                    expected="one set of candidates, scored by each",
                )


def _perfect(candidates: Rankings, judgements: Judgements) -> Iterator[RankedList]:
    for ranked in candidates:
        grades = judgements.grades(ranked.query_id)
        scores = ranked.scores * 0 + [grades.get(passage_id, 0) for passage_id in ranked.passage_ids]
        yield RankedList(ranked.query_id, ranked.passage_ids, scores)


def _explain(
    verdict: Verdict, metric: str, systems: Mapping[str, RunMetrics], against_start: Comparison
) -> str:
    means = {name: run.mean(metric) for name, run in systems.items()}
    facts = (
        f"On {against_start.queries} development queries the teacher has {metric} {means[TEACHER]:.3f}, "
        f"the student's start {means[START]:.3f}, BM25 {means[BM25]:.3f}; "
        f"a perfect order of these candidates has {means[BEST]:.3f}. "
        f"Teacher minus start: {against_start.difference:+.3f} "
        f"[{against_start.low:+.3f}, {against_start.high:+.3f}], p = {against_start.p_value:.2g}, "
        f"{against_start.wins} queries won and {against_start.losses} lost."
    )
    if verdict == "better":
        return f"{facts} The teacher is better: there is something to distil."
    if verdict == "unclear":
        return (
            f"{facts} The teacher is better on average, but this may be chance: "
            "judge more development queries, or expect little."
        )
    advice = "; ".join(f"({number}) {what}" for number, what in enumerate(_ADVICE, start=1))
    return (
        f"{facts} The teacher is no better than the student already is, so distilling it can only make "
        f"the student worse. What to try: {advice}. With --anyway the run goes on all the same."
    )
