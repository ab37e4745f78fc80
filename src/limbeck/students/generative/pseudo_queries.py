"""Pseudo-queries: questions that a passage answers, supplied in a file or taken from the training queries."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from limbeck.data import Judgements, Passages, Queries, Query
from limbeck.data.formats.fields import columns, json_id, json_object, json_text
from limbeck.errors import InputError
from limbeck.files import Records, first_line
from limbeck.texts import is_unicode, plain, single_lines


class PseudoQueries:
    """Questions by passage id.

    Args:
        questions: for each passage its questions, in order; white space in them becomes single spaces,
            empty and repeated ones are left out.

    Example:
        >>> questions = PseudoQueries({"d1": ["who barks ?", "what  barks"]})
        >>> questions.of("d1"), questions.of("d2")
        (['who barks ?', 'what barks'], [])
    """

    def __init__(self, questions: Mapping[str, Iterable[str]]) -> None:
        clean = ((passage, single_lines(texts)) for passage, texts in questions.items())
        self._questions: dict[str, list[str]] = {passage: texts for passage, texts in clean if texts}
        self._table: Queries | None = None

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, passages: Passages | None = None) -> PseudoQueries:
        """Read a file with one question a line, plain or gzip.

        Args:
            path: either two columns, passage id and question, separated by a tab; or JSON objects with
                `id` (or `_id`) and `text`. The first line tells which.
            passages: when given, every passage of the file must be one of them.

        Raises:
            InputError: with file and line, for a line that is neither, an empty question, one with half of
                a surrogate pair, or an unknown passage.
        """
        path = Path(path)
        parse = _json_row if first_line(path).lstrip().startswith("{") else _tsv_row
        found: dict[str, list[str]] = {}
        for number, (passage, text) in Records(path, parse).numbered():
            if passages is not None and passage not in found and passage not in passages:
                raise InputError(
                    f"there is no passage '{passage}'", path=path, line=number, expected="an id of the corpus"
                )
            found.setdefault(passage, []).append(text)
        return cls(found)

    @classmethod
    def from_training(
        cls, queries: Queries, judgements: Judgements, *, without: Collection[str] = ()
    ) -> PseudoQueries:
        """Those training queries that a passage answers.

        Args:
            queries: of the training split; those of another would give its answers away.
            judgements: of the training split; grades of 1 or more count.
            without: ids of queries that are left out, with all that have the same words.
        """
        left_out = {plain(queries.text(query)) for query in without}
        found: dict[str, list[str]] = {}
        for query in judgements.query_ids:
            text = queries.text(query)
            if plain(text) not in left_out:
                for passage in judgements.relevant(query):
                    found.setdefault(passage, []).append(text)
        return cls(found)

    @classmethod
    def joined(cls, sources: Iterable[PseudoQueries]) -> PseudoQueries:
        """The questions of several sources, those of the first ones first."""
        found: dict[str, list[str]] = {}
        for source in sources:
            for passage, texts in source:
                found.setdefault(passage, []).extend(texts)
        return cls(found)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> PseudoQueries:
        """Map what `write` wrote into memory; nothing of it is loaded."""
        opened = cls({})
        opened._table = Queries.open(path)
        return opened

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write them as an Arrow table.

        Raises:
            InputError: there are none.
        """
        write_texts(path, self)

    def of(self, passage_id: str) -> list[str]:
        """The questions of a passage; none for one that has none."""
        if self._table is None:
            return list(self._questions.get(passage_id, ()))
        return self._table.text(passage_id).split("\n") if passage_id in self._table else []

    def __iter__(self) -> Iterator[tuple[str, list[str]]]:
        if self._table is None:
            return iter(self._questions.items())
        return ((row.id, row.text.split("\n")) for row in self._table)

    def __len__(self) -> int:
        """Passages that have questions."""
        return len(self._questions) if self._table is None else len(self._table)


def write_texts(path: str | os.PathLike[str], texts: Iterable[tuple[str, list[str]]]) -> None:
    """Write texts by passage id, one passage after another, as `PseudoQueries.open` reads them.

    Raises:
        InputError: there are none at all.
    """
    Queries.write(path, (Query(passage, "\n".join(lines)) for passage, lines in texts))


def _tsv_row(line: str) -> tuple[str, str]:
    passage, text = columns(line.split("\t"), ("passage id", "question"), separator="a tab")
    return _checked(passage.strip(), text)


def _json_row(line: str) -> tuple[str, str]:
    record = json_object(line)
    return _checked(json_id(record, "_id" if "_id" in record else "id"), json_text(record, "text"))


def _checked(passage: str, text: str) -> tuple[str, str]:
    if not passage or not text.strip():
        raise InputError("the line has an empty passage id or question", expected="both")
    if not is_unicode(text):
        raise InputError("the question has half of a surrogate pair", expected="valid Unicode")
    return passage, text
