"""The losses of D2LLM (arXiv 2406.17262): the interaction module imitates an LLM's yes/no judgement.

Shapes: a list is (batch, list) with the positive in column 0 and hard negatives after it; `mask` is True for
a real entry. Teacher probabilities are `softmax(z_T)_yes`, between 0 and 1. A row without anything to compare
contributes nothing; the others are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses._lists import masked, mean_over, positive_temperature, prepared, widened, without_padding
from limbeck.losses.contrastive import in_batch_cross_entropy

# Under the square root of the student's variance: a student whose logits are all equal gets the loss 1 and a
# finite gradient. Logits spread far more than the thousandth that this stands for.
_VARIANCE_FLOOR = 1e-6
# Likewise under the square root of a feature's squared length, which is near 1 and not near a ten-thousandth.
_NORM_FLOOR = 1e-8


def contrastive_imitation(
    student: Tensor, teacher_probabilities: Tensor, mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """Positive against hard negatives, where a negative that the teacher likes pushes less.

    `-log( e^{s_T(+)·z(+)/τ} / Σ_k e^{u_k·z_k/τ} )`, with `u = s_T` for the positive and `1 - s_T` for the
    negatives.

    Source: D2LLM, arXiv 2406.17262, the contrastive imitation loss.

    Args:
        student: logits (batch, list), column 0 the positive.
        teacher_probabilities: (batch, list), in 0..1.
        mask: True for a real entry (batch, list).
        temperature: τ, divides the logits.
    """
    student, teacher, mask = prepared(student, teacher_probabilities, mask)
    weights = torch.cat([teacher[:, :1], 1 - teacher[:, 1:]], dim=1)
    scaled = student * weights / positive_temperature(temperature)
    loss = without_padding(scaled, mask).logsumexp(1) - scaled[:, 0]
    return mean_over(loss, mask[:, 0] & (mask.sum(1) >= 2))


def rank_imitation(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """`1 - Pearson(z, s_T)` over each list: the student is to be a straight line of the teacher.

    A list that the teacher scores all equal has no correlation and contributes nothing.

    Source: D2LLM, arXiv 2406.17262, the rank imitation loss over positive and hard negatives.

    Example:
        >>> student, everything = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, 3, dtype=torch.bool)
        >>> round(float(rank_imitation(student, 10 * student - 7, everything)), 4)
        0.0
    """
    student, teacher, mask = prepared(student, teacher, mask)
    low = teacher.masked_fill(~mask, torch.inf).amin(1)
    high = teacher.masked_fill(~mask, -torch.inf).amax(1)
    student_spread = _centred(student, mask)
    teacher_spread = _centred(teacher, mask)
    # Divided by its largest deviation first: the squares of scores that differ by 1e-30 would vanish.
    largest = teacher_spread.abs().amax(1, keepdim=True).clamp(min=torch.finfo(teacher.dtype).tiny)
    teacher_unit = functional.normalize(teacher_spread / largest, dim=1)
    length = (student_spread.square().sum(1) + _VARIANCE_FLOOR).sqrt()
    correlation = (student_spread * teacher_unit).sum(1) / length
    return mean_over(1 - correlation, (mask.sum(1) >= 2) & (high > low))


def hard_easy_rank_imitation(
    student_hard: Tensor,
    student_easy: Tensor,
    *,
    teacher_hard: Tensor,
    teacher_easy: Tensor,
    mask_hard: Tensor,
    mask_easy: Tensor,
) -> Tensor:
    """Hard negatives above in-batch ones, as far as the teacher says: `-log σ(z_j-z_k)·max(0, s_j-s_k)`.

    Averaged over the real pairs of a row, then over the rows that have one.

    Source: D2LLM, arXiv 2406.17262, the rank imitation loss between hard and easy negatives.

    Args:
        student_hard: logits of the hard negatives (batch, hard).
        student_easy: logits of the in-batch negatives (batch, easy).
        teacher_hard: teacher probabilities (batch, hard).
        teacher_easy: teacher probabilities (batch, easy).
        mask_hard: True for a real hard negative (batch, hard).
        mask_easy: True for an in-batch negative that counts and has a teacher score (batch, easy).
    """
    student_hard, teacher_hard, mask_hard = prepared(student_hard, teacher_hard, mask_hard)
    student_easy, teacher_easy, mask_easy = prepared(student_easy, teacher_easy, mask_easy)
    pairs = mask_hard.unsqueeze(2) & mask_easy.unsqueeze(1)
    weights = (teacher_hard.unsqueeze(2) - teacher_easy.unsqueeze(1)).clamp(min=0)
    loss = functional.softplus(student_easy.unsqueeze(1) - student_hard.unsqueeze(2))
    per_row = mean_over(weights * loss, pairs, dim=(1, 2))
    return mean_over(per_row, mask_hard.any(1) & mask_easy.any(1))


def feature_imitation(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """`‖R_T - R_S‖²_F / K²`: pairs that are alike to the teacher are to be alike to the student.

    `R` is the matrix of the cosines between the features of a query's pairs, those with its positive and its
    `K` hard negatives. So the two may differ in width. A row without hard negatives contributes nothing.

    Source: D2LLM, arXiv 2406.17262, the feature imitation loss.

    Args:
        student: the student's features (batch, list, student's dimension).
        teacher: the teacher's features (batch, list, teacher's dimension); no gradient goes to them.
        mask: True for a real entry (batch, list), column 0 the positive.

    Raises:
        InputError: the shapes do not fit each other.

    Example:
        >>> student, teacher = torch.eye(2).unsqueeze(0), torch.ones(1, 2, 5)
        >>> float(feature_imitation(student, teacher, torch.ones(1, 2, dtype=torch.bool)))  # 2 · (1 - 0)²
        2.0
    """
    if student.ndim != 3 or teacher.ndim != 3 or not student.shape[:2] == teacher.shape[:2] == mask.shape:
        raise InputError(
            f"the features of student and teacher have shapes {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}, and the mask {tuple(mask.shape)}",
            expected="(batch, list, dimension) twice, and (batch, list)",
        )
    pairs = mask.unsqueeze(2) & mask.unsqueeze(1)
    apart = _cosines(teacher.detach(), mask).to(widened(student).dtype) - _cosines(student, mask)
    total = apart.masked_fill(~pairs, 0.0).square().sum((1, 2))
    negatives = mask.sum(1) - 1
    return mean_over(total / negatives.clamp(min=1).square(), mask[:, 0] & (negatives >= 1))


@dataclass(frozen=True, slots=True)
class PairFeatureBatch:
    """The features of a batch of lists.

    Attributes:
        student: (batch, list, student's dimension).
        teacher: (batch, list, teacher's dimension).
    """

    student: Tensor
    teacher: Tensor


@dataclass(frozen=True, slots=True)
class InBatchCandidates:
    """The passages of a whole batch as each query sees them.

    Attributes:
        logits: the student's (batch, candidates).
        target: the column of each row's positive (batch,).
        mask: True for a candidate that counts (batch, candidates); False for copies of the positive and for
            the row's own hard negatives, which the list losses treat.
        teacher: teacher probabilities (batch, candidates), or None where the teacher saw the lists only.
        teacher_mask: True where `teacher` is known; None: wherever `mask` is.
    """

    logits: Tensor
    target: Tensor
    mask: Tensor
    teacher: Tensor | None = None
    teacher_mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class D2LLMLossValue:
    """What `D2LLMLoss` gives.

    Attributes:
        total: the weighted sum.
        parts: each loss that took part, unweighted, by name; their gradient is kept.
    """

    total: Tensor
    parts: dict[str, Tensor]


class D2LLMLoss(nn.Module):
    """The weighted sum of D2LLM's losses, with the weights of its published code.

    A part with weight 0 is not computed; a recipe leaves a loss out so. The published code calls the weights
    alpha (contrastive), beta (rank), gamma (hard against easy) and eta (feature: 0.001; here it is 0 by
    default, for not every teacher has features), and gives the in-batch loss 1; it divides sums by batch size
    and list length where this takes means, so its effective in-batch weight was 1/batch.

    Source: D2LLM, arXiv 2406.17262.

    Args:
        contrastive_weight: of `contrastive_imitation`.
        rank_weight: of `rank_imitation`.
        hard_easy_weight: of `hard_easy_rank_imitation`; takes part when in-batch teacher scores are given.
        in_batch_weight: of `in_batch_cross_entropy`; takes part when in-batch candidates are given.
        feature_weight: of `feature_imitation`; takes part when features are given.
        temperature: τ of the contrastive imitation.
        in_batch_temperature: τ of the in-batch cross-entropy.

    Example:
        >>> loss = D2LLMLoss()
        >>> value = loss(torch.zeros(1, 2), torch.tensor([[0.9, 0.1]]), torch.ones(1, 2, dtype=torch.bool))
        >>> {name: round(float(part), 4) for name, part in value.parts.items()}
        {'contrastive_imitation': 0.6931, 'rank_imitation': 1.0}
    """

    def __init__(
        self,
        *,
        contrastive_weight: float = 1.0,
        rank_weight: float = 1.0,
        hard_easy_weight: float = 0.01,
        in_batch_weight: float = 1.0,
        feature_weight: float = 0.0,
        temperature: float = 1.0,
        in_batch_temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.contrastive_weight = contrastive_weight
        self.rank_weight = rank_weight
        self.hard_easy_weight = hard_easy_weight
        self.in_batch_weight = in_batch_weight
        self.feature_weight = feature_weight
        self.temperature = positive_temperature(temperature)
        self.in_batch_temperature = positive_temperature(in_batch_temperature)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each part, by the part's name."""
        return {
            "contrastive_imitation": self.contrastive_weight,
            "rank_imitation": self.rank_weight,
            "in_batch_cross_entropy": self.in_batch_weight,
            "hard_easy_rank_imitation": self.hard_easy_weight,
            "feature_imitation": self.feature_weight,
        }

    def forward(
        self,
        student: Tensor,
        teacher_probabilities: Tensor,
        mask: Tensor,
        in_batch: InBatchCandidates | None = None,
        features: PairFeatureBatch | None = None,
    ) -> D2LLMLossValue:
        """The loss of a batch of lists (batch, list), its in-batch candidates and features where given."""
        # Zero times the logits: backward works in the degenerate case that every part is left out.
        total = masked(student, mask).sum() * 0
        parts: dict[str, Tensor] = {}
        if self.contrastive_weight:
            part = contrastive_imitation(student, teacher_probabilities, mask, self.temperature)
            parts["contrastive_imitation"], total = part, total + self.contrastive_weight * part
        if self.rank_weight:
            part = rank_imitation(student, teacher_probabilities, mask)
            parts["rank_imitation"], total = part, total + self.rank_weight * part
        if in_batch is not None and self.in_batch_weight:
            part = in_batch_cross_entropy(
                in_batch.logits, in_batch.target, in_batch.mask, self.in_batch_temperature
            )
            parts["in_batch_cross_entropy"], total = part, total + self.in_batch_weight * part
        if in_batch is not None and in_batch.teacher is not None and self.hard_easy_weight:
            part = hard_easy_rank_imitation(
                student[:, 1:],
                in_batch.logits,
                teacher_hard=teacher_probabilities[:, 1:],
                teacher_easy=in_batch.teacher,
                mask_hard=mask[:, 1:],
                mask_easy=_easy_mask(in_batch),
            )
            parts["hard_easy_rank_imitation"], total = part, total + self.hard_easy_weight * part
        if features is not None and self.feature_weight:
            part = feature_imitation(features.student, features.teacher, mask)
            parts["feature_imitation"], total = part, total + self.feature_weight * part
        return D2LLMLossValue(total, parts)


def _cosines(features: Tensor, mask: Tensor) -> Tensor:
    """Cosines between the features of each list: (batch, list, dimension) to (batch, list, list)."""
    features = widened(features).masked_fill(~mask.unsqueeze(2), 0.0)
    # Features behind a ReLU may be all zero; so they have the cosine 0 to others, and a finite gradient.
    units = features / (features.square().sum(2, keepdim=True) + _NORM_FLOOR).sqrt()
    return units @ units.transpose(1, 2)


def _centred(values: Tensor, mask: Tensor) -> Tensor:
    """Values less the mean of their row's real entries, 0 at the padding: (batch, list)."""
    return (values - mean_over(values, mask, dim=1).unsqueeze(1)).masked_fill(~mask, 0.0)


def _easy_mask(in_batch: InBatchCandidates) -> Tensor:
    """The candidates that are in-batch negatives with a teacher score: (batch, candidates)."""
    known = in_batch.mask if in_batch.teacher_mask is None else in_batch.mask & in_batch.teacher_mask
    return known.scatter(1, in_batch.target.unsqueeze(1), value=False)
