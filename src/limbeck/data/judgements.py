"""Judgements (qrels): which passages answer a query, and how well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from limbeck.data.arrow import FINGERPRINT, Fingerprint, open_arrow, read_last, schema_of, write_last
from limbeck.errors import InputError
from limbeck.files import Located, atomic_path

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from limbeck.data.passages import Passages
    from limbeck.data.queries import Queries

_SCHEMA = schema_of(
    "judgements", [("query_id", pa.string()), ("passage_id", pa.string()), ("grade", pa.int32())]
)

#: Evaluators count by grade, and one of a thousand million would take all memory.
LARGEST_GRADE = 1_000_000


class Judgements:
    """Grades of (query, passage) pairs: 1 and more is relevant, higher is better, 0 and less is not.

    Queries stand in the order of their first judgement, passages in the order given.

    Args:
        rows: (query id, passage id, grade), each pair once.

    Raises:
        InputError: for a pair that comes twice, an empty id, a grade that is not a whole number or beyond
            LARGEST_GRADE.

    Example:
        >>> judgements = Judgements([("q1", "d1", 1), ("q1", "d2", 2), ("q1", "d3", 0)])
        >>> judgements.relevant("q1")
        ['d2', 'd1']
    """

    def __init__(self, rows: Iterable[tuple[str, str, int]]) -> None:
        self._grades: dict[str, dict[str, int]] = {}
        self._fingerprint: str | None = None
        for number, (query_id, passage_id, grade) in enumerate(rows):
            of_query = self._grades.setdefault(query_id, {})
            if not query_id or not passage_id:
                problem = f"a judgement has an empty id: ({query_id!r}, {passage_id!r}, {grade!r})"
                raise _refusal(problem, "ids", rows, number)
            if not isinstance(grade, (int, np.integer)):
                problem = f"the grade of query {query_id!r} and passage {passage_id!r} is {grade!r}"
                raise _refusal(problem, "a whole number", rows, number)
            if abs(grade) > LARGEST_GRADE:
                problem = f"the grade of query {query_id!r} and passage {passage_id!r} is {grade}"
                raise _refusal(problem, f"at most {LARGEST_GRADE:,}", rows, number)
            if passage_id in of_query:
                problem = f"query {query_id!r} and passage {passage_id!r} are judged twice"
                raise _refusal(problem, "each pair once", rows, number, (query_id, passage_id))
            of_query[passage_id] = int(grade)

    @property
    def query_ids(self) -> list[str]:
        """The ids of the judged queries."""
        return list(self._grades)

    def __len__(self) -> int:
        return sum(map(len, self._grades.values()))

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        for query_id, of_query in self._grades.items():
            for passage_id, grade in of_query.items():
                yield query_id, passage_id, grade

    def __contains__(self, query_id: object) -> bool:
        return query_id in self._grades

    def __repr__(self) -> str:
        return f"Judgements({len(self)} of {len(self._grades)} queries)"

    def grades(self, query_id: str) -> dict[str, int]:
        """From passage id to grade; empty for a query that nobody judged."""
        return dict(self._grades.get(query_id, {}))

    def relevant(self, query_id: str) -> list[str]:
        """The ids of the passages with grade 1 or more, best first, equal grades in the order given."""
        of_query = self._grades.get(query_id, {})
        return sorted((id_ for id_, grade in of_query.items() if grade >= 1), key=lambda id_: -of_query[id_])

    def subset(self, query_ids: Iterable[str]) -> Judgements:
        """The judgements of these queries, in this order; ids that nobody judged are passed over."""
        return Judgements(
            (query_id, passage_id, grade)
            for query_id in dict.fromkeys(query_ids)
            for passage_id, grade in self._grades.get(query_id, {}).items()
        )

    def check(self, passages: Passages, queries: Queries) -> None:
        """An InputError when a judged query or passage does not exist."""
        for table, ids in (
            (queries, self.query_ids),
            (passages, list(dict.fromkeys(passage_id for _, passage_id, _ in self))),
        ):
            known = table.contains(ids)
            if not known.all():
                raise InputError(
                    f"{table.kind} {ids[int(known.argmin())]!r} is judged but does not exist"
                    f" ({int((~known).sum())} such ids)",
                    expected=f"ids from {table.path}",
                    remedy="remove the judgements, or bring the data that they belong to",
                )

    @property
    def fingerprint(self) -> str:
        """A hash of the content, 32 hexadecimal digits."""
        if self._fingerprint is None:
            digest = Fingerprint(3)
            digest.update(self._columns())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def _columns(self) -> list[pa.Array]:
        columns = tuple(zip(*self, strict=True)) or ((), (), ())
        return [pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=True)]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write an Arrow file of query_id, passage_id and grade."""
        batch = pa.record_batch(self._columns(), schema=_SCHEMA)
        with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), _SCHEMA) as writer:
            writer.write_batch(batch)
            write_last(writer, _SCHEMA, {FINGERPRINT: self.fingerprint.encode()})

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `write` wrote; an InputError when it is not that."""
        reader = open_arrow(path, "judgements")
        judgements = cls(zip(*(column.to_pylist() for column in reader.read_all().columns), strict=True))
        judgements._fingerprint = read_last(reader)[FINGERPRINT].decode()
        return judgements


def _refusal(
    problem: str,
    expected: str,
    rows: Iterable[tuple[str, str, int]],
    number: int,
    pair: tuple[str, str] | None = None,
) -> InputError:
    """The error for the judgement with this number (from 0); `pair` is one that also stands earlier."""
    if not isinstance(rows, Located):
        return InputError(f"{problem} (record {number + 1})", expected=expected)
    path, line = rows.place(number)
    if pair is not None:
        first = next(at for at, row in enumerate(rows) if tuple(row[:2]) == pair)
        problem += f" (first at line {rows.place(first)[1]})"
    return InputError(problem, path=path, line=line, expected=expected)
