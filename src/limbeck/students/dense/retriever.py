"""From a question to passages: what a user of a finished run calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data import Passages, RankedList
from limbeck.errors import InputError
from limbeck.indexes.vectors import InteractionWeights, VectorIndex
from limbeck.students import require_corpus
from limbeck.students.dense.student import DenseStudent

STUDENT, INDEX, PASSAGES, SETTINGS = "student", "vectors", "data/passages.arrow", "index.json"


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found.

    Attributes:
        rank: 1 is best.
        passage_id: its id.
        score: the interaction module's logit.
        title: of the passage.
        text: of the passage.
    """

    rank: int
    passage_id: str
    score: float
    title: str
    text: str


class DenseRetriever:
    """A distilled student with its index.

    The passages nearest by cosine are the candidates; the student's interaction module ranks them.

    Args:
        student: encodes questions.
        index: of the passages, built from the same student.
        passages: their texts.
        candidates: how many passages the interaction module ranks for a question; where more results are
            asked for than this, as many as are asked for.

    Example:
        >>> retriever = DenseRetriever.open(Path("quickstart"))  # doctest: +SKIP
        >>> retriever.search("remove duplicates but keep the order", k=3)[0].passage_id  # doctest: +SKIP
        'builtins.dict.fromkeys'
    """

    def __init__(
        self, student: DenseStudent, index: VectorIndex, passages: Passages, candidates: int = 1000
    ) -> None:
        self.student = student
        self.index = index
        self.passages = passages
        self.candidates = candidates

    @classmethod
    def open(cls, run_folder: Path | str, device: str | None = None) -> DenseRetriever:
        """The retriever of a finished run.

        Args:
            run_folder: what `limbeck run` was given as `--out`.
            device: where the student lives; None takes the best there is.

        Raises:
            InputError: the folder holds no run, its index is not built yet or is of another student, or a
                file of it cannot be read.
        """
        folder = Path(run_folder)
        index = folder / "index"
        require_corpus(folder)
        if not (index / SETTINGS).is_file():
            known = (folder / "recipe.yaml").is_file()
            raise InputError(
                "the run has no index yet" if known else "this is not a run folder",
                path=folder,
                expected="a folder that `limbeck run` or `limbeck index build` has filled",
                remedy=_again(folder, index if index.is_dir() else None) if known else None,
            )
        with _mended_by_running(folder, "distil"):
            student = DenseStudent.load(folder / "distil" / STUDENT, device)
        with _mended_by_running(folder, "index"):
            vectors, settings = VectorIndex.open(index / INDEX), _settings(index / SETTINGS)
        with _mended_by_running(folder, "data"):
            passages = Passages.open(folder / PASSAGES)
        # A run that was stopped between the two stages leaves a new student beside the old index.
        if settings.get("passages", passages.fingerprint) != passages.fingerprint or not _same(
            vectors.interaction, student.interaction_weights()
        ):
            raise InputError(
                "the index was built from another student or corpus than the run has now",
                path=index,
                expected="the index of this student",
                remedy=_again(folder, None),
            )
        return cls(student, vectors, passages, settings["candidates"])

    def search(self, query: str, k: int = 10) -> list[Hit]:
        """The best passages for a question, best first.

        Args:
            query: the question.
            k: how many, 1 or more; fewer come back where the corpus has fewer.

        Raises:
            InputError: a blank question, or k below 1.
        """
        if not query.strip():
            raise InputError("the question is empty", expected="some words to search for")
        ranked = self.rank(query, k)
        rows = self.passages.rows(ranked.passage_ids)
        found = zip(rows, ranked.passage_ids, ranked.scores, strict=True)
        return [
            Hit(rank, passage_id, float(score), self.passages[int(row)].title, self.passages[int(row)].text)
            for rank, (row, passage_id, score) in enumerate(found, start=1)
        ]

    def rank(self, query: str, k: int, query_id: str = "query") -> RankedList:
        """What `search` finds, as a ranking.

        Args:
            query: the question.
            k: how many, 1 or more.
            query_id: of the ranking.

        Returns:
            Passage ids, and the interaction module's logits as scores.
        """
        vector = self.student.encode([query], query=True)
        interaction = self.index.interaction
        if interaction is not None and interaction.cosine_scale == 0:
            # As published: nothing taught the vectors to lie near what they go with, so none is left out.
            rows, scores = self.index.search_exhaustive(vector, k)
        else:
            rows, scores = self.index.search(vector, k, max(k, self.candidates))
        return RankedList(query_id, self.index.ids(rows[0]), scores[0].astype("float64")).ordered()

    def rank_by_cosine(self, query: str, k: int, query_id: str = "query") -> RankedList:
        """The best passages by cosine alone, as the first stage finds them; arguments as for `rank`."""
        vector = self.student.encode([query], query=True)
        rows, scores = self.index.search_cosine(vector, k)
        return RankedList(query_id, self.index.ids(rows[0]), scores[0].astype("float64")).ordered()


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        settings["candidates"] = int(settings["candidates"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("the settings of the index cannot be read", path=path) from error
    return settings


def _same(one: InteractionWeights | None, other: InteractionWeights) -> bool:
    """Whether these are the same weights; an index without an interaction says itself what it lacks."""
    return one is None or all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(other)
    )


@contextmanager
def _mended_by_running(folder: Path, stage: str) -> Iterator[None]:
    """Says how to mend a part of a run: its stage counts as done for as long as its folder is there."""
    try:
        yield
    except InputError as error:
        raise InputError(
            error.problem,
            path=error.path,
            line=error.line,
            expected=error.expected,
            remedy=_again(folder, folder / stage),
        ) from error


def _again(folder: Path, damaged: Path | None) -> str:
    command = f"`limbeck index build {folder / 'recipe.yaml'} --out {folder}`"
    return command if damaged is None else f"delete {damaged}, then {command} makes it again"
