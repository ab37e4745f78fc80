"""The audit of a pair teacher: does it tell pairs apart better than what it is to teach?"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from limbeck.evaluation.measurements import difference, measure
from limbeck.evaluation.pairs import PairMetric, binary_metrics, graded_metrics
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
    found = measure(
        {
            name: [_metrics(scores, targets, kind)]
            for name, scores in (("teacher", teacher), ("start", start))
        },
        len(targets),
        seed=seed,
    )
    ahead = difference(found["teacher"][metric], found["start"][metric])
    mine, theirs = (found[name][metric].estimate.value for name in ("teacher", "start"))
    verdict: Verdict = "not better"
    if ahead.value > 0:
        verdict = "better" if ahead.low > 0 else "unclear"
    facts = (
        f"{name}: on {len(targets):,} dev pairs the teacher has {metric} {mine:.3f}, the student's start "
        f"{theirs:.3f}: {ahead.value:+.3f} [{ahead.low:+.3f}, {ahead.high:+.3f}]."
    )
    explanation = {
        "better": f"{facts} The teacher is better: there is something to distil.",
        "unclear": f"{facts} The teacher is better on average, but this may be chance: expect little.",
        "not better": f"{facts} The teacher is no better than the student already is. What to try: "
        + "; ".join(f"({number}) {what}" for number, what in enumerate(_ADVICE, start=1))
        + ". With --anyway the run goes on all the same.",
    }[verdict]
    return PairAudit(metric, mine, theirs, ahead.low, ahead.high, verdict, explanation)


def _metrics(scores: NDArray[np.float64], labels: NDArray[np.float64], kind: Kind) -> dict[str, PairMetric]:
    # Average precision, which decides on classes, asks for no threshold.
    return (
        graded_metrics(scores, labels) if kind == "graded" else binary_metrics(scores, labels, threshold=0.0)
    )
