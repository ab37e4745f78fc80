"""Reading, checking and writing a recipe."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from limbeck.errors import InputError
from limbeck.recipes.base import ORIGIN, Section
from limbeck.recipes.recipe import Recipe
from limbeck.strict_yaml import read_yaml, set_key

_SECTION = "section of the recipe", "keys and values below it"
#: What a value of another shape should be, by the type of the error.
_SHAPES = {
    "model_type": _SECTION,
    "model_attributes_type": _SECTION,
    "dict_type": _SECTION,
    "tuple_type": ("list", "values in square brackets"),
}


def load_recipe(path: Path | str, overrides: Iterable[str] = ()) -> Recipe:
    """Reads and checks a recipe.

    Relative paths in it are taken from the recipe's own folder.

    Args:
        path: the YAML file.
        overrides: `key=value` with dots between levels and YAML values: `training.epochs=2`.

    Raises:
        InputError: not YAML, an unknown key, a value of the wrong kind, a missing file, a contradiction.
    """
    return make_recipe(recipe_content(path, overrides), source=Path(path))


def recipe_content(path: Path | str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """What the YAML of a recipe says, its keys and values not yet checked.

    Args:
        path: the YAML file.
        overrides: `key=value`, over what it says.

    Raises:
        InputError: there is no such file, it is not YAML, or an override is not `key=value`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "there is no such recipe", path=path, remedy="see the folder recipes/ for some that run"
        )
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError("not a recipe", path=path, expected="a mapping with at least the key 'data'")
    for override in overrides:
        set_key(content, override)
    return content


def make_recipe(content: dict[str, Any], source: Path) -> Recipe:
    """Checks the content of a recipe.

    Args:
        content: what its YAML says.
        source: the file, for messages and as the origin of relative paths.

    Raises:
        InputError: an unknown key, a value of the wrong kind, a missing file, a contradiction.
    """
    try:
        return Recipe.model_validate(content, context={ORIGIN: source.parent})
    except ValidationError as error:
        raise described(error, source, _sections(), "`limbeck run --keys` lists the keys") from error


def described(
    error: ValidationError, source: Path, sections: Sequence[type[BaseModel]], listing: str
) -> InputError:
    """What the types found wrong with a file, as a message for whoever wrote it.

    Args:
        error: what they found; the first of it is told in full.
        source: the file.
        sections: the types of the file, for the names of keys.
        listing: where all keys stand, as a clause.
    """
    found = [one for one in error.errors() if not _follows(one, error)]
    problem, expected, remedy = _explained(found[0], sections, listing)
    more = len(found) - 1
    return InputError(
        problem + (f" (and {more} more)" if more else ""), path=source, expected=expected, remedy=remedy
    )


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe with every default written out, as it goes into the run folder."""
    return yaml.safe_dump(recipe.content, sort_keys=False, allow_unicode=True)


def _follows(one: ErrorDetails, error: ValidationError) -> bool:
    """Whether a list is only called too short because what stands in it is wrong."""
    place = one["loc"]
    return one["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and len(other["loc"]) > len(place) for other in error.errors()
    )


def _explained(
    error: ErrorDetails, sections: Sequence[type[BaseModel]], listing: str
) -> tuple[str, str | None, str | None]:
    """Problem, expectation and remedy of an error that the types found."""
    names = sorted({name for section in sections for name in section.model_fields})
    # The kind of a union's member stands in the location, though it is no key.
    kinds = {tag for section in sections for tag in _kinds_of(section)}
    parts = [str(part) for part in error["loc"]]
    last = parts[-1] if parts and (error["type"] == "extra_forbidden" or parts[-1] in names) else None
    place = ".".join(part for part in parts if part not in kinds or part == last)
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(parts[-1], [name for name in names if name != parts[-1]], n=1)
        meant = f"did you mean '{close[0]}'? " if close else ""
        return f"unknown key '{place}'", None, f"{meant}{listing}"
    if error["type"] == "union_tag_not_found":
        return f"{place}: the key 'kind' is missing", None, listing
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        return f"{place}: there is no kind '{context['tag']}'", f"one of {context['expected_tags']}", None
    if error["type"] in _SHAPES:
        shape, expected = _SHAPES[error["type"]]
        return f"{place}: this is a {shape}", expected, None
    # An InputError is a sentence, and what is made of it ends with a full stop again.
    message = error["msg"].removeprefix("Value error, ").removesuffix(".")
    message = message[0].lower() + message[1:]
    if error["type"] == "missing":
        return f"the key '{place}' is missing", None, listing
    remedy = (
        "correct it; relative paths count from the folder of this file"
        if "there is no f" in message
        else None
    )
    if error["type"] == "string_type" and not isinstance(error["input"], dict | list):
        remedy = (
            "put it in quotes; YAML reads words such as true, 12 and 2024-01-01 as something else than text"
        )
    return (f"{place}: {message}" if place else message), None, remedy


def _sections(base: type[Section] = Section) -> list[type[Section]]:
    return [found for section in base.__subclasses__() for found in (section, *_sections(section))]


def _kinds_of(section: type[BaseModel]) -> tuple[str, ...]:
    field = section.model_fields.get("kind")
    return () if field is None else get_args(field.annotation)
