"""Arguments that several verbs share, and how a verb and its examples come into the help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

RecipePath = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.", show_default=False)
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Sets a key of the recipe, with dots between levels; may be given several times.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="The run folder; runs/NAME-OF-THE-RECIPE if not given.",
        show_default=False,
    ),
]
Anyway = Annotated[
    bool,
    typer.Option("--anyway", help="Go on with a teacher that is no better than the student's start."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")]
Qrels = Annotated[
    Path,
    typer.Argument(
        metavar="QRELS", help="The judgements: TREC qrels, or a BEIR .tsv; plain or .gz.", show_default=False
    ),
]


def examples(*commands: str) -> str:
    """The end of a verb's help."""
    heading = "Example:" if len(commands) == 1 else "Examples:"
    # The empty first line keeps the help from taking the indentation for its margin.
    return "\n".join(["", heading, *(f"  {command}" for command in commands)])


def add_verb(app: typer.Typer, verb: Callable[..., None], *commands: str, name: str | None = None) -> None:
    """Adds a verb to the application; its docstring is its help.

    Args:
        app: the application.
        verb: the function.
        commands: examples of its use.
        name: what it is called, if not as the function.
    """
    paragraphs = inspect.cleandoc(verb.__doc__ or "").split("\n\n")
    # Lines end where the docstring's do, unless they are joined, and windows are of all widths.
    prose = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    app.command(name=name, help=prose, epilog=examples(*commands))(verb)
