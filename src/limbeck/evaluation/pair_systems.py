"""Systems that score sentence pairs, measured and compared: sets of pairs and what each system makes of them.

    PairSetScores (labels, scores of each system) -> evaluate_pair_sets -> Results -> report

Graded labels are measured by Spearman's and Pearson's correlation, binary ones by average precision,
accuracy, precision and recall, the threshold being chosen for each system on the dev pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limbeck.errors import InputError
from limbeck.evaluation.measurements import compare_measurements, measure
from limbeck.evaluation.pair_scores import ScoredPairs, read_pair_scores, write_pair_scores
from limbeck.evaluation.pairs import PairMetric, binary_metrics, choose_threshold, graded_metrics
from limbeck.evaluation.results import Comparison, Estimate, Latency, Results, SystemResult

Kind = Literal["graded", "binary"]
SUFFIX = ".tsv"


@dataclass(frozen=True, eq=False)
class SystemScores:
    """What one system makes of the pairs of a set.

    Attributes:
        dev: shape (dev pairs,), larger for pairs that are more alike, or more likely positive.
        test: shape (test pairs,).
        latency: milliseconds per pair from the two texts to the score; None where it was not measured.
        latency_encoded: the same where both texts lie encoded already; None for a system that reads pairs.
    """

    dev: ArrayLike
    test: ArrayLike
    latency: Latency | None = None
    latency_encoded: Latency | None = None


@dataclass(frozen=True, eq=False)
class PairSetScores:
    """A set of labelled pairs, and what each system makes of it.

    Attributes:
        kind: whether the labels are graded, or 0 and 1.
        dev_labels: shape (dev pairs,).
        test_labels: shape (test pairs,).
        systems: name to scores, in the order of the table.

    Example:
        >>> scores = PairSetScores("binary", [1, 0], [1, 0, 0], {"teacher": SystemScores([2, 1], [3, 1, 2])})
        >>> scores.metrics("teacher")["Accuracy"].value
        1.0
    """

    kind: Kind
    dev_labels: ArrayLike
    test_labels: ArrayLike
    systems: Mapping[str, SystemScores]

    @property
    def pairs(self) -> int:
        """How many test pairs there are."""
        return len(np.asarray(self.test_labels))

    def same_pairs(self, other: PairSetScores) -> bool:
        """Whether another set has the same labels in the same order, as far as labels can tell."""
        return np.array_equal(self.dev_labels, other.dev_labels) and np.array_equal(
            self.test_labels, other.test_labels
        )

    def metrics(self, system: str) -> dict[str, PairMetric]:
        """The metrics of one system on the test pairs.

        Raises:
            InputError: for scores that are NaN, all equal or not one a pair, or labels of one class only.
        """
        scores = self.systems[system]
        try:
            if self.kind == "graded":
                return graded_metrics(scores.test, self.test_labels)
            threshold = choose_threshold(scores.dev, self.dev_labels)
            return binary_metrics(scores.test, self.test_labels, threshold=threshold)
        except InputError as error:
            raise InputError(
                f"the system '{system}': {error.problem}", expected=error.expected, remedy=error.remedy
            ) from error

    def write(self, folder: Path | str) -> None:
        """Write a file for each system, `SYSTEM.tsv`."""
        folder = Path(folder)
        for name, scores in self.systems.items():
            write_pair_scores(
                folder / f"{name}{SUFFIX}",
                {
                    "dev": ScoredPairs(self.dev_labels, scores.dev),
                    "test": ScoredPairs(self.test_labels, scores.test),
                },
            )

    @classmethod
    def read(cls, folder: Path | str, kind: Kind, systems: Sequence[str]) -> PairSetScores:
        """Read what `write` wrote of some systems; times are not kept there.

        Raises:
            InputError: for a system that has no file, a file that is wrong, and labels that are not the same
                for all of them.
        """
        folder = Path(folder)
        found: dict[str, SystemScores] = {}
        labels: dict[str, NDArray[np.float64]] = {}
        for name in systems:
            path = folder / f"{name}{SUFFIX}"
            splits = read_pair_scores(path)
            for split in ("dev", "test"):
                if split not in splits:
                    raise InputError(f"there are no {split} pairs", path=path, expected="dev and test pairs")
                if not np.array_equal(labels.setdefault(split, splits[split].labels), splits[split].labels):
                    raise InputError(
                        f"its {split} labels are not those of {next(iter(found))}{SUFFIX}", path=path
                    )
            found[name] = SystemScores(splits["dev"].scores, splits["test"].scores)
        return cls(kind, labels["dev"], labels["test"], found)


def metric_prefix(set_name: str, sets: int) -> str:
    """What stands before the names of a set's metrics: its name, where there are several sets."""
    return f"{set_name} " if sets > 1 else ""


def evaluate_pair_sets(
    sets: Mapping[str, PairSetScores], *, compared: Sequence[tuple[str, str]] = (), seed: int = 0
) -> Results:
    """Measure and compare the systems of one or several sets.

    Args:
        sets: name to set. The metrics of several sets are called `SET Spearman` and so on; those of a single
            one have no prefix.
        compared: (first, second) by name; a comparison is made on each set that both have scored. Tests are
            paired over the pairs: the randomisation test for accuracy, the shifted bootstrap for the others,
            corrected over the comparisons of a metric.
        seed: of intervals and tests.

    Returns:
        Systems in order of first appearance, times per pair, being the medians over the sets.

    Raises:
        InputError: as `PairSetScores.metrics`, with the name of the set; for systems to compare that share no
            set; when there is no set.

    Example:
        >>> evaluate_pair_sets({"stsb": scores}, compared=[("student", "backbone")])  # doctest: +SKIP
    """
    if not sets:
        raise InputError("there is no set of pairs", expected="at least one")
    metrics: dict[str, dict[str, Estimate]] = {}
    comparisons: list[Comparison] = []
    for name, scores in sets.items():
        prefix = metric_prefix(name, len(sets))
        measured = measure({s: [_metrics(name, scores, s)] for s in scores.systems}, scores.pairs, seed=seed)
        for system, found in measured.items():
            named = {f"{prefix}{metric}": one.estimate for metric, one in found.items()}
            metrics.setdefault(system, {}).update(named)
        both = [pair for pair in compared if all(system in scores.systems for system in pair)]
        comparisons += compare_measurements(measured, both, items=scores.pairs, prefix=prefix, seed=seed)
    made = {(comparison.first, comparison.second) for comparison in comparisons}
    missing = next((pair for pair in compared if pair not in made), None)
    if missing is not None:
        raise InputError(
            f"no set was scored by both '{missing[0]}' and '{missing[1]}'",
            expected=f"two of {', '.join(metrics)}",
        )
    return Results(
        {name: SystemResult(found, _latency(sets, name)) for name, found in metrics.items()},
        comparisons,
        seed=seed,
        unit="pair",
    )


def _metrics(set_name: str, scores: PairSetScores, system: str) -> dict[str, PairMetric]:
    try:
        return scores.metrics(system)
    except InputError as error:
        raise InputError(
            f"the set '{set_name}': {error.problem}", expected=error.expected, remedy=error.remedy
        ) from error


def _latency(sets: Mapping[str, PairSetScores], system: str) -> Latency | None:
    times = [scores.systems[system].latency for scores in sets.values() if system in scores.systems]
    known = [one for one in times if one is not None]
    if not known:
        return None
    return Latency(median(one.p50 for one in known), median(one.p95 for one in known))
