from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score

from limbeck.evaluation import resampling
from limbeck.evaluation.resampling import (
    WeightedAveragePrecision,
    WeightedMean,
    WeightedPearson,
    WeightedShare,
    WeightedSpearman,
    percentile_interval,
    resample,
    shifted_bootstrap_test,
)

# Few distinct values, so that ties and constant samples come up.
ITEMS = st.lists(
    st.tuples(
        st.sampled_from([-2.0, 0.0, 0.1, 0.3, 7.5]), st.sampled_from([0.0, 1.0, 2.5]), st.integers(0, 3)
    ),
    min_size=2,
    max_size=14,
).filter(lambda items: any(weight for _, _, weight in items))


def expanded(items):
    """Scores, labels and weights of the items; and scores and labels with each item as often as drawn."""
    scores, labels, weights = (np.array(column) for column in zip(*items, strict=True))
    return scores, labels, weights, np.repeat(scores, weights), np.repeat(labels, weights)


@settings(max_examples=150, deadline=None)
@given(ITEMS)
def test_correlations_of_weighted_items_are_scipys_of_the_items_written_out(items):
    scores, labels, weights, all_scores, all_labels = expanded(items)
    for statistic, reference in (
        (WeightedPearson(scores, labels), stats.pearsonr),
        (WeightedSpearman(scores, labels), stats.spearmanr),
    ):
        (found,) = statistic.weighted(weights[None])
        if len(set(all_scores)) < 2 or len(set(all_labels)) < 2:
            assert math.isnan(found)
        else:
            assert found == pytest.approx(reference(all_scores, all_labels).statistic, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(ITEMS)
def test_average_precision_of_weighted_items_is_scikit_learns(items):
    scores, labels, weights, all_scores, all_labels = expanded(items)
    (found,) = WeightedAveragePrecision(scores, labels > 0).weighted(weights[None])
    if not (all_labels > 0).any():
        assert math.isnan(found)
    else:
        assert found == pytest.approx(average_precision_score(all_labels > 0, all_scores), abs=1e-12)


def test_means_and_shares_by_hand():
    weights = np.array([[1, 1, 1, 1], [2, 0, 0, 2], [0, 0, 4, 0]])
    assert WeightedMean([1, 0, 0, 0]).weighted(weights).tolist() == [0.25, 0.5, 0.0]
    share = WeightedShare(inside=[1, 0, 1, 0], among=[1, 1, 0, 1])
    assert share.weighted(weights)[:2].tolist() == [1 / 3, 0.5]
    assert math.isnan(share.weighted(weights)[2])
    assert WeightedShare(inside=[1, 0, 1, 0], among=[1, 1, 0, 1], empty=0.0).weighted(weights)[2] == 0.0


def test_values_far_from_zero_keep_their_correlation():
    rng = np.random.default_rng(0)
    first = rng.normal(size=50)
    second = first + rng.normal(size=50)
    weights = np.ones((1, 50), dtype=np.int64)
    (far,) = WeightedPearson(1e6 + first, second - 1e6).weighted(weights)
    assert far == pytest.approx(stats.pearsonr(first, second).statistic, abs=1e-9)


def test_resamples_draw_as_many_items_as_there_are_each_equally_often():
    found = resample(
        {item: WeightedMean(np.arange(5) == item) for item in range(5)}, 5, resamples=4000, seed=3
    )
    assert np.sum([found[item] for item in range(5)], axis=0) == pytest.approx(1.0)
    # The share of an item has the mean 1/5 and the deviation sqrt(0.2 * 0.8 / 5); 4 standard errors of 4,000.
    error = 4 * math.sqrt(0.2 * 0.8 / 5) / math.sqrt(4000)
    for item in range(5):
        assert found[item].mean() == pytest.approx(0.2, abs=error)
        assert found[item].std() == pytest.approx(math.sqrt(0.2 * 0.8 / 5), rel=0.05)


def test_the_size_of_the_blocks_changes_no_resample(monkeypatch):
    mean = {"mean": WeightedMean(np.arange(7))}
    whole = resample(mean, 7, resamples=50, seed=1)["mean"]
    monkeypatch.setattr(resampling, "_BLOCK_WEIGHTS", 7 * 3)
    assert resample(mean, 7, resamples=50, seed=1)["mean"].tolist() == whole.tolist()


def test_the_interval_is_scipys_paired_percentile_bootstrap():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=80)
    first, second = truth + rng.normal(0, 0.8, 80), truth + rng.normal(0, 1.2, 80)
    found = resample({1: WeightedPearson(first, truth), 2: WeightedPearson(second, truth)}, 80, seed=1)
    interval = percentile_interval(0.0, found[1] - found[2])

    def difference(one, other, labels, axis=-1):
        return (
            stats.pearsonr(one, labels, axis=axis).statistic
            - stats.pearsonr(other, labels, axis=axis).statistic
        )

    reference = stats.bootstrap(
        (first, second, truth),
        difference,
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert [interval.low, interval.high] == pytest.approx([reference.low, reference.high], abs=0.01)


def test_an_interval_is_over_the_resamples_that_define_the_statistic():
    assert math.isnan(percentile_interval(0.5, np.array([math.nan, math.nan])).low)
    estimate = percentile_interval(0.5, np.array([math.nan, 0.4, 0.6]), level=1.0)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.4, 0.6)


def test_the_shifted_bootstrap_by_hand():
    # From 0.5 lie 0.7 and 0.6 away: two of four, and the sample itself.
    assert shifted_bootstrap_test(0.5, np.array([-0.2, 1.1, 0.3, 0.9])) == pytest.approx(3 / 5)
    assert shifted_bootstrap_test(0.0, np.zeros(9)) == 1.0
    assert math.isnan(shifted_bootstrap_test(math.nan, np.zeros(9)))


def test_p_values_under_the_null_hypothesis_are_as_small_as_they_say():
    """Two systems that are equally good: their p-values lie below alpha as often as alpha says."""
    rng, trials, pairs = np.random.default_rng(11), 400, 150
    found = []
    for _ in range(trials):
        truth = rng.normal(size=pairs)
        one, other = truth + rng.normal(size=(2, pairs))
        statistics = {"one": WeightedSpearman(one, truth), "other": WeightedSpearman(other, truth)}
        values = {key: float(s.weighted(np.ones((1, pairs), np.int64))[0]) for key, s in statistics.items()}
        resampled = resample(statistics, pairs, resamples=399, seed=int(rng.integers(2**31)))
        found.append(
            shifted_bootstrap_test(values["one"] - values["other"], resampled["one"] - resampled["other"])
        )
    for alpha in (0.05, 0.1, 0.3, 0.5):
        hits = int(np.sum(np.array(found) <= alpha))
        low, high = stats.binom.ppf([0.001, 0.999], trials, alpha)
        assert low <= hits <= high, alpha


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=300)
    good, bad = truth + 0.5 * rng.normal(size=300), truth + 1.5 * rng.normal(size=300)
    found = resample({0: WeightedSpearman(good, truth), 1: WeightedSpearman(bad, truth)}, 300, resamples=999)
    difference = stats.spearmanr(good, truth).statistic - stats.spearmanr(bad, truth).statistic
    assert shifted_bootstrap_test(difference, found[0] - found[1]) == pytest.approx(1 / 1000)
