"""Queries: what is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limbeck.data.tables import IdTable

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody asks."""

    id: str
    text: str


class Queries(IdTable[Query]):
    """The queries of a split, a memory-mapped table of id and text.

    Example:
        >>> queries = Queries.write("queries-test.arrow", [Query("q1", "cat food"), Query("q2", "who barks")])
        >>> queries.text("q2"), queries.texts(["q2", "q1"])
        ('who barks', ['who barks', 'cat food'])
    """

    kind: ClassVar[str] = "query"
    columns: ClassVar[tuple[str, ...]] = ("id", "text")

    @classmethod
    def _values(cls, row: Query) -> tuple[str, ...]:
        return row.id, row.text

    @classmethod
    def _row(cls, *values: str) -> Query:
        id_, text = values
        return Query(id_, text)

    def text(self, id_: str) -> str:
        """The text of a query; an InputError when there is none with this id."""
        return self.texts([id_])[0]

    def texts(self, ids: Sequence[str] | None = None) -> list[str]:
        """The texts of queries, or of all in order; an InputError for an id that is not there."""
        return self._gather("text", None if ids is None else self.rows(ids))
