"""What the table of a family needs of runs over a corpus: rankings, judgements, times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from limbeck.data.formats.qrels import read_qrels
from limbeck.data.formats.trec import read_run
from limbeck.errors import InputError
from limbeck.evaluation import (
    FamilyResults,
    Latency,
    Repeated,
    Results,
    RunMetrics,
    SystemResult,
    evaluate_run,
    family_results,
)
from limbeck.evaluation.seeds import FILES
from limbeck.pipeline.systems import INDEPENDENT, student_name, system_names
from limbeck.recipes import Recipe
from limbeck.recipes.family import Family, Member


@dataclass(frozen=True)
class RetrievalMeasures:
    """See `limbeck.pipeline.family.Measures`.

    Attributes:
        metrics: variant to its runs, in the order of the seeds.
        latency_ms: variant to the times of those that were timed.
        judged_by: fingerprint of the judgements, and the run that has them first; empty before that.
        found: independent systems, of the first run that has them.
        machine: of the first run.
    """

    metrics: dict[str, list[RunMetrics]] = field(default_factory=dict)
    latency_ms: dict[str, list[Latency]] = field(default_factory=dict)
    judged_by: dict[str, Member] = field(default_factory=dict)
    found: dict[str, tuple[SystemResult, Member]] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)

    files = FILES["query"]
    independent = INDEPENDENT

    def systems(self, recipe: Recipe) -> tuple[str, ...]:
        """Names of what a run measures."""
        return system_names(recipe)

    def student(self, recipe: Recipe) -> str:
        """The system that a run is for."""
        return student_name(recipe)

    def read(self, member: Member, system: str, folder: Path) -> None:
        """Reads what a finished run left."""
        path = folder / member.folder
        judgements = read_qrels(path / "qrels.tsv")
        first = next(iter(self.judged_by.items()), None)
        if first is not None and first[0] != judgements.fingerprint:
            raise InputError(
                "its queries are not judged as those of the others are",
                path=path / "qrels.tsv",
                expected=f"the judgements of {folder / first[1].folder / 'qrels.tsv'}",
                remedy="compare variants on the same test queries",
            )
        self.judged_by.setdefault(judgements.fingerprint, member)
        ranked = read_run(path / "runs" / f"{system}.trec")
        values = evaluate_run(ranked, judgements, member.recipe.evaluation.metrics)
        self.metrics.setdefault(member.variant, []).append(values)
        results = Results.read(path / "metrics.json")
        timed = results.systems[system].latency_ms
        self.latency_ms.setdefault(member.variant, []).extend([] if timed is None else [timed])
        for name in INDEPENDENT:
            if name in results.systems:
                self.found.setdefault(name, (results.systems[name], member))
        if not self.machine:
            self.machine.update(results.machine)

    def table(self, family: Family, notes: list[str]) -> FamilyResults:
        """The variants side by side."""
        independent = {name: self.found[name][0] for name in INDEPENDENT if name in self.found}
        return family_results(
            family.name,
            family.seeds,
            {name: Repeated(self.metrics[name], self.latency_ms[name]) for name in family.variants},
            family.compare,
            others=Results(independent, machine=self.machine, recipe=family.recipe.content),
            notes=[*notes, _origins(self.found)],
        )


def _origins(independent: Mapping[str, tuple[SystemResult, Member]]) -> str:
    """From which run each of the rows comes that are there once."""
    by_run: dict[str, list[str]] = {}
    for name, (_, member) in independent.items():
        by_run.setdefault(f"{member.variant}, seed {member.seed}", []).append(name)
    return "; ".join(f"{', '.join(names)}: of the run {run}" for run, names in by_run.items()) + "."
