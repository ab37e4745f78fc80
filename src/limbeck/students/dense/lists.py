"""Training lists: a query, a positive, hard and easy negatives, and the teacher's scores of the passages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import cycle, islice
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor

from limbeck.data import Judgements, PairFeatures, Passages, Queries, RankedList, Rankings
from limbeck.students.dense.backbone import training_prompts

#: Gives the teacher's scores (pairs,) of first and second texts.
AskTeacher = Callable[[Sequence[tuple[str, str]]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class TrainingList:
    """One query with the passages that it learns from.

    Attributes:
        query_id: the query.
        passage_ids: the positive, then the hard negatives, then the easy ones.
        scores: the teacher's score of each passage.
        hard: how many hard negatives follow the positive.
        positives: every passage that is relevant to the query; none serves as an in-batch negative.
    """

    query_id: str
    passage_ids: list[str]
    scores: list[float]
    hard: int
    positives: list[str]


def training_lists(
    candidates: Rankings, easy: Rankings, judgements: Judgements, *, hard_negatives: int, seed: int
) -> Iterator[TrainingList]:
    """One list for each positive of each query, with the teacher's scores.

    Hard negatives are drawn without replacement from the query's candidates that are not positives. The
    draw depends on seed, query, positive and the set of candidates, and not on their scores or on what
    else there is to learn: runs that differ in their teacher learn from the same passages.

    Args:
        candidates: the teacher's scores of the positives and the mined candidates.
        easy: the teacher's scores of passages drawn at random.
        judgements: which passages are positives (grade ≥ 1).
        hard_negatives: how many are drawn for a list, at most.
        seed: of the draw.

    Yields:
        Lists of at least two passages, in the order of `candidates`. A positive without a teacher's score
        and a query without negatives give none.
    """
    for ranked in candidates:
        positives = judgements.relevant(ranked.query_id)
        scores = dict(zip(ranked.passage_ids, ranked.scores.tolist(), strict=True))
        hard = _without(ranked, positives)
        soft = _without(easy.list_for(ranked.query_id), [*positives, *hard])
        scores.update(soft)
        for positive in positives:
            drawn = _drawn(ranked.query_id, positive, hard, hard_negatives, seed)
            if positive in scores and (drawn or soft):
                passages = [positive, *drawn, *soft]
                yield TrainingList(
                    ranked.query_id, passages, [scores[p] for p in passages], len(drawn), positives
                )


def positives_with_negatives(
    candidates: Rankings, judgements: Judgements, *, hard_negatives: int, seed: int
) -> Iterator[JudgedExample]:
    """Each positive of each query with hard negatives, for a training in which no teacher takes part.

    They are those that `training_lists` draws of the same candidates. A query with fewer candidates has some
    of them several times, as every example must be of one length.

    Args:
        candidates: mined; their scores do not matter.
        judgements: which passages are positives (grade ≥ 1).
        hard_negatives: how many stand beside a positive, 1 or more.
        seed: of the draw.

    Yields:
        Examples in the order of `candidates`. A query whose candidates are all positives gives none.
    """
    for ranked in candidates:
        positives = judgements.relevant(ranked.query_id)
        hard = _without(ranked, positives)
        for positive in positives if hard else ():
            drawn = _drawn(ranked.query_id, positive, hard, hard_negatives, seed)
            yield JudgedExample(ranked.query_id, [positive, *islice(cycle(drawn), hard_negatives)])


def _drawn(query_id: str, positive: str, hard: Collection[str], count: int, seed: int) -> list[str]:
    """Hard negatives for a positive, in the order of the draw."""
    generator = np.random.default_rng(_digest(f"{seed}\0{query_id}\0{positive}"))
    drawn: list[str] = generator.permutation(sorted(hard)).tolist()
    return drawn[:count]


def _without(ranked: RankedList, excluded: Sequence[str]) -> dict[str, float]:
    """Scores of a list's passages, best first, less the excluded ones."""
    drop = set(excluded)
    pairs = zip(ranked.passage_ids, ranked.scores.tolist(), strict=True)
    return {passage: score for passage, score in pairs if passage not in drop}


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class JudgedExample:
    """One query with the passages that a bi-encoder learns from by judgements alone.

    Attributes:
        query_id: the query.
        passage_ids: a positive, then hard negatives, if any.
    """

    query_id: str
    passage_ids: list[str]


def judged_positives(judgements: Judgements) -> Iterator[JudgedExample]:
    """Each positive (grade ≥ 1) of each query by itself: its negatives are other queries' positives."""
    for query in judgements.query_ids:
        for passage in judgements.relevant(query):
            yield JudgedExample(query, [passage])


@dataclass(frozen=True, slots=True)
class ListBatch:
    """What the lists of a batch ask of the student, over the `pool`: every passage of the batch, once.

    Attributes:
        lists: columns of the pool (batch, list), int64: the positive, then the hard negatives; 0 in padding.
        mask: True for a real entry of `lists` (batch, list).
        teacher: the teacher's scores of `lists` (batch, list); 0 in padding.
        candidates: True for the passages among which the row's positive is to be found (batch, pool):
            the positive itself and the negatives of the batch. Left out are the row's other positives, and
            its hard negatives, which the list losses treat.
        pool_teacher: the teacher's scores of the row's easy negatives (batch, pool), and of the batch's other
            passages where the teacher is asked for them; 0 elsewhere.
        pool_teacher_mask: True for the passages that have such a score (batch, pool).
        teacher_features: the teacher's features of `lists` (batch, list, dimension), float16, 0 in padding;
            the dimension is 0 where there are none.
    """

    lists: Tensor
    mask: Tensor
    teacher: Tensor
    candidates: Tensor
    pool_teacher: Tensor
    pool_teacher_mask: Tensor
    teacher_features: Tensor

    def to(self, device: torch.device | str, **_: object) -> Self:
        """The same batch on another device; the trainer's data loader calls it as it calls a tensor's."""
        return type(self)(*(getattr(self, entry.name).to(device) for entry in fields(self)))


def list_batch(rows: Sequence[TrainingList]) -> tuple[list[str], ListBatch]:
    """Lays the lists of a batch over one pool of passages, so that each is encoded once.

    Args:
        rows: the lists, one or more.

    Returns:
        The passage ids of the pool in the order in which the lists name them, and the targets.

    Example:
        >>> rows = [
        ...     TrainingList("q1", ["a", "b"], [2.0, 1.0], 1, ["a"]),
        ...     TrainingList("q2", ["c"], [3.0], 0, ["c"]),
        ... ]
        >>> pool, batch = list_batch(rows)
        >>> pool, batch.candidates.int().tolist()
        (['a', 'b', 'c'], [[1, 0, 1], [1, 1, 1]])
    """
    column: dict[str, int] = {}
    for row in rows:
        for passage in row.passage_ids:
            column.setdefault(passage, len(column))
    width = max(row.hard + 1 for row in rows)
    shape, wide = (len(rows), width), (len(rows), len(column))
    batch = ListBatch(
        lists=torch.zeros(shape, dtype=torch.long),
        mask=torch.zeros(shape, dtype=torch.bool),
        teacher=torch.zeros(shape),
        candidates=torch.ones(wide, dtype=torch.bool),
        pool_teacher=torch.zeros(wide),
        pool_teacher_mask=torch.zeros(wide, dtype=torch.bool),
        teacher_features=torch.zeros(*shape, 0, dtype=torch.float16),
    )
    for i, row in enumerate(rows):
        columns = torch.tensor([column[passage] for passage in row.passage_ids])
        scores = torch.tensor(row.scores, dtype=torch.float32)
        listed, easy = columns[: row.hard + 1], columns[row.hard + 1 :]
        batch.lists[i, : row.hard + 1] = listed
        batch.mask[i, : row.hard + 1] = True
        batch.teacher[i, : row.hard + 1] = scores[: row.hard + 1]
        positives = [column[passage] for passage in row.positives if passage in column]
        batch.candidates[i, positives] = False
        batch.candidates[i, listed] = False
        batch.candidates[i, listed[0]] = True
        batch.pool_teacher[i, easy] = scores[row.hard + 1 :]
        batch.pool_teacher_mask[i, easy] = True
    return list(column), batch


@dataclass
class ListCollator:
    """Turns training lists into the model's inputs; the `data_collator` of the library's trainer.

    Texts get the model's own prompts, as they do when a trained student encodes them.

    Args:
        model: the student; tokenises.
        queries: texts of the queries.
        passages: texts of the passages that training sees.
        features: the teacher's features of positives and hard negatives; None where they are not imitated.
        ask: the teacher, of query and passage texts; see `ask_in_batch`. None asks nothing.
        valid_label_columns: what the trainer asks of a collator: which columns are no texts.
    """

    model: SentenceTransformer
    queries: Queries
    passages: Passages
    features: PairFeatures | None = None
    ask: AskTeacher | None = None
    valid_label_columns: list[str] = field(default_factory=lambda: ["label"])

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """The inputs of a batch.

        Args:
            features: `TrainingList`s as mappings, as the trainer's data set holds them.

        Returns:
            `query_input_ids`, `passage_input_ids` and the like (texts, tokens), the passages being those of
            the pool, and the `ListBatch` as `label`.
        """
        rows = [TrainingList(**feature) for feature in features]
        pool, targets = list_batch(rows)
        texts = [self.queries.text(row.query_id) for row in rows]
        contents = self.passages.contents(self.passages.rows(pool))
        if self.ask is not None:
            ask_in_batch(self.ask, texts, contents, targets)
        if self.features is not None:
            targets = replace(targets, teacher_features=_features(self.features, rows, targets))
        prompts = training_prompts(self.model)
        asked = self.model.preprocess(texts, prompt=prompts.query, task="query")
        given = self.model.preprocess(contents, prompt=prompts.document, task="document")
        return {
            "label": targets,
            **{f"query_{name}": value for name, value in asked.items()},
            **{f"passage_{name}": value for name, value in given.items()},
        }


def ask_in_batch(
    ask: AskTeacher, queries: Sequence[str], passages: Sequence[str], targets: ListBatch
) -> None:
    """Fills in the teacher's scores of the batch's negatives that a row's own list lacks.

    Each query is then scored with every candidate of its batch, and not with its own easy negatives only.

    Source: D2LLM, arXiv 2406.17262, rank imitation of hard against in-batch negatives.

    Args:
        ask: the teacher.
        queries: texts of the rows (batch,).
        passages: texts of the pool (pool,).
        targets: of the batch; its `pool_teacher` and `pool_teacher_mask` are changed.
    """
    wanted = targets.candidates & ~targets.pool_teacher_mask
    wanted[torch.arange(len(queries)), targets.lists[:, 0]] = False
    places = wanted.nonzero()
    pairs = [(queries[row], passages[column]) for row, column in places.tolist()]
    if pairs:
        rows, columns = places.unbind(1)
        targets.pool_teacher[rows, columns] = torch.from_numpy(ask(pairs)).float()
        targets.pool_teacher_mask[rows, columns] = True


def _features(features: PairFeatures, rows: Sequence[TrainingList], targets: ListBatch) -> Tensor:
    """The teacher's features of the lists (batch, list, dimension), 0 in padding."""
    found = torch.zeros(*targets.lists.shape, features.dimension, dtype=torch.float16)
    for at, row in enumerate(rows):
        listed = row.passage_ids[: row.hard + 1]
        found[at, : len(listed)] = torch.from_numpy(features.of(row.query_id, listed))
    return found
