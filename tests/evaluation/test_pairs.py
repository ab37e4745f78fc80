from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.evaluation.pairs import choose_threshold, evaluate_binary, evaluate_graded


def test_binary_values_by_hand():
    metrics = evaluate_binary([0.9, 0.8, 0.3, 0.1], [1, 0, 1, 0], threshold=0.5)
    values = {name: estimate.value for name, estimate in metrics.items()}
    # Positives stand at ranks 1 and 3: average precision is (1/1 + 2/3) / 2.
    assert values == pytest.approx(
        {"Accuracy": 0.5, "Average precision": (1 + 2 / 3) / 2, "Precision": 0.5, "Recall": 0.5}
    )


def test_a_score_at_the_threshold_is_positive():
    assert evaluate_binary([0.5, 0.4], [1, 0], threshold=0.5)["Accuracy"].value == 1.0


def test_nothing_called_positive_has_no_precision():
    metrics = evaluate_binary([0.5, 0.4], [1, 0], threshold=0.9)
    assert metrics["Precision"].value == metrics["Recall"].value == 0.0


def test_intervals_hold_the_values():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 120)
    for estimate in evaluate_binary(labels + rng.normal(0, 0.7, 120), labels, threshold=0.5).values():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.high - estimate.low < 0.3


def test_graded_values_by_hand():
    metrics = evaluate_graded([0.0, 1.0, 2.0], [0.0, 2.0, 1.0])
    assert metrics["Pearson"].value == pytest.approx(0.5)
    assert metrics["Spearman"].value == pytest.approx(1 - 6 * 2 / (3 * 8))


def test_spearman_asks_for_the_order_only_and_shares_ranks_between_ties():
    assert evaluate_graded([1.0, 10.0, 1e6], [1, 2, 3])["Spearman"].value == pytest.approx(1.0)
    # Ranks 1.5, 1.5, 3 against 1, 2, 3: covariance 1.5, variances 1.5 and 2.
    assert evaluate_graded([0, 0, 1], [1, 2, 3])["Spearman"].value == pytest.approx(1.5 / math.sqrt(1.5 * 2))


def test_the_threshold_by_hand():
    assert choose_threshold([0.1, 0.4, 0.8, 0.9], [0, 0, 1, 1]) == pytest.approx(0.6)
    # Calling all positive gets two of three right, as calling only the best positive would get one.
    assert choose_threshold([0.9, 0.5, 0.4], [0, 1, 1]) < 0.4
    assert choose_threshold([0.9, 0.5, 0.4], [0, 0, 1]) > 0.9


@settings(max_examples=100)
@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 1)), min_size=2, max_size=12))
def test_no_threshold_is_more_accurate_than_the_chosen_one(pairs):
    scores, labels = np.array([s for s, _ in pairs]), np.array([t for _, t in pairs])
    if labels.min() == labels.max():
        return
    chosen = choose_threshold(scores, labels)
    candidates = [*scores.tolist(), 2.0]
    assert np.mean((scores >= chosen) == labels) == max(np.mean((scores >= c) == labels) for c in candidates)


@pytest.mark.parametrize(
    ("scores", "labels", "problem"),
    [
        ([0.1, math.nan], [0, 1], "score of pair 2 is nan"),
        ([0.1, 0.2], [0, math.inf], "label of pair 2 is inf"),
        ([0.1, 0.2], [1, 1], "all labels are 1.*both classes"),
        ([0.1, 0.2], [0, 2], "label of pair 2 is 2.*0 or 1"),
        ([0.1, 0.2], [0], "do not match"),
        ([], [], "0 pairs are too few"),
        ([0.1], [1], "1 pairs are too few"),
    ],
)
def test_bad_pairs_are_refused(scores, labels, problem):
    with pytest.raises(InputError, match=problem):
        choose_threshold(scores, labels)
    with pytest.raises(InputError, match=problem):
        evaluate_binary(scores, labels, threshold=0.5)


def test_a_threshold_that_is_nan_is_refused():
    with pytest.raises(InputError, match="threshold is NaN"):
        evaluate_binary([0.1, 0.2], [0, 1], threshold=math.nan)


def test_equal_scores_have_no_correlation():
    with pytest.raises(InputError, match="all scores are equal"):
        evaluate_graded([0.5, 0.5], [1, 2])
    with pytest.raises(InputError, match="all labels are equal"):
        evaluate_graded([0.5, 0.6], [1, 1])


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(InputError, match=r"pip install 'limbeck\[pairs\]'"):
        evaluate_binary([0.1, 0.9], [0, 1], threshold=0.5)
