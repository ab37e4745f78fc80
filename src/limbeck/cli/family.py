"""`limbeck family`: variants of a recipe, each with several seeds, and one table that compares them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.options import Anyway, Settings, add_verb
from limbeck.cli.screen import console, show_table

if TYPE_CHECKING:
    from limbeck.evaluation import FamilyResults


def family(
    path: Annotated[
        Path, typer.Argument(metavar="FAMILY", help="The family, a YAML file.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="The folder; runs/NAME-OF-THE-FILE if not given, or with --recipe runs/FILE-RECIPE.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            metavar="RECIPE",
            help="A recipe that takes the place of the family's own.",
            show_default=False,
        ),
    ] = None,
    settings: Settings = None,
    anyway: Anyway = False,
) -> None:
    """Run variants of a recipe, each with several seeds, and compare them in one table.

    The file names a recipe, the seeds, the variants (what each changes in the recipe, as --set does), and
    which are compared. Each run is a run folder, DIR/VARIANT/seed-N; what several have in common is made
    once. Stopped at any point and started again, it goes on. --set is for all variants; what a variant sets
    itself goes before it.
    """
    from limbeck.cli.running import packages_needed, set_words, stoppable  # noqa: PLC0415 - the start stays quick
    from limbeck.recipes.family import load_family  # noqa: PLC0415 - reads the recipe's types

    loaded = load_family(path, settings or [], recipe=recipe)
    folder = out or Path("runs") / "-".join([path.stem, *([] if recipe is None else [recipe.stem])])
    with packages_needed():
        from limbeck.pipeline.family import run_family  # noqa: PLC0415 - brings torch
    words = ["family", path, *([] if recipe is None else ["--recipe", recipe]), "--out", folder]
    words += [*set_words(settings or []), *["--anyway"] * anyway]
    with stoppable(folder, words) as display:
        tables = run_family(loaded, folder, display, anyway=anyway)
    for results in tables:
        _show(results, folder)


def _show(results: FamilyResults, folder: Path) -> None:
    """A table, how to read it, and where it lies."""
    figures, table = (folder / name for name in results.files)
    screen = console()
    screen.print()
    show_table(screen, results.table_rows())
    if results.results.comparisons:
        screen.print()
        show_table(screen, results.comparison_rows(), left=2)
    if results.recovered:
        screen.print()
        show_table(screen, results.recovered_rows(), left=2)
    screen.print()
    for line in results.legend:
        screen.print(line)
    screen.print()
    screen.print(f"{'Table:':9}{table}")
    screen.print(f"{'Figures:':9}{figures}")


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    add_verb(
        app,
        family,
        "limbeck family recipes/families/dense-losses.yaml --out runs/losses",
        "limbeck family recipes/families/dense-losses.yaml --recipe my.yaml --out runs/losses-mine",
        "limbeck family recipes/families/dense-losses.yaml --set training.epochs=1 --out runs/losses-short",
    )
