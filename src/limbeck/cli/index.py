"""`limbeck index build | add | delete`: the student's index, and changes to it without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.options import (
    Anyway,
    Out,
    RecipePath,
    Settings,
    add_verb,
    examples,
    read_lines,
    require_utf8,
)
from limbeck.cli.screen import command, console
from limbeck.errors import InputError

if TYPE_CHECKING:
    from limbeck.data import Passage, Passages
    from limbeck.files import Records
    from limbeck.students.generative.pseudo_queries import PseudoQueries
    from limbeck.students.generative.retriever import GenerativeRetriever

_HELP = "Build the index of a run's student; add passages to it, or delete some, without training."
_PSEUDO_QUERIES = "pseudo-query"

Folder = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="The folder of a run with a generative student.", show_default=False),
]


def build(recipe: RecipePath, out: Out = None, settings: Settings = None, anyway: Anyway = False) -> None:
    """Run a recipe up to the student's index: enough to search, without the measuring."""
    from limbeck.cli.running import run_recipe, show_stage  # noqa: PLC0415 - reads the recipe's types

    folder = run_recipe("index build", recipe, out, settings or [], anyway=anyway, until="index")
    show_stage(folder, "index", recipe, settings or [])


def add(
    folder: Folder,
    passages: Annotated[
        Path,
        typer.Argument(
            metavar="PASSAGES",
            help="As in a BEIR corpus: JSON objects with _id, title and text, one a line; plain or .gz.",
            show_default=False,
        ),
    ],
    pseudo_queries: Annotated[
        Path | None,
        typer.Option(
            "--pseudo-queries",
            metavar="FILE",
            help="Questions that they answer: id, tab, question; or JSON objects with id and text.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Add passages to the index of a generative student; nothing is trained.

    All of them are added, or, on an error, none. They stay for as long as the index does: `limbeck run`
    leaves an index alone that is up to date, and one that it builds anew holds the recipe's corpus alone.
    """
    from limbeck.cli.opening import require_generative  # noqa: PLC0415 - the start stays quick
    from limbeck.data import Passages  # noqa: PLC0415
    from limbeck.data.formats import beir_passages  # noqa: PLC0415

    require_generative(folder)  # before a long file is read
    records = beir_passages(passages)
    with TemporaryDirectory() as scratch:
        table = Passages.write(Path(scratch) / "passages.arrow", records)
        with _changing(folder) as retriever:
            questions = None if pseudo_queries is None else _questions(pseudo_queries, table, retriever)
            _refuse_present(retriever, table, records, folder)
            count = retriever.add(table, {} if questions is None else {_PSEUDO_QUERIES: dict(questions)})
            _show("Added", count, retriever)


def delete(
    folder: Folder,
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...",
            help="Ids of passages; - alone reads an id a line from standard input.",
            show_default=False,
        ),
    ],
) -> None:
    """Delete passages from the index of a generative student; nothing is trained.

    All of them are deleted, or, on an error, none. They stay away for as long as the index does: `limbeck
    run` leaves an index alone that is up to date, and one that it builds anew holds the recipe's corpus.
    """
    lines = dict[str, int]()
    if ids == ["-"]:
        for line, id_ in read_lines():
            lines.setdefault(id_, line)
        ids = list(lines)
    ids = list(dict.fromkeys(ids))
    if not ids:
        raise InputError("there is no id on standard input", expected="ids of passages, one a line")
    for id_ in ids:
        require_utf8(id_, "the id", line=lines.get(id_))
    with _changing(folder) as retriever:
        _require_present(retriever, ids, lines)
        retriever.delete(ids)
        _show("Deleted", len(ids), retriever)


@contextmanager
def _changing(folder: Path) -> Iterator[GenerativeRetriever]:
    """The retriever of a run, with other processes kept from changing the run folder."""
    from limbeck.cli.opening import open_generative, require_generative  # noqa: PLC0415 - brings pydantic

    require_generative(folder)
    from limbeck.pipeline import RunFolder  # noqa: PLC0415 - brings torch

    with RunFolder(folder).locked():
        yield open_generative(folder)


def _questions(path: Path, passages: Passages, retriever: GenerativeRetriever) -> PseudoQueries:
    from limbeck.students.generative.pseudo_queries import PseudoQueries  # noqa: PLC0415

    views = [view.name for view in retriever.views]
    if _PSEUDO_QUERIES not in views:
        raise InputError(
            f"the student was trained without pseudo-queries, on {' and '.join(views)}",
            path=path,
            remedy="leave out --pseudo-queries",
        )
    return PseudoQueries.read(path, passages=passages)


def _refuse_present(
    retriever: GenerativeRetriever, passages: Passages, records: Records[Passage], folder: Path
) -> None:
    ids = passages.ids()
    place = next((place for place, there in enumerate(_present(retriever, ids)) if there), None)
    if place is not None:
        path, line = records.place(place)
        raise InputError(
            f"passage '{ids[place]}' is in the index already",
            path=path,
            line=line,
            remedy=f"to replace it, first `{command('index', 'delete', folder, ids[place])}`",
        )


def _require_present(retriever: GenerativeRetriever, ids: Sequence[str], lines: dict[str, int]) -> None:
    missing = [id_ for id_, there in zip(ids, _present(retriever, ids), strict=True) if not there]
    if missing:
        line = lines.get(missing[0])
        more = f", nor are {len(missing) - 1:,} others" if len(missing) > 1 else ""
        raise InputError(
            f"passage '{missing[0]}' is not in the index{more}; nothing was deleted",
            path=None if line is None else "standard input",
            line=line,
            expected="ids of passages that can be found",
        )


def _present(retriever: GenerativeRetriever, ids: Sequence[str]) -> list[bool]:
    there: list[bool] = (retriever.store.numbers(ids, retriever.index.numbers) >= 0).tolist()
    return there


def _show(done: str, count: int, retriever: GenerativeRetriever) -> None:
    passages = "passage" if count == 1 else "passages"
    console().print(f"{done} {count:,} {passages}; {len(retriever):,} can be found.")


def register(app: typer.Typer) -> None:
    """Adds the verbs, as a group."""
    group = typer.Typer(no_args_is_help=True)
    add_verb(group, build, "limbeck index build recipes/scifact.yaml --out runs/scifact")
    add_verb(
        group,
        add,
        "limbeck index add runs/mine new.jsonl",
        "limbeck index add runs/mine new.jsonl.gz --pseudo-queries questions.tsv",
    )
    add_verb(
        group,
        delete,
        "limbeck index delete runs/mine d17 d18",
        "limbeck index delete runs/mine - < ids.txt",
    )
    app.add_typer(
        group,
        name="index",
        help=_HELP,
        epilog=examples(
            "limbeck index build recipes/scifact.yaml --out runs/scifact",
            "limbeck index add runs/mine new.jsonl",
            "limbeck index delete runs/mine d17 d18",
        ),
    )
