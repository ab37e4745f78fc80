from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.evaluation.retrieval import RunMetrics
from limbeck.evaluation.significance import (
    against,
    bootstrap_interval,
    compare_runs,
    compare_systems,
    estimate_run,
    holm,
    largest_changes,
    paired_t_test,
    randomisation_test,
    system_result,
)

unit = st.floats(0, 1, width=32)


def metrics(*values: float, ids: str = "abcdefgh") -> RunMetrics:
    return RunMetrics(tuple(ids[: len(values)]), {"nDCG@10": np.array(values, dtype=np.float64)})


def test_the_interval_of_two_values_reaches_both():
    # Means of two draws: 0 and 1 with probability 1/4 each, which is more than 2.5 %.
    estimate = bootstrap_interval([0.0, 1.0])
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.0, 1.0)


def test_the_interval_is_near_the_normal_one_for_many_values():
    values = np.tile([0.0, 1.0], 200)  # standard error 0.5 / sqrt(400) = 0.025
    estimate = bootstrap_interval(values)
    assert estimate.low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.004)
    assert estimate.high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.004)


def test_the_same_seed_gives_the_same_interval():
    values = np.linspace(0, 1, 30) ** 2
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(unit, min_size=2, max_size=40))
def test_the_interval_holds_the_mean_and_lies_within_the_values(values):
    estimate = bootstrap_interval(values, resamples=499)
    assert min(values) - 1e-9 <= estimate.low <= estimate.value + 1e-9
    assert estimate.value - 1e-9 <= estimate.high <= max(values) + 1e-9


def test_a_single_query_has_no_interval():
    estimate = bootstrap_interval([0.4])
    assert estimate.value == 0.4
    assert not estimate.has_interval


@pytest.mark.parametrize("function", [bootstrap_interval, randomisation_test, paired_t_test])
def test_no_values_and_nan_are_refused(function):
    with pytest.raises(InputError, match="there are no"):
        function([])
    with pytest.raises(InputError, match="NaN or infinite"):
        function([0.1, math.nan])


def test_randomisation_by_hand():
    # +++ and --- are as far out as what was seen: 2 of 8.
    assert randomisation_test([0.1, 0.2, 0.3]) == pytest.approx(2 / 8)
    # Sums of +-1 +-1 +-3: |sum| >= 3 for +-5, +-3 (twice each): 6 of 8.
    assert randomisation_test([1, -1, 3]) == pytest.approx(6 / 8)


def test_ties_do_not_change_the_randomisation_test():
    assert randomisation_test([0.1, 0, 0.2, 0, 0, 0.3]) == pytest.approx(2 / 8)
    assert randomisation_test([0.0, 0.0]) == 1.0
    assert randomisation_test([0.3]) == 1.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=7))
def test_randomisation_is_the_enumeration_of_all_signs(differences):
    seen = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    expected = sum(total >= seen - 1e-9 for total in sums) / len(sums)
    assert randomisation_test(differences) == pytest.approx(min(1.0, expected))


@settings(max_examples=15, deadline=None)
@given(st.lists(unit, min_size=16, max_size=30), st.integers(0, 3))
def test_randomisation_does_not_care_which_system_is_first(differences, seed):
    shifted = np.array(differences) - 0.4
    one = randomisation_test(shifted, resamples=999, seed=seed)
    other = randomisation_test(-shifted, resamples=999, seed=seed)
    assert 0 < one <= 1
    assert one == pytest.approx(other)


def test_a_large_difference_is_significant_and_noise_is_not():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 200)
    assert randomisation_test(noise - noise.mean() + 0.05) < 0.001
    assert randomisation_test(noise - noise.mean() + 0.0001) > 0.5


def test_the_t_test_by_hand():
    # Mean 2, deviation 1, t = 2 sqrt(3); with two degrees of freedom p = 1 - t / sqrt(t^2 + 2).
    t = 2 * math.sqrt(3)
    assert paired_t_test([1, 2, 3]) == pytest.approx(1 - t / math.sqrt(t * t + 2))
    assert paired_t_test([0, 0, 0]) == 1.0
    assert paired_t_test([0.5]) == 1.0
    assert paired_t_test([0.5, 0.5, 0.5]) == pytest.approx(0.0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)


@given(st.lists(unit, min_size=1, max_size=8))
def test_holm_lies_between_the_p_value_and_bonferroni(p_values):
    corrected = holm(p_values)
    values = np.array(p_values, dtype=np.float64)
    assert (corrected >= values).all()
    assert (corrected <= np.minimum(1, values * len(values)) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(values, kind="stable")]) >= 0).all()


def test_two_runs_are_compared():
    comparison = compare_runs(metrics(1.0, 0.5, 0.2, 0.2), metrics(0.5, 0.5, 0.3, 0.0), names=("new", "old"))
    assert (comparison.first, comparison.second, comparison.metric) == ("new", "old", "nDCG@10")
    assert comparison.difference == pytest.approx((0.5 + 0 - 0.1 + 0.2) / 4)
    assert (comparison.wins, comparison.losses, comparison.ties, comparison.queries) == (2, 1, 1, 4)
    # Sums of +-5 +-1 +-2 reach 6 as 8 and 6, or their negatives: 4 of 8.
    assert comparison.p_value == pytest.approx(4 / 8)
    assert comparison.low <= comparison.difference <= comparison.high


def test_rounding_is_no_win():
    comparison = compare_runs(metrics(0.1 + 0.2, 0.5), metrics(0.3, 0.5))
    assert (comparison.wins, comparison.losses, comparison.ties) == (0, 0, 2)
    assert comparison.p_value == comparison.t_test_p_value == 1.0


def test_queries_in_another_order_are_matched():
    first = RunMetrics(("a", "b"), {"nDCG@10": np.array([1.0, 0.0])})
    second = RunMetrics(("b", "a"), {"nDCG@10": np.array([0.0, 1.0])})
    assert compare_runs(first, second).ties == 2


def test_different_queries_are_refused():
    with pytest.raises(InputError, match="different queries, 'c'"):
        compare_runs(metrics(1, 1, 1), metrics(1, 1))


def test_largest_wins_and_losses():
    wins, losses = largest_changes(
        metrics(1.0, 0.5, 0.2, 0.9, 0.0), metrics(0.5, 0.5, 0.3, 0.1, 0.9), "nDCG@10", 1
    )
    assert [(row.query_id, pytest.approx(row.difference)) for row in wins] == [("d", 0.8)]
    assert [(row.query_id, pytest.approx(row.difference)) for row in losses] == [("e", -0.9)]


def test_systems_are_compared_with_correction_over_the_pairs_of_a_metric():
    runs = {"base": metrics(*[0.0] * 8), "good": metrics(*[0.5] * 8), "same": metrics(*[0.0] * 8)}
    good, same = compare_systems(runs, against("base", runs), ["nDCG@10"])
    assert (good.first, good.second) == ("good", "base")
    assert good.p_value == pytest.approx(2 / 2**8)
    assert good.p_holm == pytest.approx(2 * good.p_value)
    assert good.significant
    assert same.p_holm == 1.0
    assert not same.significant
    with pytest.raises(InputError, match="no system 'bm52'"):
        compare_systems(runs, [("good", "bm52")], ["nDCG@10"])


def test_a_system_gets_an_estimate_a_metric():
    result = system_result(metrics(0.5, 0.5))
    assert list(result.metrics) == ["nDCG@10"] == list(estimate_run(metrics(0.5, 0.5)))
    assert result.metrics["nDCG@10"].low == 0.5
