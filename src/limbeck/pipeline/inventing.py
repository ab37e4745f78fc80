"""The stage that has questions written for a corpus that has none."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbeck.data import Passages
from limbeck.errors import InputError
from limbeck.pipeline.candidates import drawn_queries
from limbeck.pipeline.folder import SCRATCH, write_json
from limbeck.pipeline.run import Run
from limbeck.query_generation.cloze import ClozeWriter
from limbeck.query_generation.writing import QueryWriter, write_questions
from limbeck.recipes import CorpusData, InventedQueries, Recipe, Split
from limbeck.students.generative.pseudo_queries import write_texts

#: The questions by passage, and what wrote them, in the folder of the stage.
QUESTIONS, WRITER = "questions.arrow", "writer.json"

#: Stands beside all figures on such questions.
INVENTED = (
    "The questions were not asked by people but written for the passages. Figures on them compare systems "
    "with each other; they say little of the questions that users ask, and flatter what resembles the writer."
)


def corpus_data(recipe: Recipe) -> CorpusData:
    """The section of a corpus alone; stages that call this stand in no other recipe's list."""
    if not isinstance(recipe.data, CorpusData):
        raise TypeError(f"the data of the recipe '{recipe.name}' are no corpus alone")
    return recipe.data


def invents_queries(recipe: Recipe) -> bool:
    """Whether questions have to be written."""
    return isinstance(recipe.data, CorpusData)


def asks_invented(recipe: Recipe, split: Split) -> bool:
    """Whether the queries of a split are written ones, and not of people."""
    data = recipe.data
    if not isinstance(data, CorpusData):
        return False
    return split == "train" or data.judged is None or getattr(data.judged, split) is None


def invention_settings(recipe: Recipe) -> object:
    """What the written questions depend on."""
    wanted = corpus_data(recipe).queries
    return [wanted.writer, wanted.count, wanted.max_passages, recipe.seed]


def invent(run: Run, work: Path) -> None:
    """Has questions written for the passages.

    Leaves `questions.arrow`, which `PseudoQueries.open` reads, and `writer.json`.

    Raises:
        InputError: no question was written for any passage.
    """
    wanted, passages = corpus_data(run.recipe).queries, run.corpus
    writer = open_writer(run.recipe)
    rows = _drawn_rows(passages, wanted.max_passages, run.recipe.seed)
    with run.progress.task("writing questions for passages", len(rows)) as advance:
        found = write_questions(
            writer, passages, wanted.count, work_dir=work / SCRATCH / "blocks", rows=rows, progress=advance
        )
    first = next(found, None)
    if first is None:
        raise InputError(
            f"the writer '{wanted.writer.kind}' wrote no question for any of {len(rows):,} passages",
            expected="passages of several sentences" if wanted.writer.kind == "cloze" else "some text",
            remedy="take another data.queries.writer, or join short passages to longer ones",
        )
    write_texts(work / QUESTIONS, chain([first], found))
    write_json(work / WRITER, {"writer": wanted.writer.kind, **writer.settings()})


def open_writer(recipe: Recipe) -> QueryWriter:
    """The writer of a recipe."""
    writer = corpus_data(recipe).queries.writer
    return ClozeWriter(min_words=writer.min_words, max_words=writer.max_words, seed=recipe.seed)


def takes_sentences(wanted: InventedQueries) -> bool:
    """Whether the questions are sentences of their passages, which must not be seen beside them."""
    return wanted.writer.kind == "cloze"


def _drawn_rows(passages: Passages, limit: int | None, seed: int) -> NDArray[np.int64]:
    """The rows of the passages that get questions, in the order of the corpus."""
    if limit is None or len(passages) <= limit:
        return np.arange(len(passages))
    return np.sort(passages.rows(drawn_queries(passages.ids(), limit, seed)))
