"""The retriever of a run folder, of whichever kind its index is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from limbeck.cli.screen import command
from limbeck.errors import InputError
from limbeck.students import require_corpus

if TYPE_CHECKING:
    from limbeck.students.dense.retriever import DenseRetriever
    from limbeck.students.generative.retriever import GenerativeRetriever, SearchSettings

_INDEX, _RECIPE = "index", "recipe.yaml"
#: In the index of a generative student alone.
_IDENTIFIERS = "retriever"


def open_retriever(folder: Path) -> DenseRetriever | GenerativeRetriever:
    """The student of a run, ready to be asked.

    What the index holds decides which student it is, not the recipe beside it: a run that was stopped may
    have written another recipe already. Neither the pipeline nor the data of the recipe are needed.

    Raises:
        InputError: the folder is not there, or holds no index, or one that cannot be read.
    """
    _require_index(folder)
    if _is_generative(folder):
        return open_generative(folder)
    from limbeck.students.dense.retriever import DenseRetriever  # noqa: PLC0415 - brings torch

    return DenseRetriever.open(folder)


def open_generative(folder: Path) -> GenerativeRetriever:
    """The generative student of a run, with the search of its recipe.

    Raises:
        InputError: as `open_retriever`; or the student is a dense one.
    """
    require_generative(folder)
    settings = _search_settings(folder)
    from limbeck.students.generative.retriever import GenerativeRetriever  # noqa: PLC0415 - brings torch

    try:
        return GenerativeRetriever.open(folder / _INDEX / _IDENTIFIERS, settings=settings)
    except InputError as error:
        raise InputError(
            error.problem,
            path=error.path,
            line=error.line,
            expected=error.expected,
            remedy=f"delete {folder / _INDEX}, then `{_building(folder)}` makes it again",
        ) from error


def require_generative(folder: Path) -> None:
    """Does nothing if a run folder holds the index of a generative student.

    Raises:
        InputError: it does not.
    """
    _require_index(folder)
    if not _is_generative(folder):
        raise InputError(
            "this is not the index of a generative student, and no other takes single passages",
            path=folder / _INDEX,
            expected="a finished run of a recipe with `student: {kind: generative}`",
            remedy=f"change the corpus of the recipe, then run it again: `{_building(folder)}`",
        )


def _is_generative(folder: Path) -> bool:
    return (folder / _INDEX / _IDENTIFIERS).is_dir()


def _require_index(folder: Path) -> None:
    if not (folder / _INDEX).is_dir():
        require_corpus(folder)
        raise InputError(
            "no run has left an index here" if folder.is_dir() else "there is no such folder",
            path=folder,
            expected="the folder of a run that has come to its index",
            remedy=f"limbeck run RECIPE --out {folder}, or limbeck quickstart",
        )


def _search_settings(folder: Path) -> SearchSettings:
    """How the recipe searches. The rest of it is not looked at: its data may be on another machine."""
    from limbeck.recipes.generative import SearchRecipe  # noqa: PLC0415 - pydantic's types
    from limbeck.strict_yaml import read_yaml  # noqa: PLC0415
    from limbeck.students.generative.retriever import SearchSettings  # noqa: PLC0415 - brings torch

    path = folder / _RECIPE
    content = read_yaml(path) if path.is_file() else None
    student = content.get("student") if isinstance(content, dict) else None
    if not isinstance(student, dict) or student.get("kind") != "generative":
        raise InputError(
            "the index is a generative student's, and the recipe is not",
            path=path,
            expected="the recipe with which the index was built",
            remedy=f"`limbeck index build RECIPE --out {folder}`",
        )
    try:
        return SearchSettings(**SearchRecipe.model_validate(student.get("search", {})).model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("student", "search", *first["loc"])))
        raise InputError(f"{place}: {first['msg']}", path=path) from error


def _building(folder: Path) -> str:
    return command("index", "build", folder / _RECIPE, "--out", folder)
