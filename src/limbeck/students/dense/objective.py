"""What a dense student minimises: losses on the logits of its lists, for which each text is encoded once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from limbeck.batching import default_tokens, narrowed
from limbeck.errors import InputError
from limbeck.losses import D2LLMLoss, InBatchCandidates, ListLoss, PairFeatureBatch, in_batch_cross_entropy
from limbeck.students.dense.interaction import PairScoring
from limbeck.students.dense.lists import ListBatch


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """A student's logits of a batch beside the targets.

    Attributes:
        lists: logits of each row's list (batch, list).
        pool: logits of each query with every passage of the batch (batch, pool); zeros where the objective
            does not read them.
        targets: what the collator made of the batch's lists.
        features: of each row's list (batch, list, features); None where the logits come from none.
    """

    lists: Tensor
    pool: Tensor
    targets: ListBatch
    features: Tensor | None = None

    @property
    def positive(self) -> Tensor:
        """Columns of the positives in the pool (batch,)."""
        return self.targets.lists[:, 0]


class Objective(Protocol):
    """A loss on a scored batch, in named parts that the trainer adds up and logs one by one."""

    def reads_pool(self, targets: ListBatch) -> bool:
        """Whether passages outside a query's own list have a part in the loss of this batch."""

    def __call__(self, batch: ScoredBatch) -> dict[str, Tensor]:
        """The weighted parts, each a scalar with its gradient; their sum is minimised."""


@dataclass(frozen=True)
class D2LLMObjective:
    """The losses of D2LLM on the lists and on the passages of the batch.

    The losses take the teacher's probabilities, so its scores go through a sigmoid first.

    Source: D2LLM, arXiv 2406.17262, the imitation losses.

    Args:
        loss: the weighted losses.
        teacher_scale: what the teacher's scores are multiplied by before the sigmoid.
        teacher_bias: what is added to them then; scale and bias calibrate the teacher.

    Raises:
        InputError: every weight is zero.
    """

    loss: D2LLMLoss
    teacher_scale: float = 1.0
    teacher_bias: float = 0.0

    def __post_init__(self) -> None:
        if not any(self.loss.weights.values()):
            raise InputError("every loss of the student has the weight 0", remedy="weight one of them")

    def reads_pool(self, targets: ListBatch) -> bool:
        """See `Objective`."""
        weights = self.loss.weights
        return any(weights[name] for name in ("in_batch_cross_entropy", "hard_easy_rank_imitation"))

    def __call__(self, batch: ScoredBatch) -> dict[str, Tensor]:
        """A part for each loss of D2LLM that has a weight."""
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
            None
            if batch.features is None or not targets.teacher_features.shape[2]
            else PairFeatureBatch(batch.features, targets.teacher_features),
        )
        return {f"{name}_loss": self.loss.weights[name] * part for name, part in value.parts.items()}

    def _probability(self, scores: Tensor) -> Tensor:
        return torch.sigmoid(self.teacher_scale * scores + self.teacher_bias)


@dataclass(frozen=True)
class ListObjective:
    """A loss on rank lists, and the in-batch cross-entropy.

    The list loss sees only passages that the teacher scored; the cross-entropy tells the positive from
    the rest of the corpus, of which the batch is a sample.

    Args:
        name: of the list loss, for the log.
        list_loss: on logits and teacher scores (batch, list).
        weight: of the list loss.
        in_batch_weight: of the cross-entropy of the positive among the passages of the batch; 0 leaves
            it out.
        teacher_scale: what the teacher's scores are multiplied by; `spread_ratio` brings them to the
            student's unit.
    """

    name: str
    list_loss: ListLoss
    weight: float = 1.0
    in_batch_weight: float = 1.0
    teacher_scale: float = 1.0

    def reads_pool(self, targets: ListBatch) -> bool:
        """See `Objective`."""
        return bool(self.in_batch_weight) or bool(targets.pool_teacher_mask.any())

    def __call__(self, batch: ScoredBatch) -> dict[str, Tensor]:
        """The list loss and, if it has a weight, the cross-entropy."""
        targets = batch.targets
        # To a list loss, the row's easy negatives are entries like the others.
        student = torch.cat([batch.lists, batch.pool], dim=1)
        teacher = torch.cat([targets.teacher, targets.pool_teacher], dim=1)
        mask = torch.cat([targets.mask, targets.pool_teacher_mask], dim=1)
        value = self.list_loss(student, self.teacher_scale * teacher, mask)
        parts = {f"{self.name}_loss": self.weight * value}
        if self.in_batch_weight:
            entropy = in_batch_cross_entropy(batch.pool, batch.positive, targets.candidates)
            parts["in_batch_loss"] = self.in_batch_weight * entropy
        return parts


class StudentLoss(nn.Module):
    """The objective as a loss of the library's trainer.

    The objective can be applied to the cosine part alone as well. The first stage of a two-stage search
    ranks by that part, and nothing else would keep its recall up while the interaction module learns.

    Args:
        model: the student; its last module is the interaction.
        objective: what is minimised.
        task: branch of the interaction, `"symmetric"` or `"asymmetric"`.
        cosine_weight: of the objective on the cosine part; 0 leaves it out. Without effect on a student
            that has no cosine part (`start="random"`), or nothing else.
        tokens: of a forward pass, padding included; texts of like length go together, so that little is; None
            takes what suits the model's device.
        name: put before the names of the parts, to tell several losses apart in the log.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        objective: Objective,
        *,
        task: str = "asymmetric",
        cosine_weight: float = 0.0,
        tokens: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.task = task
        self.cosine_weight = cosine_weight
        self.tokens = tokens or default_tokens(model.device)
        self.name = name

    def forward(self, sentence_features: list[dict[str, Any]], labels: ListBatch) -> dict[str, Tensor]:
        """The weighted parts of the loss, by name; those on the cosine part begin with `cosine_`.

        Args:
            sentence_features: the model's inputs (texts, tokens) for the queries, then for the pool.
            labels: the targets.
        """
        queries, pool = (embedded(self.model, texts, self.tokens) for texts in sentence_features[:2])
        # Not in half precision: a list loss learns from differences of logits that bfloat16 would round away.
        with torch.autocast(queries.device.type, enabled=False):
            parts = self._parts(queries, pool, labels)
        if dist.is_available() and dist.is_initialized():
            # Data-parallel training waits for a gradient of every parameter. The other task's branch has
            # none, and the interaction is used outside of the forward pass where unused ones are looked for.
            name, part = next(iter(parts.items()))
            parts[name] = part + 0 * sum(w.sum() for w in self.model.parameters() if w.requires_grad)
        return {f"{self.name}{part}": value for part, value in parts.items()}

    def _parts(self, queries: Tensor, pool: Tensor, labels: ListBatch) -> dict[str, Tensor]:
        interaction = self._interaction()
        # Every query with all passages, where the objective reads them; otherwise with its own list alone.
        whole = self.objective.reads_pool(labels)
        passages = pool.unsqueeze(0) if whole else pool[labels.lists]
        logits, features = interaction.score(queries, passages, self.task)
        if whole:
            features = features[torch.arange(len(queries), device=logits.device)[:, None], labels.lists]
        parts = self.objective(_scored(logits, labels, features, whole=whole))
        if self.cosine_weight and interaction.adds_to_cosine:
            cosine = interaction.cosine_part(queries, passages)
            apart = self.objective(_scored(cosine, labels, whole=whole))
            parts |= {f"cosine_{name}": self.cosine_weight * part for name, part in apart.items()}
        return parts

    def _interaction(self) -> PairScoring:
        # Distributed and compiled models wrap the one that has the modules.
        inner: Any = self.model
        while hasattr(inner, "module") and not isinstance(inner, SentenceTransformer):
            inner = inner.module
        last = inner[-1]
        assert isinstance(last, PairScoring)  # noqa: S101 - `DenseStudent` checked it
        return last


def _scored(
    logits: Tensor, targets: ListBatch, features: Tensor | None = None, *, whole: bool
) -> ScoredBatch:
    """A batch from each query's logits of all passages (`whole`), or of its own list alone."""
    if whole:
        return ScoredBatch(logits.gather(1, targets.lists), logits, targets, features)
    return ScoredBatch(logits, torch.zeros_like(targets.pool_teacher), targets, features)


def embedded(model: nn.Module, features: Mapping[str, Any], tokens: int) -> Tensor:
    """A model's embeddings of tokenised texts (texts, dimension) in float32, in parts of like length.

    Args:
        model: the encoder, or what wraps it in distributed training.
        features: its inputs (texts, width).
        tokens: the most of a part, padding included.
    """
    positions, vectors = [], []
    for rows, part in narrowed(features, tokens):
        positions.append(torch.from_numpy(rows))
        vectors.append(model(part)["sentence_embedding"].float())
    return torch.cat(vectors)[torch.cat(positions).argsort()]
