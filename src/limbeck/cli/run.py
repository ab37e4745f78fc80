"""`limbeck run`: a recipe, from the data to the report."""

from __future__ import annotations

from typing import Annotated

import typer

from limbeck.cli.options import Anyway, Out, RecipePath, Settings, add_verb
from limbeck.cli.screen import console


def _keys(wanted: bool) -> None:
    if wanted:
        from limbeck.cli.keys import recipe_keys  # noqa: PLC0415 - reads the recipe's types

        screen = console()
        for line in recipe_keys():
            screen.print(line)
        raise typer.Exit


def run(
    recipe: RecipePath,
    out: Out = None,
    settings: Settings = None,
    anyway: Anyway = False,
    *,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Tell what servers will be asked and what it costs, and ask nothing: data are read and "
            "candidates mined for it, for the run to find.",
        ),
    ] = False,
    keys: Annotated[
        bool,
        typer.Option(
            "--keys",
            help="List the keys of a recipe, with what they are by default.",
            callback=_keys,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Run a recipe: data, mining, teacher, audit, distilling, index, evaluation, report.

    Stopped at any point and started again, it goes on from the last finished stage; what was done with
    the same settings is not done again.
    """
    del keys
    from limbeck.cli.running import run_recipe, show_estimate, show_results  # noqa: PLC0415 - reads types

    if estimate:
        show_estimate(recipe, out, settings or [])
        return
    show_results(run_recipe("run", recipe, out, settings or [], anyway=anyway))


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    add_verb(
        app,
        run,
        "limbeck run recipes/scifact.yaml --out runs/scifact",
        "limbeck run recipes/scifact.yaml --set training.epochs=2 --set seed=1 --out runs/two-epochs",
        "limbeck run my-recipe.yaml --estimate",
        "limbeck run --keys",
    )
