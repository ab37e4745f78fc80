"""Sentence pairs as text: TSV with a header, or one JSON object a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from limbeck.data.formats.fields import columns, finite_number, json_object, json_text, one_line
from limbeck.data.pairs import SentencePair, SentencePairs
from limbeck.errors import InputError
from limbeck.files import Records, first_line, write_text

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

COLUMNS = ("text1", "text2", "label")


def read_pairs(
    path: str | os.PathLike[str],
    *,
    fields: tuple[str, str, str] = COLUMNS,
    check: Callable[[SentencePair], None] | None = None,
) -> SentencePairs:
    """Read sentence pairs, plain or gzip; the first line tells whether it is TSV or JSON.

    Labels are numbers when the first one is, and classes otherwise; blanks around them do not count. The TSV
    is plain: quotes mean nothing.

    Args:
        path: TSV with a header, or JSON lines; other columns may stand beside.
        fields: the names of the columns of the first text, the second text and the label.
        check: refuses a pair by raising an InputError, which then tells file and line.

    Raises:
        InputError: with file and line, for missing columns, an empty text, a label that is NaN, infinite, or
            no number where the first is one, and what `limbeck.files.open_text` refuses.

    Example:
        >>> read_pairs("stsb/dev.tsv")[0].label
        5.0
        >>> read_pairs("sick/dev.tsv", fields=("text1", "text2", "entailment")).classes
        ['contradiction', 'entailment', 'neutral']
    """
    first = first_line(path)
    if first.lstrip().startswith("{"):
        return SentencePairs.of(Records(path, _checked(_json_parser(fields), check)))
    header = first.split("\t")
    missing = [name for name in fields if name not in header]
    if missing:
        raise InputError(
            f"there is no column {missing[0]!r} (found: {', '.join(map(repr, header))})",
            path=path,
            line=1,
            expected=f"a first line with {', '.join(fields)}, separated by tabs, or JSON objects",
            remedy="name its columns by the set's key `fields`: [first text, second text, label]; "
            "a table that begins with a pair needs a line of names before it",
        )
    twice = next((name for name in fields if header.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"there are several columns {twice!r}", path=path, line=1, expected="one of each")
    parse = _tsv_parser(header, fields, _labels_are_numbers(path, header, fields))
    return SentencePairs.of(Records(path, _checked(parse, check), skip=1))


def _checked(
    parse: Callable[[str], SentencePair], check: Callable[[SentencePair], None] | None
) -> Callable[[str], SentencePair]:
    def parsed(line: str) -> SentencePair:
        pair = parse(line)
        if check is not None:
            check(pair)
        return pair

    return parsed


def _labels_are_numbers(
    path: str | os.PathLike[str], header: list[str], fields: tuple[str, str, str]
) -> bool:
    parse = _tsv_parser(header, fields, numbers=False)
    return _is_number(str(next(iter(Records(path, parse, skip=1))).label))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _tsv_parser(
    header: list[str], fields: tuple[str, str, str], numbers: bool
) -> Callable[[str], SentencePair]:
    places = [header.index(name) for name in fields]

    def parse(line: str) -> SentencePair:
        values = columns(line.split("\t"), header, separator="tabs")
        text1, text2, label = (values[place] for place in places)
        label = label.strip()
        if not label:
            raise InputError("the label is empty", expected="a number or a class")
        return SentencePair(text1, text2, finite_number(label, "label") if numbers else label)

    return parse


def _json_parser(fields: tuple[str, str, str]) -> Callable[[str], SentencePair]:
    def parse(line: str) -> SentencePair:
        record = json_object(line)
        text1, text2 = json_text(record, fields[0]), json_text(record, fields[1])
        return SentencePair(text1, text2, _json_label(record, fields[2]))

    return parse


def _json_label(record: dict[str, Any], key: str) -> float | str:
    label = record.get(key)
    if isinstance(label, str) and label.strip():
        return label.strip()
    if isinstance(label, (int, float)) and not isinstance(label, bool):
        return finite_number(str(label), "label")
    found = f"{label!r}" if key in record else "missing"
    raise InputError(f"{key!r} is {found}", expected="a number or a class")


def write_pairs(pairs: Iterable[SentencePair], path: str | os.PathLike[str]) -> None:
    """Write sentence pairs as JSON lines when the name says so (.jsonl, .jsonl.gz), else as TSV.

    Raises:
        InputError: for a tab or a line end in a text, which TSV cannot hold.
    """
    as_json = ".jsonl" in str(path)
    with write_text(path) as stream:
        if not as_json:
            stream.write("\t".join(COLUMNS) + "\n")
        for pair in pairs:
            values = (pair.text1, pair.text2, pair.label)
            if as_json:
                stream.write(json.dumps(dict(zip(COLUMNS, values, strict=True)), ensure_ascii=False) + "\n")
            else:
                texts = [one_line(str(value), name) for name, value in zip(COLUMNS, values, strict=True)]
                stream.write("\t".join(texts) + "\n")
