"""Arguments and input that several verbs share, and how a verb and its examples come into the help."""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from limbeck.errors import InputError
from limbeck.texts import is_unicode

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


def read_lines() -> Iterator[tuple[int, str]]:
    """The filled lines of standard input, stripped, with their numbers from 1; `require_utf8` checks one."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    return ((number, line.strip()) for number, line in enumerate(sys.stdin, 1) if line.strip())


def require_utf8(text: str, what: str, *, line: int | None = None) -> None:
    """Does nothing if an argument or a line of standard input is text.

    Args:
        text: as Python reads it.
        what: it is, for the message.
        line: of standard input.

    Raises:
        InputError: it was written in another encoding.
    """
    if not is_unicode(text):
        path = None if line is None else "standard input"
        raise InputError(f"{what} is not UTF-8", path=path, line=line, expected="text in UTF-8")


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
