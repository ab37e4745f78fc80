"""Reading, checking and writing a recipe."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from limbeck.errors import InputError
from limbeck.recipes.base import ORIGIN
from limbeck.recipes.recipe import Recipe
from limbeck.strict_yaml import read_yaml, set_key

#: Keys that a message may list.
_FEW = 12
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
    if "variants" in content and "recipe" in content:
        raise InputError(
            "this is a family of recipes, and not one", path=path, remedy=f"run `limbeck family {path}`"
        )
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
        raise described(error, source, Recipe, "`limbeck run --keys` lists the keys") from error


def described(error: ValidationError, source: Path, root: type[BaseModel], listing: str) -> InputError:
    """What the types found wrong with a file, as a message for whoever wrote it.

    Args:
        error: what they found; the first of it is told in full.
        source: the file.
        root: the type of the file, for the names of keys.
        listing: where all keys stand, as a clause.
    """
    found = [one for one in error.errors() if not _follows(one, error)]
    problem, expected, remedy = _explained(found[0], root, listing)
    more = len(found) - 1
    if more:
        problem += f" (and {more} more error{'s' * (more > 1)})"
    return InputError(problem, path=source, expected=expected, remedy=remedy)


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
    error: ErrorDetails, root: type[BaseModel], listing: str
) -> tuple[str, str | None, str | None]:
    """Problem, expectation and remedy of an error that the types found."""
    sections = _sections_below(root)
    names = sorted({name for section in sections for name in section.model_fields})
    # The kind of a union's member stands in the location, though it is no key.
    kinds = {tag for section in sections for tag in _kinds_of(section)}
    parts = [str(part) for part in error["loc"]]
    last = parts[-1] if parts and (error["type"] == "extra_forbidden" or parts[-1] in names) else None
    place = ".".join(part for part in parts if part not in kinds or part == last)
    if error["type"] == "extra_forbidden":
        here = _keys_at(root, error["loc"][:-1])
        expected = f"one of {', '.join(sorted(here))}" if 0 < len(here) <= _FEW else None
        return f"unknown key '{place}'", expected, f"{_meant(parts[-1], error['loc'][:-1], root)}{listing}"
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


def _meant(name: str, place: Sequence[int | str], root: type[BaseModel]) -> str:
    """What an unknown key may have been meant as.

    It is one like it in its place, or one of another kind than the section has, or the same in other places.
    """
    likely = difflib.get_close_matches(name, list(_keys_at(root, place)), n=1)
    if not likely and (kinds := _other_kinds(name, place, root)):
        return f"it is a key of kind: {' or '.join(kinds)}; "
    if not likely and name != "kind":  # which many sections have
        elsewhere = (".".join(other) for other in _places(root) if other[-1] == name)
        likely = sorted(elsewhere, key=len)
    return f"did you mean {' or '.join(map(repr, likely[:3]))}? " if likely else ""


def _other_kinds(name: str, place: Sequence[int | str], root: type[BaseModel]) -> list[str]:
    """The kinds that have a key, where another kind stands."""
    if not any(place[-1] in _kinds_of(section) for section in _sections_at(root, place) if place):
        return []
    others = [section for section in _sections_at(root, place[:-1]) if name in section.model_fields]
    return [kind for section in others for kind in _kinds_of(section)]


def _keys_at(root: type[BaseModel], place: Sequence[int | str]) -> set[str]:
    return {name for section in _sections_at(root, place) for name in section.model_fields}


def _sections_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a value may be, or a list or a mapping of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections_in(part)]


def _sections_below(root: type[BaseModel]) -> list[type[BaseModel]]:
    """A section and all within it."""
    found: dict[type[BaseModel], None] = {}
    left = [root]
    while left:
        section = left.pop()
        if section not in found:
            found[section] = None
            left += [one for field in section.model_fields.values() for one in _sections_in(field.annotation)]
    return list(found)


def _sections_at(root: type[BaseModel], place: Sequence[int | str]) -> list[type[BaseModel]]:
    """The sections that may stand at a place, in which numbers, names and kinds of a union stand, too."""
    found = [root]
    for part in place:
        fields = [section.model_fields[part] for section in found if part in section.model_fields]
        of_kind = [section for section in found if part in _kinds_of(section)]
        if fields:
            found = [section for field in fields for section in _sections_in(field.annotation)]
        elif of_kind:
            found = of_kind
    return found


def _places(section: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """The places of all keys that no list and no name stands before."""
    for name, field in section.model_fields.items():
        yield (name,)
        if not {dict, tuple} & {get_origin(part) for part in (field.annotation, *get_args(field.annotation))}:
            for inner in _sections_in(field.annotation):
                yield from ((name, *place) for place in _places(inner))


def _kinds_of(section: type[BaseModel]) -> tuple[str, ...]:
    field = section.model_fields.get("kind")
    return () if field is None else get_args(field.annotation)
