"""How sure a difference is: bootstrap intervals, paired tests, correction for several comparisons.

Sources: bootstrap percentile interval (Efron & Tibshirani 1993, chapter 13); paired randomisation test and
paired t-test for retrieval (Smucker, Allan & Carterette 2007); step-down correction (Holm 1979).

Everything that draws at random takes a seed and gives the same figures for the same seed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from limbeck.errors import InputError
from limbeck.evaluation.results import Comparison, Estimate, Latency, SystemResult
from limbeck.evaluation.retrieval import RunMetrics

LEVEL = 0.95
RESAMPLES = 9_999

# Values held at once while resampling: 32 MB, whatever the number of queries.
_BATCH_VALUES = 2**22
# Differences below this are the rounding of equal metrics, not a win.
TIE = 1e-12


def bootstrap_interval(
    values: ArrayLike, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """The mean of per-query values with its bootstrap percentile interval.

    The percentile interval rather than BCa: for means over the hundreds of queries of a test set the two
    agree to the third decimal, and BCa's jackknife costs the square of the number of queries.

    Args:
        values: shape (queries,), finite.
        level: the confidence, 0.95 for a 95 % interval.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        Mean, low and high. A single query has no interval (NaN).

    Raises:
        InputError: for no values, or values that are not finite.

    Example:
        >>> bootstrap_interval([1.0, 1.0, 1.0])
        Estimate(value=1.0, low=1.0, high=1.0)
    """
    sample = _finite(values, "values")
    mean = float(sample.mean())
    if len(sample) < 2:
        return Estimate(mean)
    if np.ptp(sample) == 0:
        return Estimate(mean, mean, mean)
    interval = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _BATCH_VALUES // len(sample)),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high))


def estimate_run(metrics: RunMetrics, *, level: float = LEVEL, seed: int = 0) -> dict[str, Estimate]:
    """The mean and interval of every metric of a run, under its name."""
    return {name: bootstrap_interval(metrics[name], level=level, seed=seed) for name in metrics.names}


def system_result(metrics: RunMetrics, latency: Latency | None = None, *, seed: int = 0) -> SystemResult:
    """One row of the results: what `estimate_run` gives, and the time per query."""
    return SystemResult(estimate_run(metrics, seed=seed), latency)


def randomisation_test(differences: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Paired randomisation test of the mean difference, two-sided (Smucker, Allan & Carterette 2007).

    The null hypothesis is that the two systems are one, so that every difference might as well have the other
    sign. All assignments of signs are tried where there are no more than `resamples`, else a random sample.

    Args:
        differences: per-query differences, shape (queries,).
        resamples: number of assignments of signs.
        seed: of their choice.

    Returns:
        The p-value; 1 when all differences are zero.

    Raises:
        InputError: for no differences, or differences that are not finite.

    Example:
        >>> randomisation_test([0.1, 0.2, 0.3])  # 2 of the 2**3 assignments are as far out
        0.25
    """
    sample = _finite(differences, "differences")
    # Ties stay zero under either sign: without them the test has the same p-value and takes less time.
    sample = sample[np.abs(sample) > TIE]
    if len(sample) < 2:
        return 1.0
    result = stats.permutation_test(
        (sample,),
        _mean,
        permutation_type="samples",
        n_resamples=resamples,
        batch=max(1, _BATCH_VALUES // len(sample)),
        alternative="two-sided",
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def paired_t_test(differences: ArrayLike) -> float:
    """Paired t-test of the mean difference, two-sided.

    Args:
        differences: per-query differences, shape (queries,).

    Returns:
        The p-value; 1 when there is a single query or when all differences are zero.

    Raises:
        InputError: for no differences, or differences that are not finite.
    """
    sample = _finite(differences, "differences")
    if len(sample) < 2 or not np.any(np.abs(sample) > TIE):
        return 1.0
    with warnings.catch_warnings():
        # Equal differences everywhere: the p-value is 0, and SciPy warns that it divided by no spread.
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(stats.ttest_1samp(sample, 0.0).pvalue)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct p-values for being tested together, step-down (Holm 1979).

    Args:
        p_values: shape (comparisons,).

    Returns:
        Corrected p-values in the same order, shape (comparisons,), each at least its own and at most 1.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


@dataclass(frozen=True, slots=True)
class QueryDifference:
    """A query on which two runs differ; `difference` is `first` minus `second`."""

    query_id: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        """How much better the first is; negative where it is worse."""
        return self.first - self.second


def paired_values(
    first: RunMetrics, second: RunMetrics, metric: str
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    """The values of two runs on the same queries, in the order of the first.

    Returns:
        The query ids, and the values of each run, shape (queries,).

    Raises:
        InputError: when the runs were evaluated on different queries, or lack the metric.
    """
    if first.query_ids == second.query_ids:
        return first.query_ids, first[metric], second[metric]
    different = sorted(set(first.query_ids) ^ set(second.query_ids))
    if different:
        raise InputError(
            f"the runs were evaluated on different queries, {different[0]!r} being in one of them only",
            remedy="evaluate both runs against the same judgements",
        )
    row_of = {query_id: row for row, query_id in enumerate(second.query_ids)}
    order = [row_of[query_id] for query_id in first.query_ids]
    return first.query_ids, first[metric], second[metric][order]


def query_differences(first: RunMetrics, second: RunMetrics, metric: str) -> list[QueryDifference]:
    """The per-query differences of two runs, the first's largest win first, ties by query id."""
    rows = zip(*paired_values(first, second, metric), strict=True)
    differences = [QueryDifference(query_id, float(a), float(b)) for query_id, a, b in rows]
    return sorted(differences, key=lambda row: (-row.difference, row.query_id))


def largest_changes(
    first: RunMetrics, second: RunMetrics, metric: str, count: int = 10
) -> tuple[list[QueryDifference], list[QueryDifference]]:
    """The largest wins and the largest losses of the first run, each at most `count`, largest first."""
    ordered = query_differences(first, second, metric)
    wins = [row for row in ordered if row.difference > TIE]
    losses = [row for row in ordered if row.difference < -TIE]
    return wins[:count], losses[::-1][:count]


def compare_runs(
    first: RunMetrics,
    second: RunMetrics,
    metric: str = "nDCG@10",
    *,
    names: tuple[str, str] = ("first", "second"),
    level: float = LEVEL,
    seed: int = 0,
) -> Comparison:
    """Compare two runs on the queries on which both were evaluated.

    Args:
        first: the run that is compared.
        second: the run that it is compared with.
        metric: the metric.
        names: what the two are called in the result.
        level: confidence of the interval of the difference.
        seed: of bootstrap and randomisation.

    Returns:
        Mean difference (first minus second) with its interval, p-values, wins, losses and ties. `p_holm`
        equals `p_value`, since there is one comparison; `compare_systems` corrects several.

    Raises:
        InputError: when the runs were evaluated on different queries, or lack the metric.
    """
    _, a, b = paired_values(first, second, metric)
    differences = a - b
    interval = bootstrap_interval(differences, level=level, seed=seed)
    p_value = randomisation_test(differences, seed=seed)
    wins, losses = int(np.sum(differences > TIE)), int(np.sum(differences < -TIE))
    return Comparison(
        first=names[0],
        second=names[1],
        metric=metric,
        queries=len(differences),
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        t_test_p_value=paired_t_test(differences),
        p_holm=p_value,
        wins=wins,
        losses=losses,
        ties=len(differences) - wins - losses,
    )


def compare_systems(
    runs: Mapping[str, RunMetrics], pairs: Sequence[tuple[str, str]], metrics: Sequence[str], *, seed: int = 0
) -> list[Comparison]:
    """Compare several pairs of systems, p-values corrected over the pairs of each metric.

    Args:
        runs: system name to its metrics.
        pairs: (first, second) by name; `against(baseline, runs)` makes those with one baseline.
        metrics: the metrics; each is a family of its own in the correction.
        seed: of bootstrap and randomisation.

    Returns:
        The comparisons, metric by metric, in the order of the pairs.

    Raises:
        InputError: for a system that is not among the runs, and as `compare_runs`.
    """
    for name in {name for pair in pairs for name in pair}:
        if name not in runs:
            raise InputError(f"there is no system {name!r}", expected=f"one of {', '.join(runs)}")
    comparisons: list[Comparison] = []
    for metric in metrics:
        family = [compare_runs(runs[a], runs[b], metric, names=(a, b), seed=seed) for a, b in pairs]
        corrected = holm([comparison.p_value for comparison in family])
        comparisons += [replace(c, p_holm=float(p)) for c, p in zip(family, corrected, strict=True)]
    return comparisons


def against(baseline: str, runs: Mapping[str, RunMetrics]) -> list[tuple[str, str]]:
    """Every other system paired with the baseline, for `compare_systems`."""
    return [(name, baseline) for name in runs if name != baseline]


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.asarray(values.mean(axis=axis))


def _finite(values: ArrayLike, what: str) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise InputError(f"there are no {what}", expected="at least one query")
    if not np.isfinite(sample).all():
        raise InputError(f"the {what} hold NaN or infinite numbers", expected="finite numbers")
    return sample
