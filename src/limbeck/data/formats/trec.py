"""TREC runs: six columns `query Q0 passage rank score name`, separated by white space."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from limbeck.data.formats.fields import columns, finite_number, one_word, whole_number
from limbeck.data.rankings import RankedList, Rankings
from limbeck.errors import InputError
from limbeck.files import Records, write_text

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from limbeck.data.passages import Passages
    from limbeck.data.queries import Queries

RUN_COLUMNS = ("query id", "Q0", "passage id", "rank", "score", "run name")


class _Row(NamedTuple):
    query_id: str
    passage_id: str
    rank: int
    score: float
    name: str


def read_run(
    path: str | os.PathLike[str], *, queries: Queries | None = None, passages: Passages | None = None
) -> Rankings:
    """Read a TREC run, plain or gzip, into memory; its source is the run name that the first line has.

    Passages with equal scores come in the order of their ids, whatever their ranks in the file.

    Args:
        path: the run.
        queries: when given, every query of the file must be one of them.
        passages: when given, every passage of the file must be one of them.

    Raises:
        InputError: with file and line, see `iter_run`.

    Example:
        >>> read_run("bm25.trec").top(1).to_dict()
        {'q1': {'d3': 12.5}}
    """
    records = Records(path, _row)
    name = next(iter(records)).name
    return Rankings.from_lists(iter_run(path, queries=queries, passages=passages), name)


def iter_run(
    path: str | os.PathLike[str], *, queries: Queries | None = None, passages: Passages | None = None
) -> Iterator[RankedList]:
    """The lists of a TREC run, one after the other, for runs that are larger than the memory.

    Raises:
        InputError: with file and line, for wrong columns, a score that is NaN or infinite, ranks that do not
            increase or scores that increase within a query, a passage that a query ranks twice, a query whose
            lines are not together, an id that does not exist, and what `limbeck.files.open_text`
            refuses.

    Example:
        >>> with RankingsWriter("run.arrow", "bm25") as writer:
        ...     for ranked in iter_run("bm25.trec.gz"):
        ...         writer.add(ranked)
    """
    records = Records(path, _row)
    for numbered in _by_query(records):
        rows = [row for _, row in numbered]
        for table, ids in ((queries, [rows[0].query_id]), (passages, [row.passage_id for row in rows])):
            known = np.ones(1, bool) if table is None else table.contains(ids)
            if table is not None and not known.all():
                missing = int(known.argmin())
                raise InputError(
                    f"{table.kind} {ids[missing]!r} does not exist",
                    path=records.path,
                    line=numbered[missing][0],
                    expected=f"the id of a {table.kind}",
                    remedy="bring the data that the run belongs to",
                )
        scores = np.array([row.score for row in rows])
        yield RankedList(rows[0].query_id, [row.passage_id for row in rows], scores)


def _row(line: str) -> _Row:
    query_id, _, passage_id, rank, score, name = columns(line.split(), RUN_COLUMNS, separator="white space")
    return _Row(query_id, passage_id, whole_number(rank, "rank"), finite_number(score, "score"), name)


def _by_query(records: Records[_Row]) -> Iterator[list[tuple[int, _Row]]]:
    first_lines: dict[str, int] = {}
    held: list[tuple[int, _Row]] = []
    lines: dict[str, int] = {}  # of the passages of the query at hand
    for line, row in records.numbered():
        if held and row.query_id != held[0][1].query_id:
            yield held
            held, lines = [], {}
        if held:
            _check_order(records.path, held[-1][1], row, line)
        elif row.query_id in first_lines:
            raise InputError(
                f"query {row.query_id!r} comes again (first at line {first_lines[row.query_id]})",
                path=records.path,
                line=line,
                expected="the lines of a query together",
                remedy="sort the run by query and rank",
            )
        if row.passage_id in lines:
            raise InputError(
                f"query {row.query_id!r} ranks passage {row.passage_id!r} twice"
                f" (first at line {lines[row.passage_id]})",
                path=records.path,
                line=line,
                expected="each passage once",
            )
        lines[row.passage_id] = line
        first_lines.setdefault(row.query_id, line)
        held.append((line, row))
    yield held


def _check_order(path: Path, before: _Row, row: _Row, line: int) -> None:
    if row.rank <= before.rank:
        raise InputError(
            f"rank {row.rank} follows rank {before.rank} in query {row.query_id!r}",
            path=path,
            line=line,
            expected="ranks that increase within a query",
            remedy="sort the run by query and rank",
        )
    if row.score > before.score:
        raise InputError(
            f"the score rises from {before.score!r} to {row.score!r} in query {row.query_id!r}",
            path=path,
            line=line,
            expected="scores that do not increase from one rank to the next",
            remedy="sort the run by score, and number the ranks anew",
        )


def write_run(rankings: Rankings, path: str | os.PathLike[str], name: str) -> None:
    """Write a TREC run, gzip when the file name ends in .gz; ranks start at 1, scores read back exactly.

    Args:
        rankings: what to write, list by list.
        path: the file to make.
        name: the name of the run, the last column.

    Raises:
        InputError: for an id or a name with white space, which the format cannot hold.
    """
    one_word(name, "the name of the run")
    with write_text(path) as stream:
        for ranked in rankings:
            one_word(ranked.query_id, "a query id")
            scored = zip(ranked.passage_ids, ranked.scores.tolist(), strict=True)
            for rank, (passage_id, score) in enumerate(scored, start=1):
                one_word(passage_id, "a passage id")
                stream.write(f"{ranked.query_id} Q0 {passage_id} {rank} {score!r} {name}\n")
