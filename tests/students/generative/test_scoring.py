"""Weights of identifiers, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.indexes.fm_index import IdentifierIndex, Ragged
from limbeck.students.generative.decoding import Generated
from limbeck.students.generative.identifiers import ViewSettings
from limbeck.students.generative.scoring import (
    CERTAIN,
    PSEUDO_QUERY_BONUS,
    PSEUDO_QUERY_CAP,
    identifier_weights,
    log_frequencies,
    log_odds,
)
from limbeck.students.generative.weighting import token_counts, unigrams_of, weights_of


def log(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).log()


def test_frequencies_by_hand():
    # (0 + 5) / 100, (15 + 5) / 100, and a token that is everywhere
    found = log_frequencies(torch.tensor([0, 15, 95]), 95)
    assert found.tolist() == pytest.approx([math.log(0.05), math.log(0.2), CERTAIN])


def test_weights_by_hand():
    likely, frequent = log(0.5, 0.9, 0.2, 0.01), log(0.2, 0.5, 0.2, 0.02)
    # odds: 1 over 1/4, 9 over 1, equal, and less likely than frequent
    expected = [math.log(4), math.log(9), 0, 0]
    plain = identifier_weights(likely, frequent, squared=False)
    assert plain.tolist() == pytest.approx(expected, abs=1e-12)
    squared = identifier_weights(likely, frequent)
    assert squared.tolist() == pytest.approx([value**2 for value in expected], abs=1e-12)


def test_it_is_the_published_formula():
    likely, frequent = log(0.03, 0.7), log(0.001, 0.2)
    published = (likely + torch.log(1 - frequent.exp())) - (frequent + torch.log(1 - likely.exp()))
    torch.testing.assert_close(identifier_weights(likely, frequent), published.clamp_min(0) ** 2)


def test_pseudo_queries_are_raised_and_capped():
    likely = torch.tensor([-20.0, -14.5, -3.0], dtype=torch.float64)
    frequent = log(0.001).expand(3)
    found = identifier_weights(likely, frequent, bonus=PSEUDO_QUERY_BONUS, cap=PSEUDO_QUERY_CAP)
    raised = torch.tensor([-6.0, -1.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(found, identifier_weights(raised, frequent))


@given(st.floats(-200, 0), st.floats(-200, 0))
def test_weights_are_finite_and_rise_with_the_probability(first, second):
    low, high = sorted([first, second])
    likely = torch.tensor([low, high], dtype=torch.float64)
    weights = identifier_weights(likely, torch.tensor(-7.0, dtype=torch.float64))
    assert torch.isfinite(weights).all()
    assert weights[0] <= weights[1]
    assert (weights >= 0).all()


def test_log_odds_is_exact_at_both_ends():
    found = log_odds(torch.tensor([-1e-9, -1e-3, -0.7, -50.0], dtype=torch.float64))
    expected = [-1e-9 - math.log(-math.expm1(-1e-9)), -1e-3 - math.log(-math.expm1(-1e-3))]
    expected += [-0.7 - math.log1p(-math.exp(-0.7)), -50.0]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_gradients_go_through():
    likely = torch.tensor([-3.0, -0.4, -1e-3], dtype=torch.float64, requires_grad=True)
    frequent = torch.full((3,), -6.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: identifier_weights(x, frequent), likely)
    certain = torch.tensor([0.0, -300.0, -100.0], requires_grad=True)
    identifier_weights(certain, torch.tensor(-6.0)).sum().backward()
    assert torch.isfinite(certain.grad).all()


def test_weights_of_what_was_generated():
    generated = Generated(
        np.array([0, 2]), np.array([0, 1]), Ragged.from_rows([[1, 5, 2], [5, 6]]),
        np.log([0.5, 0.5]), np.array([15, 0]), None,
    )  # fmt: skip
    views = [ViewSettings("pseudo-query", True, 9, 14.0, -1.0), ViewSettings("body", False, 9)]
    found = weights_of(generated, views, 95)
    # log 0.5 + 14 is capped at -1: odds 1 / (e - 1); the frequencies are 0.2 and 0.05.
    expected = [math.log(4 / (math.e - 1)) ** 2, math.log(19) ** 2]
    assert found.tolist() == pytest.approx(expected)


def test_unigrams_by_hand(tmp_path):
    # Token 7 twice, 8 once, a marker 1 and the unknown token 9.
    index = IdentifierIndex.build(tmp_path / "index", [[1, 7, 8], [7, 9], [500]])
    counts = token_counts(index, 12, [1, 9])
    assert counts.tolist() == [0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0]
    first = np.full((2, 12), math.log(0.01), np.float32)
    first[0, 7], first[0, 8], first[1, 8] = math.log(0.8), math.log(0.6), math.log(0.5)
    found = unigrams_of(first, counts, 15, 5)
    # Frequencies 7/20 and 6/20: odds 7/13 and 3/7. What is less likely than frequent takes no part.
    assert found.offsets.tolist() == [0, 2, 3]
    assert found.tokens.tolist() == [7, 8, 8]
    assert found.weights.tolist() == pytest.approx(
        [math.log(4 / (7 / 13)), math.log(1.5 / (3 / 7)), math.log(1 / (3 / 7))], rel=1e-5
    )
    assert unigrams_of(first, counts, 15, 1).tokens.tolist() == [7, 8]
