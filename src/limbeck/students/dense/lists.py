"""Training lists: a query, a positive, hard and easy negatives, and the teacher's scores of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.data import Judgements, Passages, Queries, RankedList, Rankings


@dataclass(frozen=True, slots=True)
class TrainingList:
    """One query with the passages that it learns from.

    Attributes:
        query_id: the query.
        passage_ids: the positive, then the hard negatives, then the easy ones.
        scores: the teacher's, one a passage.
        hard: how many hard negatives follow the positive.
        positives: every passage that is judged relevant, so that none serves as an in-batch negative.
    """

    query_id: str
    passage_ids: list[str]
    scores: list[float]
    hard: int
    positives: list[str]


def training_lists(
    candidates: Rankings, easy: Rankings, judgements: Judgements, *, hard_negatives: int, seed: int
) -> Iterator[TrainingList]:
    """One list for each positive of each query, from the teacher's scores.

    Hard negatives are drawn without replacement from the query's mined candidates. The draw depends on
    the query and the seed alone, so that it is the same wherever and however often it is made.

    Args:
        candidates: the teacher's scores of the positives and the mined candidates.
        easy: the teacher's scores of passages drawn at random.
        judgements: which passages are positives (grade ≥ 1).
        hard_negatives: drawn a list, at most.
        seed: of the draw.

    Yields:
        Lists of two passages or more; a query without a scored positive or any negative gives none.
    """
    for ranked in candidates:
        positives = judgements.relevant(ranked.query_id)
        scores = dict(zip(ranked.passage_ids, ranked.scores.tolist(), strict=True))
        hard = _without(ranked, positives)
        soft = _without(easy.list_for(ranked.query_id), [*positives, *hard])
        scores.update(soft)
        for positive in positives:
            if positive not in scores or not (hard or soft):
                continue
            generator = np.random.default_rng(_digest(f"{seed}\0{ranked.query_id}\0{positive}"))
            names = list(hard)
            drawn = [names[i] for i in sorted(generator.permutation(len(names))[:hard_negatives])]
            passages = [positive, *drawn, *soft]
            yield TrainingList(
                ranked.query_id, passages, [scores[p] for p in passages], len(drawn), positives
            )


def _without(ranked: RankedList, excluded: Sequence[str]) -> dict[str, float]:
    """Scores of a list's passages, best first, less the excluded ones."""
    drop = set(excluded)
    pairs = zip(ranked.passage_ids, ranked.scores.tolist(), strict=True)
    return {passage: score for passage, score in pairs if passage not in drop}


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class ListBatch:
    """The targets of a batch, over its `pool`: every passage of the batch, once.

    Attributes:
        lists: columns of the pool (batch, list): positive first, then hard negatives; padded with 0.
        mask: True for a real entry of `lists` (batch, list).
        teacher: the teacher's scores (batch, list); 0 where padded.
        candidates: True where a passage of the pool is a candidate against the row's positive
            (batch, pool): its positive and all others, less its own hard negatives and other positives.
        pool_teacher: the teacher's scores of the row's easy negatives (batch, pool); 0 elsewhere.
        pool_teacher_mask: True where `pool_teacher` is known (batch, pool).
    """

    lists: Tensor
    mask: Tensor
    teacher: Tensor
    candidates: Tensor
    pool_teacher: Tensor
    pool_teacher_mask: Tensor

    def to(self, device: torch.device | str, **_: object) -> ListBatch:
        """The same batch on another device; the trainer calls it."""
        return ListBatch(*(getattr(self, name).to(device) for name in self.__slots__))


def list_batch(rows: Sequence[TrainingList]) -> tuple[list[str], ListBatch]:
    """Lays the lists of a batch over one pool of passages, so that each is encoded once.

    Returns:
        The ids of the pool in order of first mention, and the targets.
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
    )
    for i, row in enumerate(rows):
        columns = torch.tensor([column[passage] for passage in row.passage_ids])
        scores = torch.tensor(row.scores, dtype=torch.float32)
        listed, easy = columns[: row.hard + 1], columns[row.hard + 1 :]
        batch.lists[i, : row.hard + 1] = listed
        batch.mask[i, : row.hard + 1] = True
        batch.teacher[i, : row.hard + 1] = scores[: row.hard + 1]
        others = [column[p] for p in row.positives if p in column]
        batch.candidates[i, torch.tensor([*others, *listed[1:].tolist()], dtype=torch.long)] = False
        batch.candidates[i, listed[0]] = True
        batch.pool_teacher[i, easy] = scores[row.hard + 1 :]
        batch.pool_teacher_mask[i, easy] = True
    return list(column), batch


@dataclass
class ListCollator:
    """Turns training lists into model inputs; the `data_collator` of the library's trainer.

    Args:
        preprocess: the model's, from texts to `input_ids` and the like.
        queries: texts of the queries.
        passages: texts of the passages that training sees.
    """

    preprocess: Callable[[list[str]], dict[str, Any]]
    queries: Queries
    passages: Passages
    valid_label_columns: list[str] = field(default_factory=lambda: ["label"])

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Inputs `query_*` and `passage_*`, and the `ListBatch` under `label`."""
        rows = [TrainingList(**feature) for feature in features]
        pool, targets = list_batch(rows)
        texts = self.passages.contents(self.passages.rows(pool))
        queries = [self.queries.text(row.query_id) for row in rows]
        batch: dict[str, Any] = {"label": targets}
        batch.update({f"query_{key}": value for key, value in self.preprocess(queries).items()})
        batch.update({f"passage_{key}": value for key, value in self.preprocess(texts).items()})
        return batch
