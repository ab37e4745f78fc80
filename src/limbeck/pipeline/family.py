"""Running a family of recipes: each variant with each seed, what they have in common once, and one table.

    DIR/VARIANT/seed-N     a usual run folder each, so that `limbeck search` works there
    DIR/scores.sqlite      the teacher's scores of them all
    DIR/family.json, table.md                 over a corpus
    DIR/family-pairs.json, table-pairs.md     over labelled pairs

Variants come in the order of the family, all with the first seed before any with the next: a family that is
stopped half-way has compared them all as soon as it can.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Protocol

from limbeck.errors import InputError, LimbeckError
from limbeck.evaluation import FamilyResults
from limbeck.evaluation.seeds import FILES
from limbeck.pipeline.family_pairs import PairMeasures
from limbeck.pipeline.family_retrieval import RetrievalMeasures
from limbeck.pipeline.folder import RunFolder, lock_of
from limbeck.pipeline.progress import Progress, Silent
from limbeck.pipeline.run import Run, check_recipe, run_stages, stage_keys
from limbeck.pipeline.stages import stages_of
from limbeck.recipes import Recipe
from limbeck.recipes.family import Family, Member

SCORES = "scores.sqlite"
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


class Measures(Protocol):
    """How the runs of a family are measured: over a corpus, or over labelled pairs."""

    @property
    def files(self) -> tuple[str, str]:
        """Names of the figures (JSON) and of the table (Markdown) in the folder of the family."""
        ...

    @property
    def independent(self) -> tuple[str, ...]:
        """Systems that owe nothing to the student, which have rows of their own."""
        ...

    def systems(self, recipe: Recipe) -> tuple[str, ...]:
        """Names of what a run measures."""
        ...

    def student(self, recipe: Recipe) -> str:
        """The system that a run is for."""
        ...

    def read(self, member: Member, system: str, folder: Path) -> None:
        """Reads what a finished run left; `system` stands for it, and `folder` is the family's."""
        ...

    def table(self, family: Family, notes: list[str]) -> FamilyResults:
        """The variants side by side, once all runs are read."""
        ...


def measures_of(recipe: Recipe) -> list[Measures]:
    """How the runs of a recipe are measured: a table for the corpus, one for the pairs, where it has them."""
    return [
        *([RetrievalMeasures()] if recipe.data is not None else []),
        *([PairMeasures()] if recipe.pairs else []),
    ]


def run_family(
    family: Family, folder: Path, progress: Progress | None = None, *, anyway: bool = False
) -> list[FamilyResults]:
    """Brings the folder of a family up to date and compares its variants.

    Args:
        family: what to run.
        folder: where everything is kept; made when it is not there.
        progress: is told what happens.
        anyway: goes on with a teacher that the audit finds no better than the student's start.

    Returns:
        A table for each way in which the runs are measured (`measures_of`); they lie in the folder, too.

    Raises:
        InputError: the folder holds something else, another process works in it, or a recipe would be
            refused, which is looked at for every variant before the first runs.
        VariantFailedError: a run fails; those before it stay.

    Example:
        >>> run_family(load_family("losses.yaml"), Path("runs/losses"))[0].table_rows()  # doctest: +SKIP
    """
    progress = progress or Silent()
    measures = measures_of(family.recipe)
    _check_names(family, measures)
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_of(folder / _LOCK):
        _check_recipes(family, folder)
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
                for one in measures:
                    one.read(member, _system(family, member, one), folder)
        tables = []
        for one in measures:
            tables.append(one.table(family, list(_descriptions(family))))
            tables[-1].write(*(folder / name for name in tables[-1].files))
    return tables


def _check_names(family: Family, measures: Sequence[Measures]) -> None:
    """No variant takes the place of something else, and each has the system that it is to stand for."""
    names = {SCORES, *(name for one in measures for name in (*one.independent, *one.files))}
    taken = next((name for name in family.variants if name in names), None)
    if taken is not None:
        raise InputError(
            f"a variant cannot be called '{taken}'",
            path=family.source,
            expected="another name than those of the table's other rows and of files",
        )
    for member in family.members:
        for one in measures:
            system, known = _system(family, member, one), one.systems(member.recipe)
            if system not in known:
                raise InputError(
                    f"systems.{member.variant}: its runs have no system '{system}'",
                    path=family.source,
                    expected=f"one of {', '.join(known)}",
                    remedy="there is a table of the corpus and one of the pairs: list a system of each"
                    if len(measures) > 1
                    else None,
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
    """Removes the tables, which are about to be out of date, those of another recipe's measures too."""
    for name in chain.from_iterable(FILES.values()):
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


def _system(family: Family, member: Member, measures: Measures) -> str:
    """The system of a run that stands for its variant: the first that the family names and that is there."""
    named = family.systems.get(member.variant)
    if named is None:
        return measures.student(member.recipe)
    known = measures.systems(member.recipe)
    return next((name for name in named if name in known), named[0])


def _descriptions(family: Family) -> Iterator[str]:
    """What each variant is: its settings, and its system where that is not the student."""
    for variant, settings in family.variants.items():
        said = [
            f"{key}={json.dumps(value, ensure_ascii=False, default=str)}" for key, value in settings.items()
        ]
        systems = family.systems.get(variant)
        measured_by = [f"measured by {' or '.join(systems)}"] if systems else []
        yield f"{variant}: {', '.join([*said, *measured_by]) or 'the recipe as it is'}."
