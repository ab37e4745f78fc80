"""Losses: what the student is asked to learn from a teacher's lists, one family a file.

Convention: `student` logits, `teacher` scores and `mask` are (batch, list); the mask is True for a real
entry; where a loss needs a positive it is column 0. Each loss gives a scalar in float32 (float64 for
double input), also from half precision. Rows with fewer than two real entries contribute nothing, and nothing
becomes NaN.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from limbeck.losses.contrastive import distinct_candidates, in_batch_contrastive, in_batch_cross_entropy
from limbeck.losses.d2llm import (
    D2LLMLoss,
    D2LLMLossValue,
    InBatchCandidates,
    PairFeatureBatch,
    contrastive_imitation,
    feature_imitation,
    hard_easy_rank_imitation,
    rank_imitation,
)
from limbeck.losses.listwise import kl_divergence, lambda_loss, list_mle, list_net
from limbeck.losses.pairwise import distilled_rank_net, margin_mse, positive_margin, rank_net


class ListLoss(Protocol):
    """A loss on the teacher's list that takes teacher scores of any scale."""

    def __call__(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """A scalar from three tensors of shape (batch, list)."""


LIST_LOSSES: dict[str, ListLoss] = {
    "distilled_rank_net": distilled_rank_net,
    "kl_divergence": kl_divergence,
    "lambda_loss": lambda_loss,
    "list_mle": list_mle,
    "list_net": list_net,
    "margin_mse": margin_mse,
    "positive_margin": positive_margin,
    "rank_imitation": rank_imitation,
    "rank_net": rank_net,
}
"""The names by which a recipe asks for a loss."""

__all__ = [
    "LIST_LOSSES",
    "D2LLMLoss",
    "D2LLMLossValue",
    "InBatchCandidates",
    "ListLoss",
    "PairFeatureBatch",
    "contrastive_imitation",
    "distilled_rank_net",
    "distinct_candidates",
    "feature_imitation",
    "hard_easy_rank_imitation",
    "in_batch_contrastive",
    "in_batch_cross_entropy",
    "kl_divergence",
    "lambda_loss",
    "list_mle",
    "list_net",
    "margin_mse",
    "positive_margin",
    "rank_imitation",
    "rank_net",
]
