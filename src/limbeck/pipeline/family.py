"""Running a family of recipes: each variant with each seed, what they have in common once, and one table.

    DIR/VARIANT/seed-N     a usual run folder each, so that `limbeck search` works there
    DIR/scores.sqlite      the teacher's scores of them all
    DIR/family.json, table.md

Variants come in the order of the family, all with the first seed before any with the next: a family that is
stopped half-way has compared them all as soon as it can.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from limbeck.data.formats.qrels import read_qrels
from limbeck.data.formats.trec import read_run
from limbeck.errors import InputError, LimbeckError
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
from limbeck.pipeline.folder import RunFolder, lock_of
from limbeck.pipeline.progress import Progress, Silent
from limbeck.pipeline.run import Run, check_recipe, run_stages, stage_keys
from limbeck.pipeline.stages import stages_of
from limbeck.pipeline.systems import INDEPENDENT, student_name, system_names
from limbeck.recipes.family import Family, Member

RESULTS, TABLE, SCORES = "family.json", "table.md", "scores.sqlite"
#: Made before anything else: by it the folder of a family is known.
_LOCK = ".family.lock"


class VariantFailedError(LimbeckError):
    """A run of a family came to an end before its time; what is done stays.

    Attributes:
        member: the run.
    """

    def __init__(self, member: Member, error: LimbeckError) -> None:
        self.member = member
        super().__init__(f"the variant '{member.variant}' with seed {member.seed} fails: {error}")


@dataclass(frozen=True)
class _Measured:
    """What the table needs of the runs.

    Attributes:
        metrics: variant to its runs, in the order of the seeds.
        latency_ms: variant to the times of those that were timed.
        judged_by: fingerprint of the judgements, and the run that has them first; empty before that.
        independent: systems that owe nothing to the student, of the first run that has them.
        machine: of the first run.
    """

    metrics: dict[str, list[RunMetrics]] = field(default_factory=dict)
    latency_ms: dict[str, list[Latency]] = field(default_factory=dict)
    judged_by: dict[str, Member] = field(default_factory=dict)
    independent: dict[str, tuple[SystemResult, Member]] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)


def run_family(
    family: Family, folder: Path, progress: Progress | None = None, *, anyway: bool = False
) -> FamilyResults:
    """Brings the folder of a family up to date and compares its variants.

    Args:
        family: what to run.
        folder: where everything is kept; made when it is not there.
        progress: is told what happens.
        anyway: goes on with a teacher that the audit finds no better than the student's start.

    Returns:
        The table, which lies in `family.json` and `table.md` too.

    Raises:
        InputError: the folder holds something else, another process works in it, or a recipe would be
            refused, which is looked at for every variant before the first runs.
        VariantFailedError: a run fails; those before it stay.

    Example:
        >>> run_family(load_family("losses.yaml"), Path("runs/losses")).table_rows()  # doctest: +SKIP
    """
    progress = progress or Silent()
    _check_names(family)
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_of(folder / _LOCK):
        _check_recipes(family, folder)
        measured = _Measured()
        for number, member in enumerate(family.members, start=1):
            reused = _up_to_date(member, folder)
            if not reused:
                _withdraw(folder)
            title = f"{member.variant}, seed {member.seed}"
            progress.run(number, len(family.members), title, reused=reused)
            with _told_by(member):
                run_stages(
                    _run(family, member, folder, Silent() if reused else progress, anyway),
                    stages_of(member.recipe),
                )
                _measure(family, member, folder, measured)
        results = _compared(family, measured)
        results.write(folder / RESULTS, folder / TABLE)
    return results


def _check_names(family: Family) -> None:
    """No variant takes the place of something else, and each has the system that it is to stand for."""
    taken = next((name for name in family.variants if name in {*INDEPENDENT, RESULTS, TABLE, SCORES}), None)
    if taken is not None:
        raise InputError(
            f"a variant cannot be called '{taken}'",
            path=family.source,
            expected="another name than those of the table's other rows and of files",
        )
    for member in family.members:
        system, names = _system(family, member), system_names(member.recipe)
        if system not in names:
            raise InputError(
                f"systems.{member.variant}: its runs have no system '{system}'",
                path=family.source,
                expected=f"one of {', '.join(names)}",
            )


def _check_folder(folder: Path) -> None:
    """Keeps a family out of a folder in which somebody keeps other things."""
    if folder.exists() and not folder.is_dir():
        raise InputError("the folder of the family is a file", path=folder, remedy="name another with --out")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _LOCK).exists():
        raise InputError(
            "the folder is not empty, and not of a family", path=folder, remedy="name a new one with --out"
        )


def _check_recipes(family: Family, folder: Path) -> None:
    """Finds what a variant's run would end with at its start, before hours are spent on those before it."""
    for member in family.members[: len(family.variants)]:
        if not _up_to_date(member, folder):
            with _told_by(member):
                check_recipe(member.recipe, stages_of(member.recipe))


@contextmanager
def _told_by(member: Member) -> Iterator[None]:
    try:
        yield
    except LimbeckError as error:
        raise VariantFailedError(member, error) from error
    except Exception as error:
        error.add_note(f"This was the variant '{member.variant}' with seed {member.seed}.")
        raise


def _up_to_date(member: Member, folder: Path) -> bool:
    path = folder / member.folder
    if not path.is_dir():
        return False
    run, keys = RunFolder(path), stage_keys(member.recipe, stages_of(member.recipe))
    return all(run.finished_key(name) == key for name, key in keys.items())


def _withdraw(folder: Path) -> None:
    """Removes the table, which is about to be out of date."""
    for name in (RESULTS, TABLE):
        (folder / name).unlink(missing_ok=True)


def _run(family: Family, member: Member, folder: Path, progress: Progress, anyway: bool) -> Run:
    others = (folder / other.folder for other in family.members if other != member)
    return Run(
        member.recipe,
        RunFolder(folder / member.folder),
        progress,
        anyway=anyway,
        scores=folder / SCORES,
        siblings=[RunFolder(path) for path in others if path.is_dir()],
    )


def _system(family: Family, member: Member) -> str:
    """The system of a run that stands for its variant."""
    return family.systems.get(member.variant, student_name(member.recipe))


def _measure(family: Family, member: Member, folder: Path, measured: _Measured) -> None:
    """Reads what a finished run left for the table."""
    path, system = folder / member.folder, _system(family, member)
    judgements = read_qrels(path / "qrels.tsv")
    first = next(iter(measured.judged_by.items()), None)
    if first is not None and first[0] != judgements.fingerprint:
        raise InputError(
            "its queries are not judged as those of the others are",
            path=path / "qrels.tsv",
            expected=f"the judgements of {folder / first[1].folder / 'qrels.tsv'}",
            remedy="compare variants on the same test queries",
        )
    measured.judged_by.setdefault(judgements.fingerprint, member)
    ranked = read_run(path / "runs" / f"{system}.trec")
    values = evaluate_run(ranked, judgements, family.recipe.evaluation.metrics)
    measured.metrics.setdefault(member.variant, []).append(values)
    results = Results.read(path / "metrics.json")
    timed = results.systems[system].latency_ms
    measured.latency_ms.setdefault(member.variant, []).extend([] if timed is None else [timed])
    for name in INDEPENDENT:
        if name in results.systems:
            measured.independent.setdefault(name, (results.systems[name], member))
    if not measured.machine:
        measured.machine.update(results.machine)


def _compared(family: Family, measured: _Measured) -> FamilyResults:
    independent = {
        name: measured.independent[name][0] for name in INDEPENDENT if name in measured.independent
    }
    return family_results(
        family.name,
        family.seeds,
        {name: Repeated(measured.metrics[name], measured.latency_ms[name]) for name in family.variants},
        family.compare,
        others=Results(independent, machine=measured.machine, recipe=family.recipe.content),
        notes=[*_descriptions(family), _origins(measured.independent)],
    )


def _origins(independent: Mapping[str, tuple[SystemResult, Member]]) -> str:
    """From which run each of the rows comes that are there once."""
    by_run: dict[str, list[str]] = {}
    for name, (_, member) in independent.items():
        by_run.setdefault(f"{member.variant}, seed {member.seed}", []).append(name)
    return "; ".join(f"{', '.join(names)}: of the run {run}" for run, names in by_run.items()) + "."


def _descriptions(family: Family) -> Iterator[str]:
    """What each variant is: its settings, and its system where that is not the student."""
    for variant, settings in family.variants.items():
        said = [
            f"{key}={json.dumps(value, ensure_ascii=False, default=str)}" for key, value in settings.items()
        ]
        measured_by = [f"measured by {family.systems[variant]}"] if variant in family.systems else []
        yield f"{variant}: {', '.join([*said, *measured_by]) or 'the recipe as it is'}."
