"""What holds for every loss on lists, whatever its formula."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.losses import LIST_LOSSES, contrastive_imitation
from limbeck.losses._lists import masked

LOSSES = {**LIST_LOSSES, "contrastive_imitation": contrastive_imitation}
NEEDS_POSITIVE = {"margin_mse", "contrastive_imitation", "positive_margin"}
each_loss = pytest.mark.parametrize("name", sorted(LOSSES))


def batch(seed: int = 0, rows: int = 3, size: int = 5, dtype: torch.dtype = torch.float64):
    """Random logits, and distinct teacher probabilities."""
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(rows, size, generator=generator, dtype=dtype)
    teacher = torch.stack([torch.randperm(size, generator=generator) for _ in range(rows)]).to(dtype)
    return student, (teacher + 0.5) / size, torch.ones(rows, size, dtype=torch.bool)


@each_loss
def test_gradient_is_that_of_the_value(name):
    student, teacher, mask = batch()
    mask[1, 3:] = False
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, teacher, mask), student)


@each_loss
def test_padding_changes_nothing_and_gets_no_gradient(name):
    student, teacher, mask = batch()
    padding = torch.full((3, 2), torch.nan, dtype=torch.float64)
    padded = torch.cat([student, padding], 1).requires_grad_()
    padded_mask = torch.cat([mask, torch.zeros(3, 2, dtype=torch.bool)], 1)
    plain = student.clone().requires_grad_()

    loss = LOSSES[name](plain, teacher, mask)
    padded_loss = LOSSES[name](padded, torch.cat([teacher, padding], 1), padded_mask)
    loss.backward()
    padded_loss.backward()

    torch.testing.assert_close(padded_loss, loss)
    torch.testing.assert_close(padded.grad[:, :5], plain.grad)
    assert padded.grad[:, 5:].eq(0).all()


@each_loss
def test_lists_of_unequal_length_are_averaged_as_if_alone(name):
    student, teacher, mask = batch(rows=2)
    mask[1, 3:] = False
    first = LOSSES[name](student[:1], teacher[:1], mask[:1])
    second = LOSSES[name](student[1:, :3], teacher[1:, :3], mask[1:, :3])
    torch.testing.assert_close(LOSSES[name](student, teacher, mask), (first + second) / 2)


@each_loss
@pytest.mark.parametrize("real", [0, 1])
def test_rows_without_two_entries_contribute_nothing(name, real):
    student, teacher, mask = batch(rows=2)
    mask[1, real:] = False
    student.requires_grad_()
    loss = LOSSES[name](student, teacher, mask)
    loss.backward()
    torch.testing.assert_close(loss, LOSSES[name](student[:1], teacher[:1], mask[:1]))
    assert student.grad[1].eq(0).all()


@each_loss
def test_a_batch_of_empty_lists_gives_zero(name):
    student, teacher, _ = batch()
    student.requires_grad_()
    loss = LOSSES[name](student, teacher, torch.zeros(3, 5, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert student.grad.eq(0).all()


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name, dtype):
    student, teacher, mask = batch(dtype=torch.float32)
    student, teacher = student.to(dtype), teacher.to(dtype)
    student.requires_grad_()
    loss = LOSSES[name](student, teacher, mask)
    loss.backward()
    assert loss.dtype == torch.float32
    # The inputs are rounded to half precision before either is computed, so the two agree exactly.
    torch.testing.assert_close(loss, LOSSES[name](student.detach().float(), teacher.float(), mask))
    assert student.grad.dtype == dtype
    assert student.grad.isfinite().all()


@each_loss
def test_large_half_precision_logits_stay_finite(name):
    student = torch.tensor([[60000.0, -60000.0, 3.0]], dtype=torch.float16, requires_grad=True)
    teacher = torch.tensor([[0.1, 0.9, 0.5]], dtype=torch.float16)
    loss = LOSSES[name](student, teacher, torch.ones(1, 3, dtype=torch.bool))
    loss.backward()
    assert loss.isfinite()
    # Margin-MSE may overflow the half-precision gradient of 60,000: 2 · 120,000 / 2 > 65,504.
    assert name == "margin_mse" or student.grad.isfinite().all()


@each_loss
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_a_teacher_without_preference_gives_no_nan(name, value):
    student, _, mask = batch()
    student.requires_grad_()
    loss = LOSSES[name](student, torch.full((3, 5), value, dtype=torch.float64), mask)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    if name in {"rank_net", "rank_imitation", "lambda_loss"}:  # these learn from order alone
        assert loss == 0


@each_loss
def test_a_student_without_preference_has_a_finite_gradient(name):
    _, teacher, mask = batch()
    student = torch.zeros(3, 5, requires_grad=True)
    LOSSES[name](student, teacher, mask).backward()
    assert student.grad.isfinite().all()
    assert student.grad.ne(0).any()


@each_loss
@given(order=st.permutations(range(5)), tie=st.booleans(), student_tie=st.booleans())
@settings(max_examples=25, deadline=None)
def test_order_of_the_entries_does_not_matter(name, order, tie, student_tie):
    student, teacher, mask = batch(seed=3)
    mask[0, 4] = False
    if tie:
        teacher[:, 2] = teacher[:, 3]
    if student_tie:
        student[:, 1] = student[:, 2]
    if name in NEEDS_POSITIVE:  # column 0 keeps its meaning
        order = [0, *(column for column in order if column)]
    shuffled = LOSSES[name](student[:, order], teacher[:, order], mask[:, order])
    torch.testing.assert_close(shuffled, LOSSES[name](student, teacher, mask))


@each_loss
def test_the_teacher_is_not_taught(name):
    student, teacher, mask = batch()
    teacher.requires_grad_()
    LOSSES[name](student.requires_grad_(), teacher, mask).backward()
    assert teacher.grad is None


@each_loss
def test_descending_the_gradient_puts_the_student_in_the_teachers_order(name):
    """Start against the teacher's order; every entry must end where it belongs."""
    teacher = torch.tensor([[0.95, 0.6, 0.3, 0.05]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    student = torch.tensor([[-1.0, -0.5, 0.5, 1.0]], requires_grad=True)
    optimizer = torch.optim.Adam([student], lr=0.1)
    for _ in range(600):
        optimizer.zero_grad()
        LOSSES[name](student, teacher, mask).backward()
        optimizer.step()
    if name in {"contrastive_imitation", "positive_margin"}:  # only the positive against the rest
        assert int(student.argmax()) == 0
    else:
        assert student[0].argsort(descending=True).tolist() == [0, 1, 2, 3]


@each_loss
def test_shapes_that_differ_are_refused(name):
    student, teacher, mask = batch()
    with pytest.raises(InputError, match=r"\(3, 5\), \(3, 4\) and \(3, 5\)"):
        LOSSES[name](student, teacher[:, :4], mask)


def test_a_mask_of_numbers_is_refused():
    with pytest.raises(InputError, match="boolean mask"):
        masked(torch.zeros(2, 2), torch.ones(2, 2))
