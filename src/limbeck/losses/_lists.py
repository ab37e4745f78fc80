"""What every loss on lists does first and last: check and widen the tensors, average over the rows.

Padding is replaced before anything is computed, never after: `0 · inf` is NaN in a backward pass, so a
value that may not count must not be computed at all. Half precision is widened to float32, because sums of
exponentials lose their small terms in it; double stays double, so that gradients can be checked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.errors import InputError


def widened(values: Tensor) -> Tensor:
    """The same values in float32, or in float64 where they came so; autograd goes through."""
    return values if values.dtype == torch.float64 else values.float()


def prepared(student: Tensor, teacher: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Checks three tensors of shape (batch, list), widens them and puts zeros at the padding.

    The teacher is detached: a loss teaches the student only.

    Returns:
        student, teacher and mask (True for a real entry), each (batch, list).

    Raises:
        InputError: the shapes differ, or the mask is not boolean.
    """
    if student.ndim != 2 or student.shape != teacher.shape or student.shape != mask.shape:
        shapes = f"{tuple(student.shape)}, {tuple(teacher.shape)} and {tuple(mask.shape)}"
        raise InputError(
            f"student, teacher and mask have shapes {shapes}",
            expected="one shape (batch, list) for the three",
            remedy="pad the lists of a batch to one length and mark the padding with False in the mask",
        )
    student = masked(student, mask)
    return student, masked(teacher.detach(), mask).to(student.dtype), mask


def masked(values: Tensor, mask: Tensor) -> Tensor:
    """Widened values with zeros where the mask is False; both (batch, list)."""
    if mask.dtype != torch.bool or mask.shape != values.shape:
        raise InputError(
            f"a mask of shape {tuple(mask.shape)} and type {mask.dtype} came with values of shape "
            f"{tuple(values.shape)}",
            expected="a boolean mask of the same shape, True for a real entry",
        )
    return widened(values).masked_fill(~mask, 0.0)


def without_padding(logits: Tensor, mask: Tensor) -> Tensor:
    """Logits (batch, list) of which the padding gets probability 0 in a softmax over the last dimension.

    The lowest finite number stands for minus infinity: a row of padding alone then gives no NaN.
    """
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min)


def mean_over(values: Tensor, counts: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """The mean of those values for which `counts` is True; 0 where there are none."""
    dims = tuple(range(values.ndim)) if dim is None else dim
    total = values.masked_fill(~counts, 0.0).sum(dims)
    return total / counts.sum(dims).clamp(min=1)


def positive_temperature(temperature: float) -> float:
    """The temperature itself, if logits can be divided by it."""
    if not temperature > 0:
        raise InputError(f"the temperature is {temperature}", expected="a number above 0")
    return temperature
