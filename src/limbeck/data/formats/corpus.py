"""A corpus in one file: JSON objects as BEIR's, or a table of ids, titles and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limbeck.data.formats.fields import json_id, json_object, json_text
from limbeck.data.passages import Passage
from limbeck.errors import InputError
from limbeck.files import Records, first_line

if TYPE_CHECKING:
    import os


#: What a table from elsewhere begins with. No passage says so.
_HEADERS = {(first, *rest) for first in ("id", "docid", "pid") for rest in (("text",), ("title", "text"))}


def corpus_passages(path: str | os.PathLike[str]) -> Records[Passage]:
    """The passages of a file, plain or gzip, one a line; the first line tells the format.

    | format | a line |
    |---|---|
    | JSON | an object with `_id` or `id`, `text` and, if need be, `title` |
    | TSV | id and text, or id, title and text, separated by tabs; no header |

    `Passages.write` checks what a single line cannot tell, such as ids that come twice.

    Args:
        path: of the file; no more of it than its first line is read before it is iterated.

    Raises:
        InputError: with file and line, for an empty file and a line that is something else.

    Example:
        >>> passages = Passages.write("passages.arrow", corpus_passages("corpus.jsonl.gz"))
    """
    return Records(path, _json_row if first_line(path).lstrip().startswith("{") else _tsv_row)


def _json_row(line: str) -> Passage:
    record = json_object(line)
    id_ = json_id(record, "_id" if "_id" in record else "id")
    return Passage(id_, json_text(record, "text"), json_text(record, "title", optional=True))


def _tsv_row(line: str) -> Passage:
    fields = line.split("\t")
    if tuple(name.strip().lower().lstrip("_") for name in fields) in _HEADERS:
        raise InputError(
            "this line names columns, and would become a passage",
            expected="passages alone: id and text, or id, title and text, separated by tabs",
            remedy="delete the line",
        )
    if len(fields) == 2:
        return Passage(fields[0].strip(), fields[1])
    if len(fields) == 3:
        return Passage(fields[0].strip(), fields[2], fields[1])
    raise InputError(
        f"the line has {len(fields)} column{'s' * (len(fields) != 1)}",
        expected="JSON objects; or id and text, or id, title and text, separated by tabs",
    )
