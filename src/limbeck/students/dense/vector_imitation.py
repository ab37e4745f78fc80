"""An encoder learns to give texts the vectors that a larger one gives them, before it learns any ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import TrainerCallback

from limbeck.batching import default_tokens
from limbeck.errors import InputError
from limbeck.students.dense.backbone import training_prompts
from limbeck.students.dense.objective import embedded
from limbeck.students.dense.training import TrainingSettings, train_model
from limbeck.trainers import TrainingOutcome


@dataclass(frozen=True)
class VectorGoals:
    """Texts and the vectors that an encoder is to give them.

    Attributes:
        texts: the texts.
        vectors: what is wanted of them (texts, dimensions), rows of length 1.
        query: whether they are encoded as queries, rather than as passages.
    """

    texts: Sequence[str]
    vectors: NDArray[np.float32]
    query: bool = False


class VectorLoss(nn.Module):
    """One minus the cosine of each text's vector and its goal, the mean of a batch.

    For vectors of length 1 it is half their squared distance.

    Source: Reimers and Gurevych 2020, arXiv 2004.09813, equation 1, of one language.

    Args:
        model: the encoder that learns.
        goals: what its vectors are to be (texts, dimensions), rows of length 1.
    """

    def __init__(self, model: SentenceTransformer, goals: NDArray[np.float32]) -> None:
        super().__init__()
        self.model = model
        self.goals = goals
        self.tokens = default_tokens(model.device)

    def forward(self, sentence_features: list[dict[str, Any]], labels: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            sentence_features: the model's inputs (texts, tokens), of one column of texts.
            labels: the row of each text's goal (texts,).
        """
        vectors = nn.functional.normalize(embedded(self.model, sentence_features[0], self.tokens), dim=-1)
        goals = torch.from_numpy(self.goals[labels.cpu().numpy()]).to(vectors.device)
        return (1 - (vectors * goals).sum(dim=-1)).mean()


def imitate_vectors(
    model: SentenceTransformer,
    goals: Mapping[str, VectorGoals],
    *,
    settings: TrainingSettings,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingOutcome:
    """Teaches an encoder the vectors of another; no label is needed, only texts.

    A backbone that is cut to its first layers hardly has vectors of its own: what it would have to learn from
    scores, a number a pair, it learns here from all numbers of a vector. The model is changed in place, and a
    killed training goes on as `train_student` does.

    Args:
        model: the encoder at its start.
        goals: texts with their vectors, by name; a batch holds texts of one of them.
        settings: how long and how fast, in texts; `head_learning_rate` has no part in it.
        work_dir: for the checkpoints.
        callbacks: of the trainer, for progress.

    Raises:
        InputError: the vectors have another dimension than the model's, there are no texts, or the training
            diverges.

    Example:
        >>> goals = VectorGoals(texts, large.encode(texts, normalize_embeddings=True))
        >>> imitate_vectors(small, {"texts": goals}, settings=TrainingSettings(batch_size=64), work_dir=work)
    """
    dimension = model.get_embedding_dimension()
    for name, one in goals.items():
        if not len(one.texts):
            raise InputError(f"{name}: there are no texts whose vectors could be imitated")
        if one.vectors.shape[1] != dimension:
            raise InputError(
                f"{name}: the teacher's bi-encoder has vectors of {one.vectors.shape[1]} dimensions, "
                f"the student's backbone of {dimension}",
                expected="one dimension",
                remedy="name a bi-encoder as wide as the backbone, or leave out student.vector_imitation",
            )
    return train_model(
        model,
        DatasetDict(
            {
                name: Dataset.from_dict({"text": list(one.texts), "label": list(range(len(one.texts)))})
                for name, one in goals.items()
            }
        ),
        {name: VectorLoss(model, one.vectors) for name, one in goals.items()},
        settings,
        work_dir,
        collator=_TextCollator(model, {name: one.query for name, one in goals.items()}),
        callbacks=callbacks,
    )


@dataclass
class _TextCollator:
    """The model's inputs of a batch of texts, of a set of queries or of passages."""

    model: SentenceTransformer
    queries: Mapping[str, bool]
    valid_label_columns: list[str] = field(default_factory=lambda: ["label"])

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        name = features[0]["dataset_name"]
        query, prompts = self.queries[name], training_prompts(self.model)
        inputs = self.model.preprocess(
            [row["text"] for row in features],
            prompt=prompts.query if query else prompts.document,
            task="query" if query else "document",
        )
        return {
            "dataset_name": name,
            "label": torch.tensor([row["label"] for row in features]),
            **{f"text_{key}": value for key, value in inputs.items()},
        }
