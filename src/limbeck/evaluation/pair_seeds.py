"""Systems of pair tasks that were trained several times: one table with means, spread and comparisons.

A value is the mean over the seeds of the metric of each; intervals and tests are over the pairs, which are
drawn once for all seeds and all systems (`limbeck.evaluation.measurements`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from limbeck.errors import InputError
from limbeck.evaluation.measurements import (
    Measurement,
    Recovered,
    agreeing,
    compare_measurements,
    measure,
    recovered_share,
)
from limbeck.evaluation.pair_systems import PairSetScores, metric_prefix
from limbeck.evaluation.results import Comparison, Latency, Results, SystemResult
from limbeck.evaluation.seeds import FamilyResults


@dataclass(frozen=True)
class RepeatedPairs:
    """A system of pair tasks that was trained several times.

    Attributes:
        system: its name in the sets.
        runs: set name to scores, a mapping a seed, in the order of the seeds.
        latency_ms: the time per pair of those runs in which it was measured.
    """

    system: str
    runs: list[Mapping[str, PairSetScores]]
    latency_ms: list[Latency]

    @property
    def latency(self) -> Latency | None:
        """The median over the seeds; None where no run was timed."""
        if not self.latency_ms:
            return None
        return Latency(median(one.p50 for one in self.latency_ms), median(one.p95 for one in self.latency_ms))


def pair_family_results(
    name: str,
    seeds: Sequence[int],
    rows: Mapping[str, RepeatedPairs],
    compared: Sequence[tuple[str, str]],
    *,
    recovered: Sequence[tuple[str, str, str]] = (),
    machine: Mapping[str, str] | None = None,
    recipe: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> FamilyResults:
    """Compares systems of pair tasks, each of which was trained with the same seeds.

    Args:
        name: of the family.
        seeds: the seeds; the first is that of intervals and tests too.
        rows: name to its runs, one for each seed, all on the same pairs.
        compared: (first, second) by name, corrected together for each metric.
        recovered: (student, baseline, teacher) by name, measured on the first metric of each set.
        machine: what the times were measured on.
        recipe: what the variants are made from.
        notes: what a reader should know.

    Raises:
        InputError: when a row lacks a seed, as `PairSetScores.metrics`, and for names that are no row.
    """
    for row, repeated in rows.items():
        if len(repeated.runs) != len(seeds):
            raise InputError(f"'{row}' has {len(repeated.runs)} runs", expected=f"{len(seeds)}, one a seed")
    measured: dict[str, dict[str, Measurement]] = {row: {} for row in rows}
    comparisons: list[Comparison] = []
    agreed: list[int] = []
    shares: list[Recovered] = []
    sets = next(iter(rows.values())).runs[0]
    for set_name, scores in sets.items():
        prefix = metric_prefix(set_name, len(sets))
        of_set = measure(
            {row: [run[set_name].metrics(one.system) for run in one.runs] for row, one in rows.items()},
            scores.pairs,
            seed=seeds[0],
        )
        made = compare_measurements(of_set, compared, items=scores.pairs, prefix=prefix, seed=seeds[0])
        comparisons += made
        for c in made:
            metric = c.metric.removeprefix(prefix)
            agreed.append(agreeing(of_set[c.first][metric], of_set[c.second][metric]))
        shares += _recovered(of_set, recovered, prefix)
        for row, found in of_set.items():
            measured[row].update({f"{prefix}{metric}": one for metric, one in found.items()})
    results = Results(
        {
            row: SystemResult({metric: one.estimate for metric, one in found.items()}, rows[row].latency)
            for row, found in measured.items()
        },
        comparisons,
        machine or {},
        seeds[0],
        recipe or {},
        _deviations(measured) if len(seeds) > 1 else {},
        unit="pair",
    )
    by_seed = {
        row: {metric: list(one.by_seed) for metric, one in found.items()} for row, found in measured.items()
    }
    return FamilyResults(name, seeds, results, by_seed, agreed, notes, shares)


def _recovered(
    measured: Mapping[str, Mapping[str, Measurement]], wanted: Sequence[tuple[str, str, str]], prefix: str
) -> Iterator[Recovered]:
    for names in wanted:
        metric = next(iter(measured[names[0]]))
        share = recovered_share(*(measured[name][metric] for name in names))
        yield Recovered(*names, f"{prefix}{metric}", share)


def _deviations(measured: Mapping[str, Mapping[str, Measurement]]) -> dict[str, dict[str, float]]:
    return {
        row: {metric: float(np.std(one.by_seed, ddof=1)) for metric, one in found.items()}
        for row, found in measured.items()
    }
