"""Passages: what is searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limbeck.data.tables import IdTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that a search can return.

    Example:
        >>> Passage("d1", "The cat sat.", title="Cats").content
        'Cats. The cat sat.'
    """

    id: str
    text: str
    title: str = ""

    @property
    def content(self) -> str:
        """What models read: the title, when there is one, and the text."""
        return passage_content(self.title, self.text)


def passage_content(title: str, text: str) -> str:
    """What models read of a passage with this title ("" for none) and text."""
    return f"{title}. {text}" if title else text


class Passages(IdTable[Passage]):
    """The passages of a corpus, a memory-mapped table of id, title and text: millions need no memory.

    Made with `Passages.write(path, passages)`, opened with `Passages.open(path)`; rows count from 0.

    Example:
        >>> passages = Passages.write("passages.arrow", [Passage("d1", "Cats."), Passage("d2", "Dogs.")])
        >>> len(passages), passages[1].id, passages.rows(["d2", "d1"])
        (2, 'd2', array([1, 0]))
    """

    kind: ClassVar[str] = "passage"
    columns: ClassVar[tuple[str, ...]] = ("id", "title", "text")

    @classmethod
    def _values(cls, row: Passage) -> tuple[str, ...]:
        return row.id, row.title, row.text

    @classmethod
    def _row(cls, *values: str) -> Passage:
        id_, title, text = values
        return Passage(id_, text, title)

    def contents(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> list[str]:
        """What models read of the passages at rows, or of all in order (which loads all of them)."""
        titles, texts = self._gather("title", rows), self._gather("text", rows)
        return [passage_content(title, text) for title, text in zip(titles, texts, strict=True)]
