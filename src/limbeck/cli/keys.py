"""The keys of a recipe, read from its types, so that the list cannot fall behind."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from limbeck.recipes import Recipe, Section

#: How the path to one of several sections goes on: a list, or a mapping whose names the user chooses.
_MANY: dict[Any, str] = {tuple: "[]", dict: ".NAME"}


def recipe_keys() -> Iterator[str]:
    """A line a key: its path, what it is by default, what it means."""
    yield from _keys(Recipe, "")


def _keys(section: type[Section], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        path = f"{prefix}{name}"
        sections = list(_sections(field.annotation))
        listed = isinstance(field.default, tuple) and field.default
        if not sections or listed or type(None) in get_args(field.annotation):
            # Of a section that may be left out, whether it is by default; of a list, what it holds then.
            yield _line(path, field)
        for kind in sections:
            many = _MANY.get(get_origin(field.annotation), "")
            if "kind" in kind.model_fields:
                yield f"{path}{many}.kind: {_kinds(kind)}" + _meaning(
                    f"{_summary(kind)}{_default(field, kind)}"
                )
                own = f"{path}{many}.kind:"
                yield from (line for line in _keys(kind, f"{path}{many}.") if not line.startswith(own))
            else:
                yield from _keys(kind, f"{path}{many}.")


def _default(field: FieldInfo, kind: type[Section]) -> str:
    """Whether a kind is what stands there where a recipe does not say."""
    default = field.default
    if type(default) is not kind:
        return ""
    names = get_args(kind.model_fields["kind"].annotation)
    return " The default." if len(names) == 1 else f" The default, as {getattr(default, 'kind', names[0])}."


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)


def _line(path: str, field: FieldInfo) -> str:
    default = "required" if field.default is PydanticUndefined else json.dumps(field.default, default=_said)
    choices = _choices(field.annotation)
    meaning = (field.description or "") + (f" One of {choices}." if choices else "")
    return f"{path}: {default}" + _meaning(meaning.strip())


def _said(default: object) -> object:
    """Of a section only what it must say: its other keys have lines of their own."""
    return default.model_dump(exclude_defaults=True) if isinstance(default, Section) else str(default)


def _choices(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (tuple, Union, types.UnionType):
        return next((found for found in map(_choices, get_args(annotation)) if found), "")
    return ""


def _kinds(section: type[Section]) -> str:
    return " | ".join(get_args(section.model_fields["kind"].annotation))


def _summary(section: type[Section]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]


def _meaning(text: str) -> str:
    return f"  # {text}" if text else ""
