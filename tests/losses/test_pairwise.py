from __future__ import annotations

import math

import pytest
import torch

from limbeck.losses import margin_mse, rank_net


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
