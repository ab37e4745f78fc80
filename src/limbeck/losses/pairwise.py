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
