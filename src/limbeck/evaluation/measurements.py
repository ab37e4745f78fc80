"""Systems whose metrics are no mean over the items, measured and compared on the same resamples.

A system may have been trained several times: its value is the mean over the seeds, and so is each resample of
it, the items being drawn once for all seeds and all systems. What holds of one seed holds of several.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import InputError
from limbeck.evaluation.pairs import PairMetric
from limbeck.evaluation.resampling import percentile_interval, resample, shifted_bootstrap_test
from limbeck.evaluation.results import Comparison, Estimate
from limbeck.evaluation.significance import TIE, holm, paired_t_test, randomisation_test

#: System to its metrics, a mapping a seed.
Repetitions = Mapping[str, Sequence[Mapping[str, PairMetric]]]


@dataclass(frozen=True, eq=False)
class Measurement:
    """A metric of a system over all its seeds.

    Attributes:
        by_seed: the value with each seed.
        resampled: the mean over the seeds in each resample of the items, shape (resamples,).
        right: whether each item is right, the mean over the seeds, shape (items,), where the metric is the
            mean of that; else None.
    """

    by_seed: tuple[float, ...]
    resampled: NDArray[np.float64]
    right: NDArray[np.float64] | None

    @cached_property
    def estimate(self) -> Estimate:
        """The mean over the seeds, with its interval over the items."""
        return percentile_interval(float(np.mean(self.by_seed)), self.resampled)


Measurements = Mapping[str, Mapping[str, Measurement]]


def measure(systems: Repetitions, items: int, *, seed: int = 0) -> dict[str, dict[str, Measurement]]:
    """Measures systems on the same items.

    Args:
        systems: name to its metrics, a mapping a seed, on the same items in the same order.
        items: how many these are.
        seed: of the resampling.

    Returns:
        System and metric to the measurement.
    """
    metrics = {
        (name, metric, number): found
        for name, repetitions in systems.items()
        for number, repetition in enumerate(repetitions)
        for metric, found in repetition.items()
    }
    resampled = resample({key: found.statistic for key, found in metrics.items()}, items, seed=seed)
    measured: dict[str, dict[str, Measurement]] = {}
    for name, repetitions in systems.items():
        measured[name] = {}
        for metric in repetitions[0]:
            found = [repetition[metric] for repetition in repetitions]
            right = [one.right for one in found if one.right is not None]
            measured[name][metric] = Measurement(
                tuple(one.value for one in found),
                np.mean([resampled[name, metric, number] for number in range(len(found))], axis=0),
                np.mean(right, axis=0) if right else None,
            )
    return measured


def compare_measurements(
    measured: Measurements,
    compared: Sequence[tuple[str, str]],
    *,
    items: int,
    prefix: str = "",
    seed: int = 0,
) -> list[Comparison]:
    """Compares pairs of systems on each metric, p-values corrected over the pairs of a metric.

    A metric that is a mean over the items, such as accuracy, is tested by the paired randomisation test;
    others by the shifted bootstrap, and for them nobody wins or loses an item.

    Args:
        measured: what `measure` returns.
        compared: (first, second) by name.
        items: how many items there are.
        prefix: put before the names of the metrics.
        seed: of the randomisation.

    Returns:
        The comparisons, metric by metric, in the order of the pairs.

    Raises:
        InputError: for a system that was not measured.
    """
    for name in {name for pair in compared for name in pair}:
        if name not in measured:
            raise InputError(f"there is no system {name!r}", expected=f"one of {', '.join(measured)}")
    comparisons: list[Comparison] = []
    for metric in next(iter(measured.values()), {}):
        family = []
        for first, second in compared:
            one, other = measured[first][metric], measured[second][metric]
            tested = _tested(one, other, seed)
            family.append(Comparison(first, second, f"{prefix}{metric}", items, *tested))
        corrected = holm([comparison.p_value for comparison in family])
        comparisons += [replace(c, p_holm=float(p)) for c, p in zip(family, corrected, strict=True)]
    return comparisons


def difference(first: Measurement, second: Measurement) -> Estimate:
    """How much more the first has than the second, with the interval of the paired bootstrap."""
    value = first.estimate.value - second.estimate.value
    return percentile_interval(value, first.resampled - second.resampled)


def agreeing(first: Measurement, second: Measurement) -> int:
    """In how many seeds the difference has the sign that it has on average; no difference is a sign, too."""
    differences = np.subtract(first.by_seed, second.by_seed)
    return int(np.sum(_sign(differences) == _sign(np.asarray(differences.mean()))))


@dataclass(frozen=True, slots=True)
class Recovered:
    """How much of the way from a baseline to the teacher a student has gone, on one metric.

    Attributes:
        student: name of the system.
        baseline: where the way starts.
        teacher: where it ends.
        metric: the metric.
        share: what `recovered_share` returns.
    """

    student: str
    baseline: str
    teacher: str
    metric: str
    share: Estimate


def recovered_share(student: Measurement, baseline: Measurement, teacher: Measurement) -> Estimate:
    """The share of the distance from a baseline to the teacher that a student recovers, with its interval.

    Args:
        student: of the student, on the same items as the others.
        baseline: of the baseline.
        teacher: of the teacher.

    Returns:
        (student - baseline) / (teacher - baseline) of the means over the seeds, NaN where the teacher is not
        above the baseline, with a percentile interval over resamples of the items. A resample in which the
        teacher is not above the baseline has no distance and counts as beyond both ends: a distance that is
        not sure widens the interval, and where more than 2.5 % of the resamples are such there is none.
    """
    value = _share(*(np.asarray(one.estimate.value) for one in (student, baseline, teacher)))
    shares = _share(student.resampled, baseline.resampled, teacher.resampled)
    known = np.isfinite(shares)
    if math.isnan(value) or not known.any():
        return Estimate(float(value))
    low = np.quantile(np.where(known, shares, -np.inf), 0.025, method="lower")
    high = np.quantile(np.where(known, shares, np.inf), 0.975, method="higher")
    if not (math.isfinite(low) and math.isfinite(high)):
        return Estimate(float(value))
    return Estimate(float(value), float(low), float(high))


def _share(
    student: NDArray[np.float64], baseline: NDArray[np.float64], teacher: NDArray[np.float64]
) -> NDArray[np.float64]:
    distance = np.asarray(teacher - baseline)
    there = distance > TIE
    return np.where(there, (student - baseline) / np.where(there, distance, 1.0), np.nan)


def _tested(
    first: Measurement, second: Measurement, seed: int
) -> tuple[float, float, float, float, float, float, int, int, int]:
    """Difference, low, high, p-value, that of the t-test, the corrected one, wins, losses, ties."""
    interval = difference(first, second)
    value = interval.value
    if first.right is None or second.right is None:
        p_value = shifted_bootstrap_test(value, first.resampled - second.resampled)
        return value, interval.low, interval.high, p_value, math.nan, p_value, 0, 0, 0
    differences = first.right - second.right
    p_value = randomisation_test(differences, seed=seed)
    wins, losses = int(np.sum(differences > TIE)), int(np.sum(differences < -TIE))
    return (
        value,
        interval.low,
        interval.high,
        p_value,
        paired_t_test(differences),
        p_value,
        wins,
        losses,
        len(differences) - wins - losses,
    )


def _sign(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(differences) > TIE, np.sign(differences), 0.0)
