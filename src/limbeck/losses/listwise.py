"""Losses on whole lists: the student is to order, or to weigh, a list of passages as the teacher does.

Shapes: `student` logits, `teacher` scores and `mask` (True for a real entry) are (batch, list). A row with
fewer than two real entries contributes nothing; the others are averaged.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses._lists import mean_over, positive_temperature, prepared, without_padding
from limbeck.losses.pairwise import ordered_pairs


def kl_divergence(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor,
    student_temperature: float = 1.0,
    teacher_temperature: float = 1.0,
) -> Tensor:
    """`KL(softmax(t/τ_T) ‖ softmax(z/τ_S))` over each list: 0 where the student weighs as the teacher does.

    Source: Hinton et al. 2015, arXiv 1503.02531, section 2 (without its factor τ², which the learning rate
    or the weight of the loss takes up).

    Args:
        student: logits (batch, list).
        teacher: scores (batch, list), of any scale.
        mask: True for a real entry (batch, list).
        student_temperature: divides the student's logits; small for cosines (0.05), 1 for logits.
        teacher_temperature: divides the teacher's scores; the larger, the more of the list counts.
    """
    student, teacher, mask = prepared(student, teacher, mask)
    student_log = _log_softmax(student / positive_temperature(student_temperature), mask)
    teacher_log = _log_softmax(teacher / positive_temperature(teacher_temperature), mask)
    terms = teacher_log.exp() * (teacher_log - student_log)
    return mean_over(terms.masked_fill(~mask, 0.0).sum(1), mask.sum(1) >= 2)


def list_net(student: Tensor, teacher: Tensor, mask: Tensor, teacher_temperature: float = 1.0) -> Tensor:
    """Cross-entropy of the two top-one distributions, `-Σ softmax(t/τ)_i · log softmax(z)_i`.

    Source: Cao et al. 2007, "Learning to rank: from pairwise approach to listwise approach", with the
    top-one probabilities.
    It differs from `kl_divergence` by the teacher's entropy, so that their gradients are equal.
    """
    student, teacher, mask = prepared(student, teacher, mask)
    target = _log_softmax(teacher / positive_temperature(teacher_temperature), mask).exp()
    terms = -target * _log_softmax(student, mask)
    return mean_over(terms.masked_fill(~mask, 0.0).sum(1), mask.sum(1) >= 2)


def list_mle(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Negative log-likelihood of the teacher's order when places are drawn by the student's softmax.

    `-Σ_i log( e^{z_i} / Σ_{j at or below i} e^{z_j} )`, summed over the list. Entries that the teacher ties
    each compete with the whole tie and all below it (Breslow's treatment of ties), which keeps the loss
    independent of the order in which tied entries happen to stand.

    Source: Xia et al. 2008, "Listwise approach to learning to rank", the likelihood loss.
    """
    student, teacher, mask = prepared(student, teacher, mask)
    competes = (teacher.unsqueeze(1) <= teacher.unsqueeze(2)) & mask.unsqueeze(
        1
    )  # (batch, place, competitor)
    remaining = without_padding(student.unsqueeze(1).expand_as(competes), competes).logsumexp(2)
    terms = (remaining - student).masked_fill(~mask, 0.0)
    return mean_over(terms.sum(1), mask.sum(1) >= 2)


def lambda_loss(
    student: Tensor, teacher: Tensor, mask: Tensor, scale: float = 1.0, top_grade: float | None = 3.0
) -> Tensor:
    """Logistic loss on the teacher's pairs, each weighted by what swapping the two would do to nDCG.

    `Σ_{t_i>t_j} |G_i-G_j| · |1/D_i - 1/D_j| · log₂(1 + e^{-scale·(z_i - z_j)})` with `G = (2^g - 1)/maxDCG`,
    `D = log₂(1 + rank)` at the student's present ranks, summed over the list. Where the student ties two
    entries, the one that the teacher likes less is ranked first, so that a student that starts with equal
    scores still has a gradient.

    Source: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization", with the weights
    of LambdaRank.

    Args:
        student: logits (batch, list).
        teacher: scores (batch, list).
        mask: True for a real entry (batch, list).
        scale: how steep the sigmoid is.
        top_grade: nDCG wants grades from 0 up, a teacher has scores of any scale: each list is mapped
            linearly onto 0..top_grade. None: the teacher's scores are grades already (0 or more).
    """
    student, teacher, mask = prepared(student, teacher, mask)
    pairs = ordered_pairs(teacher, mask)
    gains = (torch.exp2(_grades(teacher, mask, top_grade)) - 1).masked_fill(~mask, 0.0)
    gains = gains / _best_dcg(gains).clamp(min=torch.finfo(gains.dtype).tiny)
    discounts = 1 / torch.log2(1 + _pessimistic_ranks(student.detach(), teacher, mask))
    weights = (gains.unsqueeze(2) - gains.unsqueeze(1)).abs()
    weights = weights * (discounts.unsqueeze(2) - discounts.unsqueeze(1)).abs()
    difference = student.unsqueeze(2) - student.unsqueeze(1)
    terms = weights * functional.softplus(-scale * difference) / math.log(2)
    return mean_over(terms.masked_fill(~pairs, 0.0).sum((1, 2)), mask.sum(1) >= 2)


def _log_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities over the real entries, 0 at the padding: (batch, list)."""
    return without_padding(logits, mask).log_softmax(1).masked_fill(~mask, 0.0)


def _grades(teacher: Tensor, mask: Tensor, top_grade: float | None) -> Tensor:
    """The teacher's scores as grades 0..top_grade of each list: (batch, list)."""
    if top_grade is None:
        return teacher
    if not top_grade > 0:
        raise InputError(f"top_grade is {top_grade}", expected="a number above 0, or None")
    low = teacher.masked_fill(~mask, torch.inf).amin(1, keepdim=True)
    high = teacher.masked_fill(~mask, -torch.inf).amax(1, keepdim=True)
    spread = (high - low).clamp(min=torch.finfo(teacher.dtype).tiny)
    return ((teacher - low) / spread * top_grade).masked_fill(~mask, 0.0)


def _best_dcg(gains: Tensor) -> Tensor:
    """The DCG of the best order of each row's gains: (batch, 1)."""
    places = torch.arange(2, gains.shape[1] + 2, device=gains.device, dtype=gains.dtype)
    return (gains.sort(1, descending=True).values / torch.log2(places)).sum(1, keepdim=True)


def _pessimistic_ranks(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Ranks from 1; of tied entries the one that the teacher likes less is first, else the earlier one."""
    mine, other = student.unsqueeze(2), student.unsqueeze(1)
    teacher_mine, teacher_other = teacher.unsqueeze(2), teacher.unsqueeze(1)
    column = torch.arange(student.shape[1], device=student.device)
    earlier = column.unsqueeze(0) < column.unsqueeze(1)
    tie_lost = (teacher_other < teacher_mine) | ((teacher_other == teacher_mine) & earlier)
    before = ((other > mine) | ((other == mine) & tie_lost)) & mask.unsqueeze(1)
    return 1.0 + before.sum(2).to(student.dtype)
