"""What a dense student minimises: losses on its lists, computed from one encoding of each text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from limbeck.losses import D2LLMLoss, InBatchCandidates, ListLoss, in_batch_cross_entropy
from limbeck.students.dense.interaction import InteractionModule
from limbeck.students.dense.lists import ListBatch


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """A student's logits of a batch beside the targets.

    Attributes:
        lists: logits of each row's list (batch, list).
        pool: logits of each query with every passage of the batch (batch, pool).
        targets: the batch as collated.
    """

    lists: Tensor
    pool: Tensor
    targets: ListBatch

    @property
    def positive(self) -> Tensor:
        """Columns of the positives in the pool (batch,)."""
        return self.targets.lists[:, 0]


class Objective(Protocol):
    """A loss on a scored batch, in named parts that the trainer adds up and logs."""

    def __call__(self, batch: ScoredBatch) -> dict[str, Tensor]:
        """The weighted parts."""
        ...


@dataclass(frozen=True)
class D2LLMObjective:
    """The losses of D2LLM (arXiv 2406.17262, section 3.3); teacher scores go through a sigmoid first.

    Args:
        loss: the weighted losses.
        teacher_scale: multiplies the teacher's scores before the sigmoid.
        teacher_bias: is added to them; scale and bias are the teacher's calibration.
    """

    loss: D2LLMLoss
    teacher_scale: float = 1.0
    teacher_bias: float = 0.0

    def __call__(self, batch: ScoredBatch) -> dict[str, Tensor]:
        """One part, the total: the loss logs its own parts."""
        targets = batch.targets
        value = self.loss(
            batch.lists,
            self._probability(targets.teacher),
            targets.mask,
            InBatchCandidates(
                logits=batch.pool,
                target=batch.positive,
                mask=targets.candidates,
                teacher=self._probability(targets.pool_teacher),
                teacher_mask=targets.pool_teacher_mask,
            ),
        )
        return {"d2llm": value.total}

    def _probability(self, scores: Tensor) -> Tensor:
        return torch.sigmoid(self.teacher_scale * scores + self.teacher_bias)


@dataclass(frozen=True)
class ListObjective:
    """A loss on rank lists, and the in-batch cross-entropy that keeps the rest of the corpus away.

    Args:
        name: of the list loss, for the log.
        list_loss: on logits and teacher scores (batch, list).
        weight: of the list loss.
        in_batch_weight: of the cross-entropy of the positive among the passages of the batch.
    """

    name: str
    list_loss: ListLoss
    weight: float = 1.0
    in_batch_weight: float = 1.0

    def __call__(self, batch: ScoredBatch) -> dict[str, Tensor]:
        """Two parts; a part of weight zero is left out."""
        targets = batch.targets
        # The list and the row's easy negatives: the teacher's whole opinion of the query.
        student = torch.cat([batch.lists, batch.pool], dim=1)
        teacher = torch.cat([targets.teacher, targets.pool_teacher], dim=1)
        mask = torch.cat([targets.mask, targets.pool_teacher_mask], dim=1)
        parts = {self.name: self.weight * self.list_loss(student, teacher, mask)}
        if self.in_batch_weight:
            ranked = in_batch_cross_entropy(batch.pool, batch.positive, targets.candidates)
            parts["in_batch"] = self.in_batch_weight * ranked
        return parts


class StudentLoss(nn.Module):
    """The objective as a loss of the library's trainer.

    The same objective is applied to the cosine part alone with a weight of its own, because the first
    stage of a two-stage search ranks by it: without, its recall would drift as the module learns.

    Args:
        model: the student; its last module is the interaction.
        objective: what is minimised.
        task: branch of the interaction.
        cosine_weight: of the objective on the cosine part; 0 leaves it out.
        chunk: passages a forward pass; passages of like length go together, so that little is padding.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        objective: Objective,
        *,
        task: str = "asymmetric",
        cosine_weight: float = 0.0,
        chunk: int = 32,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.task = task
        self.cosine_weight = cosine_weight
        self.chunk = chunk

    def forward(self, sentence_features: list[dict[str, Tensor]], labels: ListBatch) -> dict[str, Tensor]:
        """Weighted parts of the loss, by name.

        Args:
            sentence_features: inputs of the queries, then of the pool.
            labels: the targets.
        """
        queries = self._encode(sentence_features[0])
        pool = self._encode(sentence_features[1])
        interaction = self._interaction()
        # Out of autocast: the logits are small and everything that is learnt hangs on their differences.
        with torch.autocast(queries.device.type, enabled=False):
            logits = interaction.score(queries, pool.unsqueeze(0), self.task).logits
            parts = self.objective(ScoredBatch(logits.gather(1, labels.lists), logits, labels))
            if self.cosine_weight and interaction.start == "cosine":
                cosine = interaction.cosine_scale * (queries @ pool.T) + interaction.cosine_bias
                apart = self.objective(ScoredBatch(cosine.gather(1, labels.lists), cosine, labels))
                parts |= {f"{name}_cosine": self.cosine_weight * part for name, part in apart.items()}
        return parts

    def _interaction(self) -> InteractionModule:
        # Distributed and compiled models wrap the one that has the modules.
        inner: Any = self.model
        while hasattr(inner, "module") and not isinstance(inner, SentenceTransformer):
            inner = inner.module
        last = inner[-1]
        assert isinstance(last, InteractionModule)  # noqa: S101 - `DenseStudent` checked it
        return last

    def _encode(self, features: Mapping[str, Tensor]) -> Tensor:
        """Embeddings (texts, dimension) in float32, computed in chunks of like length."""
        lengths = features["attention_mask"].sum(1)
        order = lengths.argsort(descending=True, stable=True)
        vectors = []
        for rows in torch.split(order, self.chunk):
            longest = int(lengths[rows[0]])
            # Beside the tensors, the library passes on what kind of input it is, as a string.
            part = {
                key: _trimmed(value[rows], longest, features) if isinstance(value, Tensor) else value
                for key, value in features.items()
            }
            vectors.append(self.model(part)["sentence_embedding"].float())
        return torch.cat(vectors)[order.argsort()]


def _trimmed(values: Tensor, longest: int, features: Mapping[str, Tensor]) -> Tensor:
    """Drops the columns that are padding in every row, on whichever side they stand."""
    mask = features["attention_mask"]
    if values.dim() < 2 or values.shape[1] != mask.shape[1]:
        return values
    left_padded = bool((mask[:, -1] > 0).all()) and not bool((mask[:, 0] > 0).all())
    return values[:, -longest:] if left_padded else values[:, :longest]
