"""What the formats share: fields of JSON objects and of table lines, and the checks of single values."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from limbeck.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def json_object(line: str) -> dict[str, Any]:
    """The JSON object on a line; an InputError when there is something else."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = f" ({error.msg} at column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"the line is not valid JSON{reason}", expected="one JSON object a line") from None
    if not isinstance(value, dict):
        raise InputError(f"the line is a JSON {type(value).__name__}", expected="one JSON object a line")
    return value


def json_id(record: dict[str, Any], key: str) -> str:
    """An id, which may be written as text or as a whole number."""
    value = _required(record, key)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InputError(f"{key!r} is {value!r}", expected=f"{key!r} to be text")
    if value == "":
        raise InputError(f"{key!r} is empty", expected="an id")
    return str(value)


def json_text(record: dict[str, Any], key: str, *, optional: bool = False) -> str:
    """A text; an optional one may be missing or null, which gives ""."""
    if optional and record.get(key) is None:
        return ""
    value = _required(record, key)
    if not isinstance(value, str):
        raise InputError(f"{key!r} is {value!r}", expected=f"{key!r} to be text")
    return value


def _required(record: dict[str, Any], key: str) -> Any:
    if key not in record:
        found = ", ".join(map(repr, record)) or "none"
        raise InputError(f"there is no key {key!r} (found: {found})", expected=f"an object with {key!r}")
    return record[key]


def columns(fields: Sequence[str], names: Sequence[str], *, separator: str) -> Sequence[str]:
    """The fields of a line, when there are as many as names."""
    if len(fields) != len(names):
        raise InputError(
            f"the line has {len(fields)} column{'s' * (len(fields) != 1)}",
            expected=f"{len(names)}, separated by {separator}: {', '.join(names)}",
        )
    return fields


def whole_number(text: str, name: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise InputError(f"the {name} is {text!r}", expected="a whole number") from None


def finite_number(text: str, name: str) -> float:
    """A number that is neither NaN nor infinite."""
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"the {name} is {text!r}", expected="a finite number") from None
    if not math.isfinite(value):
        raise InputError(f"the {name} is {text}", expected="a finite number")
    return value


def one_line(text: str, what: str, *, forbidden: str = "\t\n\r") -> str:
    """The text, when a line-based format can hold it."""
    bad = next((character for character in text if character in forbidden), None)
    if bad is not None:
        raise InputError(
            f"{what} holds {bad!r}, which this format cannot",
            remedy="write another format, or clean the text",
        )
    return text


def one_word(text: str, what: str) -> str:
    """The text, when a format that is separated by white space can hold it."""
    if not text or text.split() != [text]:
        raise InputError(
            f"{what} is {text!r}", expected="no white space, which separates the columns of this format"
        )
    return text
