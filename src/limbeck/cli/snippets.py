"""The beginning of a text in a few lines, with parts of it marked."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable

from rich.cells import cell_len, set_cell_size
from rich.text import Text

MARK = "bold underline"
_LINES = 2


def first_lines(text: str, width: int, marks: Iterable[tuple[int, int]] = ()) -> list[Text]:
    """The beginning of a text, white space folded, in a few lines of this width.

    Args:
        text: of any length.
        width: in cells.
        marks: first character and the one behind the last of what is marked, in the text as it is given.

    Example:
        >>> [line.plain for line in first_lines("one  two three four five six", 10)]
        ['one two', 'three …']
    """
    folded, places = _folded(text)
    ranges = [(bisect_left(places, start), bisect_left(places, end)) for start, end in marks]
    lines: list[tuple[int, str]] = []
    rest = folded
    while rest and len(lines) < _LINES:
        at = len(folded) - len(rest)
        line, rest = _cut(rest, width)
        lines.append((at, line))
    shown = [_marked(at, line, ranges) for at, line in lines]
    if rest:
        at, line = lines[-1]
        shown[-1] = _marked(at, _cut(line, width - 2)[0], ranges).append(" …")
    return shown


def _folded(text: str) -> tuple[str, list[int]]:
    """The text with white space folded, and where each of its characters stands in the text."""
    words: list[str] = []
    places: list[int] = []
    for word in re.finditer(r"\S+", text):
        if words:
            places.append(word.start() - 1)  # the space
        words.append(word.group())
        places += range(*word.span())
    return " ".join(words), places


def _marked(at: int, line: str, ranges: Iterable[tuple[int, int]]) -> Text:
    """A line that stands at a place of the folded text."""
    marked = Text(line)
    for start, end in ranges:
        if start < at + len(line) and at < end:
            marked.stylize(MARK, max(start - at, 0), end - at)
    return marked


def _cut(words: str, width: int) -> tuple[str, str]:
    """The first line and the rest, between words where there are some (Chinese has none)."""
    if cell_len(words) <= width:
        return words, ""
    line = set_cell_size(words, width).rstrip(" ")
    space = line.rfind(" ")
    if words[len(line) : len(line) + 1] != " " and space >= len(line) // 2:
        line = line[:space]
    return line, words[len(line) :].lstrip()
