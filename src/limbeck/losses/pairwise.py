"""Losses on pairs of a list: the student is asked for differences, not for values.

Shapes: `student` logits, `teacher` scores and `mask` (True for a real entry) are (batch, list). Each loss is
averaged over the pairs of a row, then over the rows that have a pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from limbeck.losses._lists import mean_over, prepared

if TYPE_CHECKING:
    from torch import Tensor


# A student whose scores are all equal gets a finite gradient; real scores vary by far more.
_VARIANCE_FLOOR = 1e-6
#: The scale-free margin between neighbours, in standard deviations of the student's scores in a list. Evenly
#: spaced entries of lists of up to eight stand that far apart or farther, so the margins can be met.
RELATIVE_MARGIN = 0.4


def ordered_pairs(teacher: Tensor, mask: Tensor) -> Tensor:
    """Which entry i should stand before which entry j: (batch, list i, list j), boolean.

    Entries that the teacher ties are in neither order.
    """
    above = teacher.unsqueeze(2) > teacher.unsqueeze(1)
    return above & mask.unsqueeze(2) & mask.unsqueeze(1)


def margin_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """The student's margin between positive and negative is to be the teacher's: `((z₊-z₋)-(t₊-t₋))²`.

    Column 0 is the positive, each other real entry a negative. The teacher's scores must be in the unit
    that the student is to learn (for a cross-encoder: its logits). A row without its positive or without a
    negative contributes nothing.

    Source: Hofstätter et al. 2020, arXiv 2010.02666, the Margin-MSE loss.

    Example:
        >>> import torch
        >>> float(margin_mse(torch.tensor([[3.0, 1.0]]), torch.tensor([[9.0, 4.0]]), torch.ones(1, 2).bool()))
        9.0
    """
    student, teacher, mask = prepared(student, teacher, mask)
    student_margin = student[:, :1] - student[:, 1:]
    teacher_margin = teacher[:, :1] - teacher[:, 1:]
    pairs = mask[:, :1] & mask[:, 1:]
    per_row = mean_over((student_margin - teacher_margin).square(), pairs, dim=1)
    return mean_over(per_row, pairs.any(1))


def rank_net(student: Tensor, teacher: Tensor, mask: Tensor, scale: float = 1.0) -> Tensor:
    """Logistic loss for each pair in the teacher's order: `log(1 + e^{-scale·(z_i - z_j)})` for t_i > t_j.

    Pairs that the teacher ties teach nothing.

    Source: Burges et al. 2005, "Learning to rank using gradient descent", equation 3 with certain targets.

    Args:
        student: logits (batch, list).
        teacher: scores (batch, list), of which only the order counts.
        mask: True for a real entry (batch, list).
        scale: how steep the sigmoid is.
    """
    student, teacher, mask = prepared(student, teacher, mask)
    pairs = ordered_pairs(teacher, mask)
    difference = student.unsqueeze(2) - student.unsqueeze(1)
    per_row = mean_over(functional.softplus(-scale * difference), pairs, dim=(1, 2))
    return mean_over(per_row, pairs.any(2).any(1))


def positive_margin(student: Tensor, teacher: Tensor, mask: Tensor, margin: float | None = None) -> Tensor:
    """The positive is to stand a margin above each negative: `max(0, s_j - s_0 + m)`, mean over all pairs.

    Source: Li et al. 2023, arXiv 2306.15222 (LTRGR), the margin rank loss; published with m = 300 on squared
    identifier scores. The teacher's scores are not looked at: the judgements alone say what is positive.

    Args:
        student: scores (batch, list), column 0 the positive.
        teacher: any values (batch, list).
        mask: True for a real entry (batch, list).
        margin: m, in the unit of the scores; None divides the scores of a list by their standard deviation
            and takes `RELATIVE_MARGIN`.

    Example:
        >>> import torch
        >>> scores, everything = torch.tensor([[9.0, 8.0, 2.0]]), torch.ones(1, 3, dtype=torch.bool)
        >>> float(positive_margin(scores, scores, everything, margin=3.0))  # (2 + 0) / 2
        1.0
    """
    student, _, mask = prepared(student, teacher, mask)
    if margin is None:
        student, margin = _standardised(student, mask), RELATIVE_MARGIN
    pairs = mask[:, :1] & mask[:, 1:]
    loss = (student[:, 1:] - student[:, :1] + margin).clamp(min=0)
    return mean_over(mean_over(loss, pairs, dim=1), pairs.any(1))


def distilled_rank_net(  # noqa: PLR0917  # the constants of the paper, in its order
    student: Tensor,
    teacher: Tensor,
    mask: Tensor,
    margin: float | None = None,
    distance_margin: float | None = None,
    first_weight: float = 3.0,
) -> Tensor:
    """The teacher's order with margins that grow with the distance in its list.

    With `r` a passage's place in the teacher's list (0 best), over all pairs `r_i < r_j`:
    `w_i * max(0, s_j - s_i + m + n * (r_j - r_i - 1))`, where `w_0 = first_weight` and `w_i = 1 / (r_i + 1)`
    below; the mean over the terms of a row that are not zero, then over the rows that have one. Entries that
    the teacher ties share the better place and teach nothing against each other.

    Published: m = 300, n = 100, in units of the squared identifier scores. The default has no unit: the
    scores of a list are divided by their standard deviation, and m and n are `RELATIVE_MARGIN` and a third of
    it.

    Source: DGR, arXiv 2402.10769, the distilled RankNet loss.

    Args:
        student: scores (batch, list).
        teacher: scores (batch, list), of which only the order counts.
        mask: True for a real entry (batch, list).
        margin: m, in the unit of the student's scores; None takes the default without unit.
        distance_margin: n, in the same unit; None takes a third of m.
        first_weight: of the teacher's best passage.

    Example:
        >>> import torch
        >>> scores, everything = torch.tensor([[5.0, 6.0]]), torch.ones(1, 2, dtype=torch.bool)
        >>> float(distilled_rank_net(scores, -scores, everything, margin=2.0))  # 3 * (6 - 5 + 2)
        9.0
    """
    student, teacher, mask = prepared(student, teacher, mask)
    if margin is None:
        student, margin = _standardised(student, mask), RELATIVE_MARGIN
    step = margin / 3 if distance_margin is None else distance_margin
    pairs = ordered_pairs(teacher, mask)
    places = pairs.sum(1).to(student.dtype)  # of each entry: how many the teacher puts above it
    weights = 1 / (places + 1)
    weights = weights.masked_fill(places == 0, first_weight)
    distance = places.unsqueeze(1) - places.unsqueeze(2)
    behind = student.unsqueeze(1) - student.unsqueeze(2)
    terms = weights.unsqueeze(2) * (behind + margin + step * (distance - 1)).clamp(min=0)
    counting = pairs & (terms > 0)
    return mean_over(mean_over(terms, counting, dim=(1, 2)), pairs.any(2).any(1))


def _standardised(student: Tensor, mask: Tensor) -> Tensor:
    """The scores (batch, list) of each list over their standard deviation."""
    centred = student - mean_over(student, mask, dim=1).unsqueeze(1)
    variance = mean_over(centred.square(), mask, dim=1).unsqueeze(1)
    return student / (variance + _VARIANCE_FLOOR).sqrt()
