"""Which identifiers the passages of a run have: the views of the recipe, with their pseudo-queries."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from limbeck.pipeline.candidates import training_queries
from limbeck.pipeline.run import Run
from limbeck.recipes import (
    BodyRecipe,
    FileSource,
    GeneratedSource,
    GenerativeStudentRecipe,
    PseudoQueryRecipe,
    PseudoQuerySource,
    QueryFilter,
    Recipe,
    TitleRecipe,
)
from limbeck.students.generative.identifiers import BodyView, IdentifierView, PseudoQueryView, TitleView
from limbeck.students.generative.pseudo_queries import PseudoQueries

#: The questions that a model has written, or those of them that are kept, in the folder of their stage.
WRITTEN = "pseudo-queries.arrow"


def generative_student(recipe: Recipe) -> GenerativeStudentRecipe:
    """The section of the generative student; stages that call this stand in no other recipe's list."""
    if not isinstance(recipe.student, GenerativeStudentRecipe):
        raise TypeError(f"the student of the recipe '{recipe.name}' is {recipe.student.kind}")
    return recipe.student


def uses_teacher(recipe: Recipe) -> bool:
    """Whether somebody looks at the teacher's scores: not a base retriever, nor LTRGR's margin."""
    student = recipe.student
    if not isinstance(student, GenerativeStudentRecipe):
        return True
    return student.ranking is not None and student.ranking.loss != "positive_margin"


def uses_training_queries(recipe: Recipe) -> bool:
    """Whether training queries are pseudo-queries of the passages that answer them."""
    return any(source.kind == "training-queries" for source in _sources(recipe))


def writes_queries(recipe: Recipe) -> bool:
    """Whether a model has to write pseudo-queries."""
    return any(source.kind == "generated" for source in _sources(recipe))


def written_source(recipe: Recipe) -> GeneratedSource:
    """The source whose questions a model writes; stages that call this stand in no other recipe's list."""
    return next(source for source in _sources(recipe) if isinstance(source, GeneratedSource))


def written_place(recipe: Recipe) -> str:
    """The key of that source in the recipe, for messages."""
    return next(
        f"student.views.{number}.sources.{at}"
        for number, view in enumerate(generative_student(recipe).views)
        if isinstance(view, PseudoQueryRecipe)
        for at, source in enumerate(view.sources)
        if isinstance(source, GeneratedSource)
    )


def filters_queries(recipe: Recipe) -> bool:
    """Whether some of the written pseudo-queries are to be dropped."""
    return writes_queries(recipe) and written_source(recipe).filter is not None


def query_filter(recipe: Recipe) -> QueryFilter:
    """Which of the written pseudo-queries are kept; stages that call this stand in no other recipe's list."""
    wanted = written_source(recipe).filter
    if wanted is None:
        raise TypeError(f"the recipe '{recipe.name}' keeps all pseudo-queries")
    return wanted


def _sources(recipe: Recipe) -> list[PseudoQuerySource]:
    views = (view for view in generative_student(recipe).views if isinstance(view, PseudoQueryRecipe))
    return [source for view in views for source in view.sources]


def pseudo_query_files(recipe: Recipe) -> list[Path]:
    """The files of pseudo-queries that a recipe names."""
    return [source.path for source in _sources(recipe) if isinstance(source, FileSource)]


def view_settings(recipe: Recipe) -> list[object]:
    """What the views say, but for the filter of pseudo-queries: it has a stage of its own before them."""
    unfiltered = {"sources": {"__all__": {"filter"}}}
    return [view.model_dump(exclude=unfiltered) for view in generative_student(recipe).views]


def identifier_views(run: Run, *, without: Collection[str] = ()) -> list[IdentifierView]:
    """The views of the recipe.

    Args:
        run: a run whose candidates are mined.
        without: training queries that are left out of the pseudo-queries, by their ids, and others with the
            same words: each would find its passage by these.
    """
    made: list[IdentifierView] = []
    for view in generative_student(run.recipe).views:
        if isinstance(view, TitleRecipe):
            made.append(TitleView(view.max_length))
        elif isinstance(view, BodyRecipe):
            made.append(BodyView(view.max_length, view.spans))
        else:
            questions = _pseudo_queries(run, view, without)
            made.append(PseudoQueryView(questions, view.max_length, view.learnt))
    return made


def _pseudo_queries(run: Run, view: PseudoQueryRecipe, without: Collection[str]) -> PseudoQueries:
    found = []
    for source in view.sources:
        if isinstance(source, FileSource):
            found.append(PseudoQueries.read(source.path, passages=run.dataset.passages))
        elif source.kind == "training-queries":
            queries, judgements = training_queries(run)
            found.append(PseudoQueries.from_training(queries, judgements, without=without))
        elif source.kind == "generated":
            stage = "sift-queries" if filters_queries(run.recipe) else "write-queries"
            found.append(PseudoQueries.open(run.folder / stage / WRITTEN))
    return PseudoQueries.joined(found)
