"""Judgements as text: TREC qrels (four columns, no header) and BEIR qrels (three columns and a header)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from limbeck.data.formats.fields import columns, one_line, one_word, whole_number
from limbeck.data.judgements import Judgements
from limbeck.errors import InputError
from limbeck.files import Records, first_line, write_text

if TYPE_CHECKING:
    import os

    from limbeck.data.passages import Passages
    from limbeck.data.queries import Queries

BEIR_HEADER = ("query-id", "corpus-id", "score")
TREC_COLUMNS = ("query id", "iteration", "passage id", "grade")


def read_qrels(
    path: str | os.PathLike[str], *, queries: Queries | None = None, passages: Passages | None = None
) -> Judgements:
    """Read qrels, plain or gzip; the header tells which of the two layouts it is.

    Args:
        path: TREC qrels `query iteration passage grade`, separated by white space, or BEIR qrels
            `query-id corpus-id score`, separated by tabs, with this header.
        queries: when given, every query of the file must be one of them.
        passages: when given, every passage of the file must be one of them.

    Raises:
        InputError: with file and line, for wrong columns, a grade that is not a whole number, a pair that is
            judged twice, an id that does not exist, and what `limbeck.files.open_text` refuses.

    Example:
        >>> read_qrels("qrels/test.tsv").relevant("q1")
        ['d2', 'd1']
    """
    header = [field.strip().lower().replace("_", "-") for field in first_line(path).split("\t")]
    beir = tuple(header) == BEIR_HEADER
    records = Records(path, _beir_row if beir else _trec_row, skip=int(beir))
    judgements = Judgements(records)
    if queries is not None:
        _require(records, 0, queries, judgements.query_ids)
    if passages is not None:
        _require(records, 1, passages, list(dict.fromkeys(passage_id for _, passage_id, _ in judgements)))
    return judgements


def _beir_row(line: str) -> tuple[str, str, int]:
    query_id, passage_id, grade = columns(line.split("\t"), BEIR_HEADER, separator="tabs")
    return query_id, passage_id, whole_number(grade, "score")


def _trec_row(line: str) -> tuple[str, str, int]:
    fields = line.split()
    if len(fields) == len(BEIR_HEADER):
        raise InputError(
            "the line has 3 columns and the file has no header",
            expected=f"the four columns of TREC ({', '.join(TREC_COLUMNS)}), or a first line"
            f" {' '.join(BEIR_HEADER)} separated by tabs",
        )
    query_id, _, passage_id, grade = columns(fields, TREC_COLUMNS, separator="white space")
    return query_id, passage_id, whole_number(grade, "grade")


def _require(
    records: Records[tuple[str, str, int]], column: Literal[0, 1], table: Queries | Passages, ids: list[str]
) -> None:
    known = table.contains(ids)
    if known.all():
        return
    missing = ids[int(known.argmin())]
    line = next(number for number, row in records.numbered() if row[column] == missing)
    raise InputError(
        f"{table.kind} {missing!r} does not exist ({int((~known).sum())} such ids in the file)",
        path=records.path,
        line=line,
        expected=f"the id of a {table.kind}",
        remedy="remove the line, or add what it names",
    )


def write_qrels(
    judgements: Judgements, path: str | os.PathLike[str], *, layout: Literal["trec", "beir"] = "trec"
) -> None:
    """Write qrels in the layout of TREC or of BEIR, gzip when the name ends in .gz.

    Raises:
        InputError: for an id that the layout cannot hold (white space for TREC, tabs and line ends for BEIR).
    """
    with write_text(path) as stream:
        if layout == "beir":
            stream.write("\t".join(BEIR_HEADER) + "\n")
        for query_id, passage_id, grade in judgements:
            if layout == "beir":
                ids = one_line(query_id, "a query id"), one_line(passage_id, "a passage id")
                stream.write(f"{ids[0]}\t{ids[1]}\t{grade}\n")
            else:
                ids = one_word(query_id, "a query id"), one_word(passage_id, "a passage id")
                stream.write(f"{ids[0]} 0 {ids[1]} {grade}\n")
