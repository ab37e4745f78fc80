"""`limbeck mine | teach | distil`: a recipe up to one of its stages."""

from __future__ import annotations

import typer

from limbeck.cli.options import Anyway, Out, RecipePath, Settings, add_verb

_HELP = {
    "mine": "Run a recipe up to its candidates: the data, and what the teacher will judge.",
    "teach": "Run a recipe up to the teacher's scores: data, mining, teacher, audit, scores.",
    "distil": "Run a recipe up to the trained student.",
}


def _register(app: typer.Typer, stage: str) -> None:
    def verb(recipe: RecipePath, out: Out = None, settings: Settings = None, anyway: Anyway = False) -> None:
        from limbeck.cli.running import run_recipe, show_stage  # noqa: PLC0415 - reads the recipe's types

        folder = run_recipe(stage, recipe, out, settings or [], anyway=anyway, until=stage)
        show_stage(folder, stage, recipe, settings or [])

    verb.__doc__ = _HELP[stage]
    add_verb(app, verb, f"limbeck {stage} recipes/scifact.yaml --out runs/scifact", name=stage)


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    for stage in _HELP:
        _register(app, stage)
