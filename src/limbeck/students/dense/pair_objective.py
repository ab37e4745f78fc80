"""What a dense student minimises on pairs: their labels, the teacher's scores, and orders of both."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from limbeck.errors import InputError
from limbeck.losses import (
    contrastive_imitation,
    feature_imitation,
    hard_easy_rank_imitation,
    in_batch_cross_entropy,
    rank_imitation,
)
from limbeck.students.dense.lists import ListBatch
from limbeck.students.dense.objective import ScoredBatch
from limbeck.students.dense.pair_lists import PairBatch


@dataclass(frozen=True, kw_only=True)
class PairWeights:
    """Weights of the parts of a `PairObjective`; 0 leaves a part out.

    Attributes:
        pointwise: cross-entropy of each scored pair with the teacher's probability.
        labels: cross-entropy of the labelled pairs with their labels.
        batch_rank: `1 - Pearson` of logits and teacher scores over the first pair of each list of the batch,
            the labelled one where there is one.
        rank: `1 - Pearson` of logits and teacher probabilities over each text's own list.
        contrastive: contrastive imitation, of lists whose labelled pair is positive.
        in_batch: cross-entropy of the positive among the texts of the batch, of the same lists.
        hard_easy: order of neighbours and easy texts, drawn at random or of the batch, as the teacher has it.
        feature: feature imitation over each text's own list, on the interaction module's logits alone.
    """

    pointwise: float = 1.0
    labels: float = 0.5
    batch_rank: float = 1.0
    rank: float = 1.0
    contrastive: float = 0.0
    in_batch: float = 0.0
    hard_easy: float = 0.0
    feature: float = 0.0


@dataclass(frozen=True)
class PairObjective:
    """The losses of D2LLM on pairs, and those that labelled pairs make possible.

    The parts with a probability read the student's logit as `scale · z + bias`, constants that are fitted
    before training (`limbeck.teachers.pair_ensemble.calibration`) so that the student starts in the teacher's
    unit. Otherwise its first epochs would go into moving all logits by the same amount.

    Contrastive imitation and the in-batch cross-entropy need a positive. A list has one where its label, from
    0 to 1, is at least `positive_from`; other lists have no part in the two. A list without a label has
    part in what the teacher says, which is all but these two and `labels`.

    Source: D2LLM, arXiv 2406.17262, the imitation losses; the distillation of teacher probabilities on
    unlabelled pairs is that of Augmented SBERT, arXiv 2010.08240.

    Args:
        weights: of the parts.
        temperature: of the contrastive imitation.
        positive_from: the label, from 0 to 1, from which on a pair is positive.
        scale: of the student's logits, above 0.
        bias: added to them.

    Raises:
        InputError: every weight is 0.
    """

    weights: PairWeights
    temperature: float = 1.0
    positive_from: float = 0.8
    scale: float = 1.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not any(astuple(self.weights)):
            raise InputError("every loss on pairs has the weight 0", remedy="weight one of them")

    def reads_pool(self, targets: ListBatch) -> bool:
        """See `Objective`."""
        drawn = self.weights.pointwise and targets.pool_teacher_mask.any()
        return bool(self.weights.in_batch or self.weights.hard_easy or drawn)

    def __call__(self, batch: ScoredBatch) -> dict[str, Tensor]:
        """A part for each loss that has a weight."""
        assert isinstance(batch.targets, PairBatch)  # noqa: S101 - `PairCollator` makes no others
        lists, pool = self.scale * batch.lists + self.bias, self.scale * batch.pool + self.bias
        parts = self._imitation(lists, pool, batch.targets) | self._positives(lists, pool, batch)
        targets = batch.targets
        if self.weights.feature and batch.features is not None and targets.teacher_features.shape[2]:
            parts["feature"] = feature_imitation(batch.features, targets.teacher_features, targets.mask)
        return {f"{name}_loss": getattr(self.weights, name) * part for name, part in parts.items()}

    def _imitation(self, lists: Tensor, pool: Tensor, targets: PairBatch) -> dict[str, Tensor]:
        """The parts that need no positive."""
        weights, parts = self.weights, {}
        taught, easy = torch.sigmoid(targets.teacher), torch.sigmoid(targets.pool_teacher)
        if weights.pointwise:
            scored = torch.cat([lists[targets.mask], pool[targets.pool_teacher_mask]])
            goal = torch.cat([taught[targets.mask], easy[targets.pool_teacher_mask]])
            parts["pointwise"] = binary_cross_entropy_with_logits(scored, goal)
        if weights.labels:
            # A mean over all lists: the fewer a batch has with labels, the less it learns of them.
            known = (~targets.gold.isnan()).to(lists.dtype)
            parts["labels"] = binary_cross_entropy_with_logits(lists[:, 0], targets.gold.nan_to_num(), known)
        if weights.batch_rank:
            first = lists[:, :1].T
            parts["batch_rank"] = rank_imitation(
                first, targets.teacher[:, :1].T, torch.ones_like(first, dtype=torch.bool)
            )
        if weights.rank:
            parts["rank"] = rank_imitation(lists, taught, targets.mask)
        if weights.hard_easy:
            parts["hard_easy"] = hard_easy_rank_imitation(
                lists[:, 1:],
                pool,
                teacher_hard=taught[:, 1:],
                teacher_easy=easy,
                mask_hard=targets.mask[:, 1:],
                mask_easy=targets.pool_teacher_mask,
            )
        return parts

    def _positives(self, lists: Tensor, pool: Tensor, batch: ScoredBatch) -> dict[str, Tensor]:
        """The parts that take lists with a positive."""
        targets, weights = batch.targets, self.weights
        assert isinstance(targets, PairBatch)  # noqa: S101 - see `__call__`
        positive, parts = targets.gold >= self.positive_from, {}
        # Zero times the logits: backward works where no list of the batch has a positive.
        nothing = lists.sum() * 0
        if weights.contrastive:
            parts["contrastive"] = nothing + (
                contrastive_imitation(
                    lists[positive],
                    torch.sigmoid(targets.teacher)[positive],
                    targets.mask[positive],
                    self.temperature,
                )
                if positive.any()
                else 0
            )
        if weights.in_batch:
            parts["in_batch"] = nothing + (
                in_batch_cross_entropy(pool[positive], batch.positive[positive], targets.candidates[positive])
                if positive.any()
                else 0
            )
        return parts
