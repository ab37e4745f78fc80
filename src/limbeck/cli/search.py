"""`limbeck search`: asks the student of a run folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.options import AsJson, add_verb, read_lines, require_utf8
from limbeck.cli.screen import console, show_json
from limbeck.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from limbeck.students.dense.retriever import DenseRetriever
    from limbeck.students.dense.retriever import Hit as DenseHit
    from limbeck.students.generative.retriever import GenerativeRetriever, Match
    from limbeck.students.generative.retriever import Hit as GenerativeHit

    Retriever = DenseRetriever | GenerativeRetriever
    Hit = DenseHit | GenerativeHit

#: Identifiers of a passage that are named and marked, the strongest.
_SHOWN_IDENTIFIERS = 4
#: Below it a weight would read 0.0.
_SHOWN_WEIGHT = 0.05


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

    Below a passage that a generative student has found stand the strongest identifiers that it was found
    by, each with what it adds to the score; they are underlined where they are in sight.

    With --json: {"query", "took_ms", "hits": [{"rank", "id", "score", "title", "text"}]}; for queries
    from standard input, one such object a line. A generative student's hits also have "identifiers":
    [{"identifier", "view", "part", "start", "end", "text", "weight"}], the strongest first: where it was
    generated, and which characters of which of the passage's texts it stands for.
    """
    several = query == "-"
    _require_query(query)
    from limbeck.cli.opening import open_retriever  # noqa: PLC0415 - the start stays quick

    retriever = open_retriever(folder)
    for asked in (line for _, line in read_lines()) if several else [query]:
        if as_json:
            hits, took_ms = _timed(retriever, asked, k)
            document = {"query": asked, "took_ms": round(took_ms, 3), "hits": [_record(hit) for hit in hits]}
            show_json(document, indent=None if several else 2)
        else:
            show_search(retriever, asked, k)


def show_search(retriever: Retriever, query: str, k: int) -> None:
    """Asks, and shows the passages: title, score, first lines, the strongest identifiers."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    hits, took_ms = _timed(retriever, query, k)
    screen = console()
    screen.print()
    screen.print(Text(query, style="bold"), Text(f"({took_ms:.0f} ms)", style="bright_black"))
    if not hits:
        screen.print("Nothing found.")
    width = min(screen.width, 100) - 16
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column(width=width)
    table.add_column(justify="right")
    for hit in hits:
        _show_hit(table, hit, width)
    screen.print(table)


def _show_hit(table: Table, hit: Hit, width: int) -> None:
    from rich.text import Text  # noqa: PLC0415

    from limbeck.cli.snippets import first_lines  # noqa: PLC0415

    found_by = [match for match in _identifiers(hit) or [] if match.weight >= _SHOWN_WEIGHT]
    found_by = found_by[:_SHOWN_IDENTIFIERS]
    table.add_row(
        str(hit.rank), _name(hit, _marks(found_by, "title")), Text(f"{hit.score:.3f}", "bright_black")
    )
    for line in first_lines(hit.text, width, _marks(found_by, "body")):
        table.add_row("", line)
    if found_by:
        table.add_row("", Text(" · ".join(map(_described, found_by)), "bright_black"))


def _name(hit: Hit, marks: Sequence[tuple[int, int]]) -> Text:
    """The title, then the id where it says something else."""
    from rich.text import Text  # noqa: PLC0415

    from limbeck.cli.snippets import MARK  # noqa: PLC0415

    if not hit.title:
        return Text(hit.passage_id, "bold cyan")
    name = Text(hit.title, "bold cyan")
    for start, end in marks:
        name.stylize(MARK, start, end)
    if hit.title != hit.passage_id:
        name.append(f"  {hit.passage_id}", "not bold bright_black")
    return name


def _identifiers(hit: Hit) -> list[Match] | None:
    """What found a passage, the strongest first; None for a student that has no identifiers."""
    matches: list[Match] | None = getattr(hit, "matches", None)
    return None if matches is None else sorted(matches, key=lambda match: -match.weight)


def _marks(matches: Sequence[Match], view: str) -> list[tuple[int, int]]:
    """Where identifiers stand in the passage's title or body, of which there is one each."""
    return [(match.start, match.end) for match in matches if match.view == view]


def _described(match: Match) -> str:
    where = "" if match.view == match.identifier else f" in {match.view}"
    return f'{match.identifier}{where} "{" ".join(match.text.split())}" {match.weight:.1f}'


def _timed(retriever: Retriever, query: str, k: int) -> tuple[Sequence[Hit], float]:
    _require_query(query)
    started = time.perf_counter()
    hits = retriever.search(query, k)
    return hits, (time.perf_counter() - started) * 1000


def _require_query(query: str) -> None:
    if not query.strip():
        raise InputError("the query is empty", expected="a few words")
    require_utf8(query, "the query")


def _record(hit: Hit) -> dict[str, object]:
    record: dict[str, object] = {
        "rank": hit.rank,
        "id": hit.passage_id,
        "score": float(hit.score),
        "title": hit.title,
        "text": hit.text,
    }
    found_by = _identifiers(hit)
    return record if found_by is None else record | {"identifiers": [asdict(match) for match in found_by]}


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    add_verb(
        app,
        search,
        'limbeck search quickstart "remove duplicates but keep the order"',
        'limbeck search runs/scifact "does vitamin D protect from infections" -k 20 --json',
        "limbeck search quickstart - --json < questions.txt",
    )
