from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.losses import kl_divergence, lambda_loss, list_mle, list_net

ALL_THREE = torch.ones(1, 3, dtype=torch.bool)


def softmax(values):
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def row(*values):
    return torch.tensor([values], dtype=torch.float64)


def test_kl_divergence_by_hand():
    p, q = softmax([2 / 2, 0, -1 / 2]), softmax([0.1 / 0.5, 0.3 / 0.5, 0])
    expected = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    found = kl_divergence(
        row(0.1, 0.3, 0), row(2, 0, -1), ALL_THREE, student_temperature=0.5, teacher_temperature=2
    )
    assert float(found) == pytest.approx(expected)


def test_kl_divergence_is_zero_where_both_agree():
    assert float(kl_divergence(row(5, 3, 1), row(4, 2, 0), ALL_THREE)) == pytest.approx(0, abs=1e-12)


def test_list_net_by_hand():
    p, q = softmax([3, 1, 0]), softmax([0.5, 1, -1])
    expected = -sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    assert float(list_net(row(0.5, 1, -1), row(3, 1, 0), ALL_THREE)) == pytest.approx(expected)


def test_list_net_has_the_gradient_of_kl_divergence():
    teacher, gradients = row(3, 1, 0), []
    for loss in (list_net, kl_divergence):
        student = row(0.5, 1, -1).requires_grad_()
        loss(student, teacher, ALL_THREE).backward()
        gradients.append(student.grad)
    torch.testing.assert_close(*gradients)


def test_list_mle_by_hand():
    # teacher order: column 1, then 0, then 2
    z = [0.5, 1.0, -1.0]
    first = z[1] - math.log(sum(map(math.exp, z)))
    second = z[0] - math.log(math.exp(z[0]) + math.exp(z[2]))
    assert float(list_mle(row(*z), row(2, 3, 1), ALL_THREE)) == pytest.approx(-(first + second))


def test_list_mle_with_a_tie_by_hand():
    # columns 0 and 1 tie above 2: both compete with all three
    z = [0.5, 1.0, -1.0]
    everything = math.log(sum(map(math.exp, z)))
    assert float(list_mle(row(*z), row(2, 2, 1), ALL_THREE)) == pytest.approx(2 * everything - z[0] - z[1])


def test_list_mle_gives_probabilities_that_sum_to_one():
    z = row(0.3, -0.7, 1.1)
    orders = [row(*map(float, order)) for order in itertools.permutations(range(3))]
    total = sum(math.exp(-float(list_mle(z, order, ALL_THREE))) for order in orders)
    assert total == pytest.approx(1)


def test_lambda_loss_by_hand():
    # student ranks: column 1 first, 0 second, 2 third. Grades 3, 1, 0: gains 7, 1, 0.
    best = 7 / math.log2(2) + 1 / math.log2(3)
    discount = {0: 1 / math.log2(3), 1: 1 / math.log2(2), 2: 1 / math.log2(4)}
    gain, z = [7 / best, 1 / best, 0], [0.5, 1.0, -1.0]
    expected = sum(
        abs(gain[i] - gain[j]) * abs(discount[i] - discount[j]) * math.log2(1 + math.exp(-2 * (z[i] - z[j])))
        for i, j in [(0, 1), (0, 2), (1, 2)]
    )
    found = lambda_loss(row(*z), row(3, 1, 0), ALL_THREE, scale=2, top_grade=None)
    assert float(found) == pytest.approx(expected)
    # -4, -8, -10 map linearly onto 3, 1, 0
    assert float(lambda_loss(row(*z), row(-4, -8, -10), ALL_THREE, scale=2)) == pytest.approx(expected)


def test_lambda_loss_ranks_ties_of_the_student_against_the_teacher():
    # both entries tie, so the teacher's better one counts as second: discounts 1/log2(3) and 1
    weight = 1 * (1 - 1 / math.log2(3))  # gains 7/7 and 0
    found = lambda_loss(row(0, 0), row(1, 0), torch.ones(1, 2, dtype=torch.bool))
    assert float(found) == pytest.approx(weight * 1)  # log2(1 + e^0) = 1


def lambda_by_loops(student, teacher):
    """The formula with loops and lists, for distinct scores."""
    low, high = min(teacher), max(teacher)
    gains = [2 ** (3 * (t - low) / (high - low)) - 1 for t in teacher]
    best = sum(gain / math.log2(place + 2) for place, gain in enumerate(sorted(gains, reverse=True)))
    by_score = sorted(range(len(student)), key=lambda i: -student[i])
    discount = {i: 1 / math.log2(place + 2) for place, i in enumerate(by_score)}
    return sum(
        abs(gains[i] - gains[j])
        / best
        * abs(discount[i] - discount[j])
        * math.log2(1 + math.exp(student[j] - student[i]))
        for i in range(len(student))
        for j in range(len(student))
        if teacher[i] > teacher[j]
    )


distinct = st.lists(st.integers(-50, 50), min_size=2, max_size=7, unique=True)


@given(distinct, distinct)
@settings(max_examples=60, deadline=None)
def test_lambda_loss_is_what_the_loops_give(student, teacher):
    size = min(len(student), len(teacher))
    student, teacher = [value / 10 for value in student[:size]], [value / 7 for value in teacher[:size]]
    mask = torch.ones(1, size, dtype=torch.bool)
    found = float(lambda_loss(row(*student), row(*teacher), mask))
    assert found == pytest.approx(lambda_by_loops(student, teacher), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperatures_that_cannot_divide_are_refused(temperature):
    with pytest.raises(InputError, match="temperature"):
        kl_divergence(row(1, 2, 3), row(1, 2, 3), ALL_THREE, student_temperature=temperature)


def test_a_top_grade_of_nothing_is_refused():
    with pytest.raises(InputError, match="top_grade"):
        lambda_loss(row(1, 2, 3), row(1, 2, 3), ALL_THREE, top_grade=0)
