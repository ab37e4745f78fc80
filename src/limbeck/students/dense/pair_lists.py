"""Training lists of pairs: a text, the one it is labelled with, and others that a teacher scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor

from limbeck.data import Passages
from limbeck.students.dense.backbone import training_prompts
from limbeck.students.dense.lists import AskTeacher, ListBatch, TrainingList, ask_in_batch, list_batch

_FEATURES = Features(
    {
        "first": Value("int32"),
        "texts": List(Value("int32")),
        "scores": List(Value("float32")),
        "hard": Value("int32"),
        "known": List(Value("int32")),
        "gold": Value("float32"),
        "start": Value("int64"),
    }
)


@dataclass(frozen=True, slots=True)
class PairBatch(ListBatch):
    """A `ListBatch` whose column 0 is the labelled text, not always a positive.

    In a list without a label it is the nearest neighbour.

    Attributes:
        gold: labels of the labelled pairs, from 0 to 1; NaN in lists without one (batch,).
    """

    gold: Tensor


def partners_of(labelled: NDArray[np.integer[Any]]) -> dict[int, set[int]]:
    """The texts that a text is labelled with, in either order.

    Args:
        labelled: rows of texts (pairs, 2 or more), of which the first two make a labelled pair.

    Example:
        >>> partners_of(np.array([[0, 1], [2, 0]]))
        {0: {1, 2}, 1: {0}, 2: {0}}
    """
    partners: dict[int, set[int]] = {}
    for first, second in labelled[:, :2].tolist():
        partners.setdefault(first, set()).add(second)
        partners.setdefault(second, set()).add(first)
    return partners


def pair_dataset(
    lists: NDArray[np.int64], scores: NDArray[np.floating[Any]], targets: NDArray[np.float64], neighbours: int
) -> Dataset:
    """Lists of pairs as the library's trainer takes them.

    A text's own row, and those that it is labelled with anywhere, are `known`: they do not serve as in-batch
    negatives.

    Args:
        lists: rows of texts (examples, 2 + neighbours + random): the first text, the second of the labelled
            pair, its neighbours, texts drawn at random; -1 where there are fewer.
        scores: the teacher's, of the first text with each of the others (examples, 1 + neighbours + random).
        targets: labels of the labelled pairs, from 0 to 1 (examples,); NaN where a list has none, and a
            neighbour in the labelled text's place.
        neighbours: how many columns hold neighbours.

    Returns:
        A row an example. Its `start` counts the pairs of the examples before it, those with random texts
        aside: the row of its first pair among the teacher's features.
    """
    partners = partners_of(lists[~np.isnan(targets)])
    there = lists[:, 1:] >= 0
    rows = zip(lists.tolist(), scores.tolist(), there.tolist(), strict=True)
    kept = [
        (row[0], [(text, score) for text, score, real in zip(row[1:], scored, mask, strict=True) if real])
        for row, scored, mask in rows
    ]
    return Dataset.from_dict(
        {
            "first": [first for first, _ in kept],
            "texts": [[text for text, _ in listed] for _, listed in kept],
            "scores": [[score for _, score in listed] for _, listed in kept],
            "hard": there[:, 1 : 1 + neighbours].sum(1).tolist(),
            "known": [sorted({first, *partners.get(first, ())}) for first, _ in kept],
            "gold": targets.tolist(),
            "start": np.cumsum([0, *there[:, : 1 + neighbours].sum(1)])[:-1].tolist(),
        },
        features=_FEATURES,
    )


@dataclass
class PairCollator:
    """Turns lists of pairs into the model's inputs; the `data_collator` of the library's trainer.

    Args:
        model: the student; tokenises.
        texts: the texts that rows of the lists name.
        symmetric: whether both texts of a pair get the same prompt.
        features: the teacher's features (pairs, dimension) of labelled pairs and neighbours, list by list;
            None where they are not imitated.
        ask: the teacher, of first and second texts; see `ask_in_batch`. None asks nothing.
        valid_label_columns: what the trainer asks of a collator: which columns are no texts.
    """

    model: SentenceTransformer
    texts: Passages
    symmetric: bool = True
    features: NDArray[np.float16] | None = None
    ask: AskTeacher | None = None
    valid_label_columns: list[str] = field(default_factory=lambda: ["label"])

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """The inputs of a batch, as those of `ListCollator`, with a `PairBatch` as `label`.

        Args:
            features: rows of `pair_dataset`.
        """
        rows = [
            TrainingList(
                str(row["first"]),
                [str(text) for text in row["texts"]],
                row["scores"],
                row["hard"],
                [str(text) for text in row["known"]],
            )
            for row in features
        ]
        pool, lists = list_batch(rows)
        firsts = self.texts.contents([row["first"] for row in features])
        others = self.texts.contents([int(text) for text in pool])
        if self.ask is not None:
            ask_in_batch(self.ask, firsts, others, lists)
        gold = torch.tensor([row["gold"] for row in features], dtype=torch.float32)
        targets = PairBatch(
            lists.lists,
            lists.mask,
            lists.teacher,
            lists.candidates,
            lists.pool_teacher,
            lists.pool_teacher_mask,
            lists.teacher_features if self.features is None else self._features(features, lists),
            gold,
        )
        prompts = training_prompts(self.model)
        asked = self.model.preprocess(
            firsts,
            prompt=prompts.document if self.symmetric else prompts.query,
            task="document" if self.symmetric else "query",
        )
        given = self.model.preprocess(others, prompt=prompts.document, task="document")
        return {
            "label": targets,
            **{f"query_{name}": value for name, value in asked.items()},
            **{f"passage_{name}": value for name, value in given.items()},
        }

    def _features(self, rows: list[dict[str, Any]], lists: ListBatch) -> Tensor:
        """The teacher's features of the lists (batch, list, dimension), 0 in padding."""
        assert self.features is not None  # noqa: S101 - only then it is called
        found = torch.zeros(*lists.lists.shape, self.features.shape[1], dtype=torch.float16)
        for at, row in enumerate(rows):
            count = 1 + row["hard"]
            found[at, :count] = torch.from_numpy(np.array(self.features[row["start"] : row["start"] + count]))
        return found
