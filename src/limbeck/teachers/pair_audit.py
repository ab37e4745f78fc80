"""The audit of a pair teacher: does it tell pairs apart better than what it is to teach?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.evaluation import evaluate_binary, evaluate_graded
from limbeck.evaluation.significance import bootstrap_statistic
from limbeck.teachers.audit import Verdict
from limbeck.teachers.pair_ensemble import Kind

#: What decides, by the kind of the labels.
METRIC = {"graded": "Spearman", "binary": "Average precision"}

_ADVICE = (
    "fine-tune longer or on more pairs",
    "take a stronger model, or several as an ensemble",
    "start from a smaller student, such as the first layers of the backbone (`backbone_layers`)",
)


@dataclass(frozen=True)
class PairAudit:
    """A teacher beside the student's start, on the dev pairs of a set.

    Attributes:
        metric: what decides, `"Spearman"` or `"Average precision"`.
        teacher: the metric of the teacher.
        start: the metric of the student's start.
        low: lower end of the 95 % interval of the difference, by the paired bootstrap.
        high: its upper end.
        verdict: "better" (the interval is above 0), "unclear" (better on average), "not better".
        explanation: the verdict in words, with what to try when it is bad.
    """

    metric: str
    teacher: float
    start: float
    low: float
    high: float
    verdict: Verdict
    explanation: str

    @property
    def passed(self) -> bool:
        """Whether there is something to distil."""
        return self.verdict != "not better"

    def to_dict(self) -> dict[str, object]:
        """The audit as JSON values."""
        return asdict(self) | {"passed": self.passed}


def audit_pairs(
    name: str,
    teacher: NDArray[np.float64],
    start: NDArray[np.float64],
    targets: NDArray[np.float64],
    kind: Kind,
    *,
    seed: int = 0,
) -> PairAudit:
    """Judge a teacher of pairs before it teaches.

    Args:
        name: of the set, for the explanation.
        teacher: its scores of the dev pairs (pairs,); those held out, if it was fitted on these pairs.
        start: the scores of the student before training (pairs,).
        targets: labels from 0 to 1 (pairs,).
        kind: `"graded"` or `"binary"`.
        seed: of the bootstrap.

    Raises:
        InputError: one of them gives all pairs the same score, or all labels are equal.
    """
    metric = METRIC[kind]

    def measured(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
        if kind == "graded":
            return evaluate_graded(scores, labels, seed=seed)[metric].value
        return evaluate_binary(scores, labels, threshold=0.0, seed=seed)[metric].value

    mine, theirs = measured(teacher, targets), measured(start, targets)
    difference = bootstrap_statistic(_DIFFERENCE[kind], teacher, start, targets, seed=seed)
    verdict: Verdict = "not better"
    if difference.value > 0:
        verdict = "better" if difference.low > 0 else "unclear"
    facts = (
        f"{name}: on {len(targets):,} dev pairs the teacher has {metric} {mine:.3f}, the student's start "
        f"{theirs:.3f}: {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]."
    )
    explanation = {
        "better": f"{facts} The teacher is better: there is something to distil.",
        "unclear": f"{facts} The teacher is better on average, but this may be chance: expect little.",
        "not better": f"{facts} The teacher is no better than the student already is. What to try: "
        + "; ".join(f"({number}) {what}" for number, what in enumerate(_ADVICE, start=1))
        + ". With --anyway the run goes on all the same.",
    }[verdict]
    return PairAudit(metric, mine, theirs, difference.low, difference.high, verdict, explanation)


def _spearman_difference(first: Any, second: Any, labels: Any) -> float:
    return _spearman(first, labels) - _spearman(second, labels)


def _spearman(scores: Any, labels: Any) -> float:
    from scipy.stats import rankdata  # noqa: PLC0415

    mine, truth = rankdata(scores), rankdata(labels)
    return float(np.corrcoef(mine, truth)[0, 1]) if np.ptp(mine) and np.ptp(truth) else np.nan


def _precision_difference(first: Any, second: Any, labels: Any) -> float:
    from sklearn.metrics import average_precision_score  # noqa: PLC0415

    if not np.any(labels):
        return np.nan  # a resample may hold no positive at all
    return float(average_precision_score(labels, first) - average_precision_score(labels, second))


_DIFFERENCE = {"graded": _spearman_difference, "binary": _precision_difference}
