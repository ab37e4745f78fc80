from __future__ import annotations

import math

import pytest
import torch

from limbeck.losses import distilled_rank_net, margin_mse, positive_margin, rank_net


def test_margin_mse_by_hand():
    student = torch.tensor([[2.0, 1.0, -1.0], [0.5, 0.0, 9.0]], dtype=torch.float64)
    teacher = torch.tensor([[5.0, 2.0, 1.0], [3.0, 1.0, 9.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    # row 0: margins 1 and 3 against 3 and 4 -> (4 + 1) / 2; row 1: 0.5 against 2 -> 2.25
    assert float(margin_mse(student, teacher, mask)) == pytest.approx((2.5 + 2.25) / 2)


def test_margin_mse_skips_a_row_without_its_positive():
    mask = torch.tensor([[False, True, True], [True, True, True]])
    student = torch.tensor([[7.0, 3.0, 1.0], [1.0, 0.0, 0.0]])
    teacher = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 1.0]])
    # row 1: margins 1 and 1 against 3 and 2 -> (4 + 1) / 2
    assert float(margin_mse(student, teacher, mask)) == pytest.approx(2.5)


def test_rank_net_by_hand():
    student = torch.tensor([[1.0, 0.5, 2.0]], dtype=torch.float64)
    teacher = torch.tensor([[3.0, 1.0, 1.0]], dtype=torch.float64)
    mask = torch.ones(1, 3, dtype=torch.bool)
    # the pairs in order are (0, 1) and (0, 2); the teacher ties 1 and 2
    expected = (math.log(1 + math.exp(-0.5)) + math.log(1 + math.exp(1.0))) / 2
    assert float(rank_net(student, teacher, mask)) == pytest.approx(expected)
    steep = (math.log(1 + math.exp(-1.0)) + math.log(1 + math.exp(2.0))) / 2
    assert float(rank_net(student, teacher, mask, scale=2.0)) == pytest.approx(steep)


def test_rank_net_uses_only_the_teachers_order():
    student, mask = torch.randn(2, 6), torch.ones(2, 6, dtype=torch.bool)
    teacher = torch.randn(2, 6)
    torch.testing.assert_close(rank_net(student, teacher, mask), rank_net(student, teacher.exp() * 100, mask))


def test_distilled_rank_net_by_hand_with_the_published_constants():
    student = torch.tensor([[500.0, 900.0, 100.0]], dtype=torch.float64)
    teacher = torch.tensor([[3.0, 2.0, 1.0]], dtype=torch.float64)
    mask = torch.ones(1, 3, dtype=torch.bool)
    # (0,1): 3 * (900 - 500 + 300); (0,2): 3 * (100 - 500 + 300 + 100) = 0, so it does not count;
    # (1,2): 1/2 * (100 - 900 + 300) < 0, so neither.
    found = distilled_rank_net(student, teacher, mask, margin=300.0, distance_margin=100.0)
    assert float(found) == pytest.approx(2100.0)


def test_distilled_rank_net_averages_the_terms_that_count_then_the_rows():
    student = torch.tensor([[0.0, 1.0, 2.0], [4.0, 4.0, 0.0]], dtype=torch.float64)
    teacher = torch.tensor([[9.0, 5.0, 1.0], [2.0, 1.0, 7.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    # row 0: 3*(1+2), 3*(2+2+1), 1/2*(1+2); row 1: 3*(0+2)
    first = (9 + 15 + 1.5) / 3
    found = distilled_rank_net(student, teacher, mask, margin=2.0, distance_margin=1.0)
    assert float(found) == pytest.approx((first + 6) / 2)


def test_distilled_rank_net_gives_tied_entries_the_better_place():
    student = torch.zeros(1, 4, dtype=torch.float64)
    teacher = torch.tensor([[1.0, 1.0, 0.0, -1.0]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    # places 0, 0, 2, 3: pairs (0,2), (1,2): 3*(1+1*1); (0,3), (1,3): 3*(1+2); (2,3): 1/3*1
    expected = (2 * 6 + 2 * 9 + 1 / 3) / 5
    found = distilled_rank_net(student, teacher, mask, margin=1.0, distance_margin=1.0)
    assert float(found) == pytest.approx(expected)


def test_a_list_in_the_teachers_order_and_wide_enough_costs_nothing():
    student = torch.tensor([[900.0, 500.0, 0.0]], requires_grad=True)
    teacher, mask = torch.tensor([[3.0, 2.0, 1.0]]), torch.ones(1, 3, dtype=torch.bool)
    loss = distilled_rank_net(student, teacher, mask, margin=300.0, distance_margin=100.0)
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()


@pytest.mark.parametrize("loss", [distilled_rank_net, positive_margin])
def test_the_default_margins_have_no_unit(loss):
    student = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    teacher = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(3, 5, dtype=torch.bool)
    torch.testing.assert_close(
        loss(1000 * student, teacher, mask), loss(student, teacher, mask), rtol=1e-4, atol=1e-4
    )


def test_the_default_margins_can_be_met():
    student = torch.arange(8, 0, -1, dtype=torch.float64).unsqueeze(0)
    assert float(distilled_rank_net(student, student, torch.ones(1, 8, dtype=torch.bool))) == 0


def test_positive_margin_by_hand():
    student = torch.tensor([[5.0, 4.0, 7.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    # row 0: (4-5+2, 7-5+2) -> (1 + 4) / 2; row 1: 0-1+2
    assert float(positive_margin(student, student, mask, margin=2.0)) == pytest.approx((2.5 + 1) / 2)
