"""`limbeck search`: asks the student of a run folder."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.options import AsJson, add_verb
from limbeck.cli.screen import console, show_json
from limbeck.errors import InputError

if TYPE_CHECKING:
    from limbeck.students.dense.retriever import DenseRetriever, Hit

_INDEX = "index"
_TEXT_LINES = 2


def search(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.", show_default=False)],
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            help="What to look for; - reads a query a line from standard input.",
            show_default=False,
        ),
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="Passages to show.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Search the corpus of a run with its student.

    With --json: {"query", "took_ms", "hits": [{"rank", "id", "score", "title", "text"}]}; for queries
    from standard input, one such object a line.
    """
    several = query == "-"
    if several and isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    _require_query(query)
    retriever = open_retriever(folder)
    for asked in _lines(sys.stdin) if several else [query]:
        if as_json:
            hits, took_ms = _timed(retriever, asked, k)
            document = {"query": asked, "took_ms": round(took_ms, 3), "hits": [_record(hit) for hit in hits]}
            show_json(document, indent=None if several else 2)
        else:
            show_search(retriever, asked, k)


def open_retriever(folder: Path) -> DenseRetriever:
    """The student of a run, ready to be asked.

    Raises:
        InputError: the folder is not there, or holds no index.
    """
    if not (folder / _INDEX).is_dir():
        raise InputError(
            "no run has left an index here" if folder.is_dir() else "there is no such folder",
            path=folder,
            expected="the folder of a run that has come to its index",
            remedy=f"limbeck run RECIPE --out {folder}, or limbeck quickstart",
        )
    from limbeck.students.dense.retriever import DenseRetriever  # noqa: PLC0415 - brings torch

    return DenseRetriever.open(folder)


def show_search(retriever: DenseRetriever, query: str, k: int) -> None:
    """Asks, and shows the passages: title, score, first lines."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    hits, took_ms = _timed(retriever, query, k)
    screen = console()
    screen.print()
    screen.print(Text(query, style="bold"), Text(f"({took_ms:.0f} ms)", style="bright_black"))
    if not hits:
        screen.print("Nothing found.")
    width = min(screen.width, 100)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column(width=width - 16)
    table.add_column(justify="right")
    for hit in hits:
        name = Text(hit.title or hit.passage_id, style="bold cyan")
        if hit.title and hit.title != hit.passage_id:
            name.append(f"  {hit.passage_id}", style="not bold bright_black")
        table.add_row(str(hit.rank), name, Text(f"{hit.score:.3f}", style="bright_black"))
        for line in _first_lines(hit.text, width - 16):
            table.add_row("", Text(line))
    screen.print(table)


def _first_lines(text: str, width: int) -> list[str]:
    """The beginning of a text, white space folded, in a few lines of this width."""
    words = " ".join(text.split())
    lines: list[str] = []
    while words and len(lines) < _TEXT_LINES:
        line, words = _cut(words, width)
        lines.append(line)
    if words:
        lines[-1] = f"{_cut(lines[-1], width - 2)[0]} …"
    return lines


def _cut(words: str, width: int) -> tuple[str, str]:
    """The first line and the rest, between words where there are some (Chinese has none)."""
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415

    if cell_len(words) <= width:
        return words, ""
    line = set_cell_size(words, width).rstrip(" ")
    space = line.rfind(" ")
    if words[len(line) : len(line) + 1] != " " and space >= len(line) // 2:
        line = line[:space]
    return line, words[len(line) :].lstrip()


def _timed(retriever: DenseRetriever, query: str, k: int) -> tuple[list[Hit], float]:
    _require_query(query)
    started = time.perf_counter()
    hits = retriever.search(query, k)
    return hits, (time.perf_counter() - started) * 1000


def _require_query(query: str) -> None:
    if not query.strip():
        raise InputError("the query is empty", expected="a few words")
    if any("\ud800" <= character <= "\udfff" for character in query):  # what bytes that are no text become
        raise InputError("the query is not UTF-8", expected="text in UTF-8")


def _lines(stream: Iterable[str]) -> Iterable[str]:
    return (line.strip() for line in stream if line.strip())


def _record(hit: Hit) -> dict[str, object]:
    return {
        "rank": hit.rank,
        "id": hit.passage_id,
        "score": float(hit.score),
        "title": hit.title,
        "text": hit.text,
    }


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    add_verb(
        app,
        search,
        'limbeck search quickstart "remove duplicates but keep the order"',
        'limbeck search runs/scifact "does vitamin D protect from infections" -k 20 --json',
        "limbeck search quickstart - --json < questions.txt",
    )
