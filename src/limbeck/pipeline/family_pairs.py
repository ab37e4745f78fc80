"""What the table of a family needs of runs over labelled pairs: scores and times."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from limbeck.errors import InputError
from limbeck.evaluation import FamilyResults, PairSetScores, RepeatedPairs, Results, pair_family_results
from limbeck.evaluation.seeds import FILES
from limbeck.pipeline.pairs.evaluating import BACKBONE, BASELINE, COSINE, INTERACTION, PUBLISHED, TEACHER
from limbeck.recipes import Recipe
from limbeck.recipes.family import Family, Member


@dataclass(frozen=True)
class PairMeasures:
    """See `limbeck.pipeline.family.Measures`.

    Attributes:
        rows: variant, or independent system of the first variant, to its runs in the order of the seeds.
        machine: of the first run.
    """

    rows: dict[str, RepeatedPairs] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)

    files = FILES["pair"]
    independent = BACKBONE, BASELINE, TEACHER

    def systems(self, recipe: Recipe) -> tuple[str, ...]:
        """Names of what a run measures, the same for every recipe of pairs."""
        return BACKBONE, BASELINE, COSINE, INTERACTION, TEACHER

    def student(self, recipe: Recipe) -> str:
        """The system that a run is for."""
        return INTERACTION

    def read(self, member: Member, system: str, folder: Path) -> None:
        """Reads what a finished run left."""
        path = folder / member.folder / PUBLISHED[0]
        results = Results.read(path / "metrics.json")
        first = next(iter(self.rows), member.variant)
        wanted = {member.variant: system}
        if member.variant == first:
            # Of the first variant alone: what others make of the same pairs may depend on their settings.
            wanted |= {name: name for name in self.independent}
        systems = list(dict.fromkeys(wanted.values()))
        sets = {
            name: PairSetScores.read(path / "scores" / name, one.labels.kind, systems)
            for name, one in member.recipe.pairs.items()
        }
        for row, name in wanted.items():
            timed = results.systems[name].latency_ms
            repeated = self.rows.setdefault(row, RepeatedPairs(name, [], []))
            repeated.runs.append(sets)
            repeated.latency_ms.extend([] if timed is None else [timed])
        self._check_pairs(sets, path)
        if not self.machine:
            self.machine.update(results.machine)

    def _check_pairs(self, sets: dict[str, PairSetScores], path: Path) -> None:
        others = next(iter(self.rows.values())).runs[0]
        for name, one in sets.items():
            if not one.same_pairs(others[name]):
                raise InputError(
                    f"the labels of '{name}' are not those of the other runs",
                    path=path / "scores" / name,
                    remedy="compare variants on the same pairs",
                )

    def table(self, family: Family, notes: list[str]) -> FamilyResults:
        """The variants side by side, below what they are measured against."""
        stood_for = {row.system for name, row in self.rows.items() if name in family.systems}
        others = [name for name in self.independent if name not in stood_for]
        origin = next(iter(family.variants))
        return pair_family_results(
            family.name,
            family.seeds,
            {name: self.rows[name] for name in (*others, *family.variants)},
            family.compare,
            recovered=family.recovered,
            machine=self.machine,
            recipe=family.recipe.content,
            notes=[*notes, *([f"{', '.join(others)}: of the runs of {origin}."] if others else [])],
        )
