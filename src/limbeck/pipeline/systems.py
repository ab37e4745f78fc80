"""The systems of a run that answer the same queries: the student, its start, its competitors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sentence_transformers import SentenceTransformer

from limbeck.data import Query, RankedList
from limbeck.evaluation import Latency
from limbeck.mining import BM25Miner, DenseMiner, Miner
from limbeck.pipeline.candidates import open_bm25, start_backbone
from limbeck.pipeline.distilling import MODEL
from limbeck.pipeline.generating import LATENCY, RETRIEVER, base_answers, open_retriever
from limbeck.pipeline.identifiers import generative_student, uses_teacher
from limbeck.pipeline.imitating import trainings
from limbeck.pipeline.run import Run
from limbeck.recipes import GenerativeStudentRecipe, Recipe
from limbeck.students.dense.backbone import load_backbone
from limbeck.students.dense.retriever import DenseRetriever

#: The systems by name: rows of the table, keys of `metrics.json`, `runs/NAME.trec`.
BM25_NAME = "bm25"
BACKBONE = "backbone"
BASELINE = "backbone-in-batch"
COSINE = "student-cosine"
INTERACTION = "student-interaction"
BASE = "generative-base"
GENERATIVE = "generative"
FUSED = "generative+dense"
TEACHER = "teacher"
#: Systems that owe nothing to the student.
INDEPENDENT = (BM25_NAME, BACKBONE, BASELINE, TEACHER)

Search = Callable[[Query], RankedList]


@dataclass(frozen=True)
class System:
    """Something that answers queries.

    Attributes:
        search: answers one, as a user would ask it.
        answer: answers many, with the same results.
        latency: time per query where it is known already; None where it is to be measured.
    """

    search: Search
    answer: Callable[[Iterable[Query]], Iterator[RankedList]]
    latency: Latency | None = None

    @classmethod
    def one_by_one(cls, search: Search) -> System:
        """A system that gains nothing from many queries at once."""
        return cls(search, lambda queries: map(search, queries))

    @classmethod
    def of_miner(cls, miner: Miner, depth: int) -> System:
        """A system that answers many queries together."""
        return cls(
            lambda query: next(iter(miner.mine([query], depth))), lambda queries: miner.mine(queries, depth)
        )


@dataclass(frozen=True)
class Systems:
    """What is compared in a run.

    Attributes:
        named: the systems, in the order of the table.
        student: name of the one that the run was for.
        start: name of the one that it is read beside, query by query.
        trainings: stages that have left a curve.
        fused: further systems, whose lists are those of others fused by reciprocal rank; not timed.
    """

    named: dict[str, System]
    student: str
    start: str
    trainings: tuple[str, ...]
    fused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def student_name(recipe: Recipe) -> str:
    """The system that a run of a recipe is for."""
    return GENERATIVE if isinstance(recipe.student, GenerativeStudentRecipe) else INTERACTION


def system_names(recipe: Recipe) -> tuple[str, ...]:
    """The systems that a run of a recipe will have measured.

    Example:
        >>> system_names(Recipe(data={"kind": "stdlib"}, student={"kind": "generative", "ranking": None}))
        ('bm25', 'backbone', 'backbone-in-batch', 'generative', 'generative+dense')
    """
    if isinstance(recipe.student, GenerativeStudentRecipe):
        own = (*([] if recipe.student.ranking is None else [BASE]), GENERATIVE, FUSED)
    else:
        own = COSINE, INTERACTION
    return (BM25_NAME, BACKBONE, BASELINE, *own, *([TEACHER] if uses_teacher(recipe) else []))


def systems_of(run: Run) -> Systems:
    """The systems of a run whose student is indexed."""
    depth, device = run.recipe.evaluation.depth, run.recipe.device
    if isinstance(run.recipe.student, GenerativeStudentRecipe):
        return _generative(run, depth)
    retriever = DenseRetriever.open(run.folder.path, device)
    students = {
        COSINE: System.one_by_one(lambda query: retriever.rank_by_cosine(query.text, depth, query.id)),
        INTERACTION: System.one_by_one(lambda query: retriever.rank(query.text, depth, query.id)),
    }
    learnt = (*trainings(run.recipe), "baseline")
    return Systems(_competitors(run, depth) | students, INTERACTION, BACKBONE, learnt)


def _generative(run: Run, depth: int) -> Systems:
    retriever = open_retriever(run, run.folder / "index" / RETRIEVER)
    named = _competitors(run, depth)
    ranked = generative_student(run.recipe).ranking is not None
    if ranked:
        answers = base_answers(run)
        timed = json.loads((run.folder / "base" / LATENCY).read_text(encoding="utf-8"))
        named[BASE] = System(
            lambda query: answers.list_for(query.id),
            lambda queries: (answers.list_for(query.id) for query in queries),
            Latency(**timed),
        )
    named[GENERATIVE] = System.of_miner(retriever, depth)
    learnt = ("generate", "distil", "baseline") if ranked else ("generate", "baseline")
    fused = {FUSED: (GENERATIVE, BASELINE)}
    return Systems(named, GENERATIVE, BASE if ranked else BM25_NAME, learnt, fused)


def _competitors(run: Run, depth: int) -> dict[str, System]:
    recipe, passages, mined = run.recipe, run.dataset.passages, run.folder / "mine" / "backbone"
    tuned = run.folder / "baseline"

    def dense(model: SentenceTransformer, folder: Path) -> System:
        return System.of_miner(DenseMiner(model, passages, folder=folder), depth)

    return {
        BM25_NAME: System.of_miner(BM25Miner(open_bm25(run)), depth),
        BACKBONE: dense(start_backbone(recipe), mined),
        BASELINE: dense(load_backbone(str(tuned / MODEL), recipe.max_length, recipe.device), tuned),
    }
