"""Systems that were made several times, once for each seed: their means, their spread, their comparisons.

A comparison asks two things that are not the same. Whether a difference would be there on other queries: the
interval and the paired test over queries, on each query's mean over the seeds. Whether it would be there in
another training: the standard deviation over the seeds, and in how many of them the difference has the sign
that it has on average.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from limbeck.errors import InputError
from limbeck.evaluation.measurements import Recovered
from limbeck.evaluation.results import (
    Comparison,
    Latency,
    Results,
    SystemResult,
    Unit,
    format_interval,
    format_p,
    format_value,
    markdown_table,
    plural,
    signed,
)
from limbeck.evaluation.retrieval import RunMetrics
from limbeck.evaluation.significance import TIE, compare_systems, paired_values, system_result
from limbeck.files import atomic_path

#: By what is answered: a family over a corpus and over pairs has both.
FILES: Mapping[Unit, tuple[str, str]] = {
    "query": ("family.json", "table.md"),
    "pair": ("family-pairs.json", "table-pairs.md"),
}


@dataclass(frozen=True, slots=True)
class Repeated:
    """A system that was made several times, with one seed after the other.

    Attributes:
        metrics: what it scores on each query, a run a seed, in the order of the seeds.
        latency_ms: the time per query of those runs in which it was measured.

    Example:
        >>> one, other = (RunMetrics(("q1",), {"MRR@10": np.array([value])}) for value in (0.25, 0.75))
        >>> Repeated([one, other], [Latency(1.0, 2.0), Latency(3.0, 4.0)]).latency
        Latency(p50=2.0, p95=3.0)
    """

    metrics: Sequence[RunMetrics]
    latency_ms: Sequence[Latency] = ()

    @property
    def latency(self) -> Latency | None:
        """The median over the seeds; None where no run was timed."""
        if not self.latency_ms:
            return None
        return Latency(median(one.p50 for one in self.latency_ms), median(one.p95 for one in self.latency_ms))

    def means(self, metric: str) -> list[float]:
        """The mean over the queries, a value a seed."""
        return [run.mean(metric) for run in self.metrics]


def mean_metrics(runs: Sequence[RunMetrics]) -> RunMetrics:
    """Each query's mean over several runs.

    Args:
        runs: at least one, all on the same queries, in any order of them.

    Returns:
        The metrics and the queries of the first run, shape (queries,) each.

    Raises:
        InputError: when there is no run, or one was evaluated on other queries or lacks a metric.

    Example:
        >>> first = RunMetrics(("q1", "q2"), {"MRR@10": np.array([1.0, 0.5])})
        >>> second = RunMetrics(("q2", "q1"), {"MRR@10": np.array([0.0, 0.5])})
        >>> mean_metrics([first, second])["MRR@10"].tolist()
        [0.75, 0.25]
    """
    if not runs:
        raise InputError("there are no runs", expected="at least one")
    first = runs[0]
    return RunMetrics(
        first.query_ids,
        {name: np.mean([paired_values(first, run, name)[2] for run in runs], axis=0) for name in first.names},
    )


@dataclass(frozen=True, slots=True)
class FamilyResults:
    """Variants of one recipe side by side, each with several seeds.

    Attributes:
        name: of the family.
        seeds: the seeds.
        results: the systems and the comparisons, by each query's mean over the seeds.
        by_seed: variant and metric to the mean over the queries, a value a seed, in the order of `seeds`.
        agreeing: for each comparison, in how many seeds the difference has the sign that it has on average.
        notes: what a reader of the table should know, a sentence each.
        recovered: how much of a distance to a teacher is recovered, for those for which it was asked.
    """

    name: str
    seeds: Sequence[int]
    results: Results
    by_seed: Mapping[str, Mapping[str, Sequence[float]]]
    agreeing: Sequence[int]
    notes: Sequence[str] = field(default=())
    recovered: Sequence[Recovered] = field(default=())

    @property
    def files(self) -> tuple[str, str]:
        """Names of the files in the folder of a family: the figures (JSON) and the page (Markdown)."""
        return FILES[self.results.unit]

    def table_rows(self) -> list[list[str]]:
        """A heading, then a row a system, as `Results.table_rows`."""
        return self.results.table_rows()

    def comparison_rows(self) -> list[list[str]]:
        """A heading, then a row a comparison; the heading alone where there are none."""
        rows = [
            ["Compared", "Metric", "Difference", "p", "p, corrected", "Better", "Worse", "Equal", "Seeds"]
        ]
        for c, agreeing in zip(self.results.comparisons, self.agreeing, strict=True):
            rows.append(
                [
                    f"{c.first} against {c.second}",
                    c.metric,
                    signed(c.difference) + format_interval(c),
                    format_p(c.p_value),
                    format_p(c.p_holm),
                    *c.outcomes,
                    f"{agreeing}/{len(self.seeds)}",
                ]
            )
        return rows

    def recovered_rows(self) -> list[list[str]]:
        """A heading, then a row for each share of a distance that is recovered."""
        rows = [["Student", "Baseline", "Teacher", "Metric", "Recovered"]]
        for one in self.recovered:
            share = format_value(one.share.value) + format_interval(one.share)
            rows.append([one.student, one.baseline, one.teacher, one.metric, share])
        return rows

    @property
    def legend(self) -> list[str]:
        """How to read the tables, a sentence each."""
        items = plural(self.results.unit)
        lines = [f"In brackets: 95 % bootstrap intervals over the {items}."]
        if len(self.seeds) > 1:
            seeds = ", ".join(map(str, self.seeds))
            lines.insert(0, f"Means over the seeds {seeds}, ± the standard deviation over them.")
        if self.results.comparisons:
            lines.append(
                f"p: {_TESTS[self.results.unit]}; corrected by Holm's method over each metric. "
                f"Better, worse, equal: {items}. "
                "Seeds: in how many of them the difference has the same sign."
            )
        if self.recovered:
            lines.append(
                "Recovered: the share that the student has gone of the distance from the baseline to the "
                "teacher; without an interval where there may be no distance."
            )
        return [*lines, *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """What `Results.to_dict` gives, with `name`, `seeds`, `by_seed`, `agreeing` and `notes` beside."""
        return {
            "name": self.name,
            "seeds": list(self.seeds),
            **self.results.to_dict(),
            "by_seed": {
                name: {metric: list(values) for metric, values in metrics.items()}
                for name, metrics in self.by_seed.items()
            },
            "agreeing": list(self.agreeing),
            **({"recovered": [_share(one) for one in self.recovered]} if self.recovered else {}),
            "notes": list(self.notes),
        }

    def to_markdown(self) -> str:
        """The tables as one Markdown page."""
        blocks = [f"# {self.name}", self.results.to_markdown()]
        if self.results.comparisons:
            blocks += ["## Comparisons", markdown_table(self.comparison_rows())]
        if self.recovered:
            blocks += ["## Recovered of the distance to the teacher", markdown_table(self.recovered_rows())]
        return "\n\n".join([*blocks, *self.legend]) + "\n"

    def write(self, json_path: Path, markdown_path: Path) -> None:
        """Writes both forms, each atomically; `Results.read` understands the JSON too."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        for path, content in ((json_path, text), (markdown_path, self.to_markdown())):
            with atomic_path(path) as temporary:
                temporary.write_text(content, encoding="utf-8")


_TESTS: Mapping[Unit, str] = {
    "query": "paired randomisation test over the queries, two-sided, on each query's mean over the seeds",
    "pair": (
        "over the pairs, two-sided: the shifted bootstrap of the mean over the seeds; for accuracy the "
        "paired randomisation test on each pair's mean over the seeds"
    ),
}


def _share(one: Recovered) -> dict[str, Any]:
    """As JSON values, which know no NaN."""
    values = {key: None if math.isnan(value) else value for key, value in asdict(one.share).items()}
    return {**asdict(one), "share": values}


def family_results(
    name: str,
    seeds: Sequence[int],
    variants: Mapping[str, Repeated],
    pairs: Sequence[tuple[str, str]],
    *,
    others: Results | None = None,
    notes: Sequence[str] = (),
) -> FamilyResults:
    """Compares variants, each of which was run with the same seeds.

    Args:
        name: of the family.
        seeds: the seeds; the first is that of intervals and tests too.
        variants: name to its runs, one for each seed, in their order.
        pairs: (first, second) by name: the comparisons, corrected together for each metric.
        others: systems that stand above the variants and are compared with none; its machine and recipe are
            taken over.
        notes: what a reader should know.

    Raises:
        InputError: when there is no variant, as `compare_systems`, or when a variant lacks a seed.
    """
    for variant, repeated in variants.items():
        if len(repeated.metrics) != len(seeds):
            raise InputError(
                f"the variant '{variant}' has {len(repeated.metrics)} runs",
                expected=f"{len(seeds)}, one a seed",
            )
    others = others or Results({})
    means = {variant: mean_metrics(repeated.metrics) for variant, repeated in variants.items()}
    names = next(iter(means.values())).names if means else ()
    by_seed = {
        variant: {metric: repeated.means(metric) for metric in names}
        for variant, repeated in variants.items()
    }
    systems: dict[str, SystemResult] = {
        variant: system_result(means[variant], repeated.latency, seed=seeds[0])
        for variant, repeated in variants.items()
    }
    comparisons = compare_systems(means, pairs, names, seed=seeds[0])
    results = replace(
        others,
        systems={**others.systems, **systems},
        comparisons=comparisons,
        seed=seeds[0],
        deviations=_deviations(by_seed) if len(seeds) > 1 else {},
    )
    agreeing = [_agreeing(comparison, by_seed) for comparison in comparisons]
    return FamilyResults(name, seeds, results, by_seed, agreeing, notes)


def _deviations(by_seed: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, float]]:
    return {
        variant: {metric: float(np.std(values, ddof=1)) for metric, values in metrics.items()}
        for variant, metrics in by_seed.items()
    }


def _agreeing(comparison: Comparison, by_seed: Mapping[str, Mapping[str, Sequence[float]]]) -> int:
    """In how many seeds the difference has the sign of its mean; no difference is a sign of its own."""
    metric = comparison.metric
    first, second = (np.asarray(by_seed[name][metric]) for name in (comparison.first, comparison.second))
    return int(np.sum(_sign(first - second) == _sign(np.asarray(comparison.difference))))


def _sign(differences: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.where(np.abs(differences) > TIE, np.sign(differences), 0.0)
