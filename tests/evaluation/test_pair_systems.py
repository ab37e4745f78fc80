from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from limbeck.errors import InputError
from limbeck.evaluation.measurements import agreeing, compare_measurements, measure, recovered_share
from limbeck.evaluation.pair_systems import PairSetScores, SystemScores, evaluate_pair_sets
from limbeck.evaluation.results import Latency, Results


def graded(pairs=200, seed=0, **noises):
    """A set with a system a name, which sees the labels through noise."""
    rng = np.random.default_rng(seed)
    dev, test = rng.uniform(0, 5, (2, pairs))
    systems = {
        name: SystemScores(dev + rng.normal(0, noise, pairs), test + rng.normal(0, noise, pairs))
        for name, noise in noises.items()
    }
    return PairSetScores("graded", dev, test, systems)


def binary(pairs=300, seed=0, **noises):
    rng = np.random.default_rng(seed)
    dev, test = rng.integers(0, 2, (2, pairs)).astype(float)
    systems = {
        name: SystemScores(dev + rng.normal(0, noise, pairs), test + rng.normal(0, noise, pairs))
        for name, noise in noises.items()
    }
    return PairSetScores("binary", dev, test, systems)


def test_values_are_the_librarys_and_metrics_of_one_set_have_no_prefix():
    scores = graded(student=1.0, backbone=2.0)
    results = evaluate_pair_sets({"sts": scores}, compared=[("student", "backbone")])
    assert results.metric_names == ("Spearman", "Pearson")
    student = results.systems["student"].metrics
    assert student["Spearman"].value == pytest.approx(
        stats.spearmanr(scores.systems["student"].test, scores.test_labels).statistic
    )
    assert student["Spearman"].low < student["Spearman"].value < student["Spearman"].high
    comparison = results.comparison("student", "backbone", "Spearman")
    assert comparison.difference == pytest.approx(
        student["Spearman"].value - results.systems["backbone"].metrics["Spearman"].value
    )
    assert (comparison.queries, comparison.wins, comparison.losses, comparison.ties) == (200, 0, 0, 0)
    assert comparison.outcomes == ("–", "–", "–")
    assert comparison.significant
    assert math.isnan(comparison.t_test_p_value)


def test_several_sets_have_columns_of_their_own_and_systems_need_not_have_scored_all():
    sets = {"sts": graded(student=1.0, teacher=0.5), "nli": binary(student=0.5, backbone=1.0)}
    results = evaluate_pair_sets(sets, compared=[("student", "teacher"), ("student", "backbone")])
    assert results.metric_names == (
        "sts Spearman",
        "sts Pearson",
        "nli Average precision",
        "nli Accuracy",
        "nli Precision",
        "nli Recall",
    )
    assert list(results.systems) == ["student", "teacher", "backbone"]
    assert {(c.second, c.metric) for c in results.comparisons} == {
        *(("teacher", f"sts {m}") for m in ("Spearman", "Pearson")),
        *(("backbone", f"nli {m}") for m in ("Average precision", "Accuracy", "Precision", "Recall")),
    }
    assert [row[2] for row in results.table_rows()][-1] == "–"


def test_the_threshold_is_chosen_on_dev_for_each_system():
    # Right on dev from 0.5 on, and from 10 on; the test pairs would have liked other thresholds.
    scores = PairSetScores(
        "binary",
        [0, 1],
        [0, 0, 1, 1],
        {
            "low": SystemScores([0.0, 1.0], [0.1, 0.6, 0.7, 0.8]),
            "high": SystemScores([5.0, 15.0], [1, 2, 9, 30]),
        },
    )
    results = evaluate_pair_sets({"nli": scores}, compared=[("low", "high")])
    assert [s.metrics["Accuracy"].value for s in results.systems.values()] == [0.75, 0.75]
    assert results.systems["low"].metrics["Precision"].value == pytest.approx(2 / 3)
    assert results.systems["high"].metrics["Recall"].value == 0.5
    accuracy = results.comparison("low", "high", "Accuracy")
    # Each is right where the other is wrong on one pair, and both are right on two.
    assert (accuracy.wins, accuracy.losses, accuracy.ties, accuracy.p_value) == (1, 1, 2, 1.0)


def test_accuracy_is_tested_like_mcnemars_exact_test():
    scores = binary(pairs=60, student=0.45, backbone=0.9)
    comparison = evaluate_pair_sets({"nli": scores}, compared=[("student", "backbone")]).comparison(
        "student", "backbone", "Accuracy"
    )
    exact = stats.binomtest(comparison.wins, comparison.wins + comparison.losses).pvalue
    assert comparison.wins > comparison.losses > 0
    # The randomisation test draws signs at random where there are many: 4 standard errors.
    assert comparison.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact / 9_999))


def test_p_values_are_corrected_over_the_comparisons_of_a_metric():
    scores = graded(student=1.0, one=1.05, other=1.1, third=3.0)
    compared = [("student", name) for name in ("one", "other", "third")]
    made = [
        c for c in evaluate_pair_sets({"s": scores}, compared=compared).comparisons if c.metric == "Pearson"
    ]
    assert made[2].p_holm == pytest.approx(3 * made[2].p_value)
    assert all(c.p_holm >= c.p_value for c in made)


def test_the_same_seed_gives_the_same_figures_and_json_keeps_them(tmp_path):
    sets = {"nli": binary(student=0.5, backbone=0.8)}
    results = evaluate_pair_sets(sets, compared=[("student", "backbone")], seed=4)
    assert results == evaluate_pair_sets(sets, compared=[("student", "backbone")], seed=4)
    results.write(tmp_path / "metrics.json")
    read = Results.read(tmp_path / "metrics.json")
    assert (read.unit, read.seed) == ("pair", 4)
    assert read.systems == results.systems
    assert read.table_rows()[0][-1] == "ms per pair"


def test_times_are_per_pair_and_their_median_over_the_sets():
    sets = {}
    for name, ms in (("a", 1.0), ("b", 3.0)):
        made = graded(student=1.0)
        scores = made.systems["student"]
        timed = SystemScores(scores.dev, scores.test, Latency(ms, 2 * ms))
        sets[name] = PairSetScores("graded", made.dev_labels, made.test_labels, {"student": timed})
    assert evaluate_pair_sets(sets).systems["student"].latency_ms == Latency(2.0, 4.0)


def test_scores_come_back_from_their_files(tmp_path):
    scores = binary(pairs=20, student=0.5, teacher=0.1)
    scores.write(tmp_path / "nli")
    assert sorted(path.name for path in (tmp_path / "nli").iterdir()) == ["student.tsv", "teacher.tsv"]
    read = PairSetScores.read(tmp_path / "nli", "binary", ["student", "teacher"])
    assert evaluate_pair_sets({"nli": read}) == evaluate_pair_sets({"nli": scores})


def test_files_of_other_pairs_are_refused(tmp_path):
    graded(pairs=20, seed=0, student=1.0).write(tmp_path)
    graded(pairs=20, seed=1, teacher=1.0).write(tmp_path)
    with pytest.raises(InputError, match=r"teacher\.tsv: its dev labels are not those of student\.tsv"):
        PairSetScores.read(tmp_path, "graded", ["student", "teacher"])
    with pytest.raises(InputError, match=r"backbone\.tsv"):
        PairSetScores.read(tmp_path, "graded", ["backbone"])


def test_what_cannot_be_measured_is_refused_by_name():
    constant = PairSetScores("graded", [0, 1], [0, 1], {"collapsed": SystemScores([1, 1], [2, 2])})
    with pytest.raises(InputError, match="the set 'sts': the system 'collapsed': all scores are equal"):
        evaluate_pair_sets({"sts": constant})
    one_class = PairSetScores("binary", [1, 1], [0, 1], {"student": SystemScores([1, 2], [2, 3])})
    with pytest.raises(InputError, match="the set 'nli': the system 'student': all labels are 1"):
        evaluate_pair_sets({"nli": one_class})
    with pytest.raises(InputError, match="no set was scored by both 'student' and 'nobody'"):
        evaluate_pair_sets({"sts": graded(student=1.0)}, compared=[("student", "nobody")])
    with pytest.raises(InputError, match="no set of pairs"):
        evaluate_pair_sets({})


def repeated(noises, pairs=250, seeds=3):
    """Systems that were made several times, measured on the same pairs."""
    rng = np.random.default_rng(3)
    labels = rng.uniform(0, 5, pairs)
    systems = {
        name: [
            PairSetScores(
                "graded", labels, labels, {name: SystemScores(labels, labels + rng.normal(0, noise, pairs))}
            ).metrics(name)
            for _ in range(seeds)
        ]
        for name, noise in noises.items()
    }
    return measure(systems, pairs)


def test_several_seeds_are_averaged_in_value_and_in_each_resample():
    measured = repeated({"student": 1.0, "baseline": 2.0})
    student = measured["student"]["Spearman"]
    assert len(student.by_seed) == 3
    assert student.estimate.value == pytest.approx(np.mean(student.by_seed))
    # The pairs are drawn alike for all seeds: the mean varies less than one seed does, but not by sqrt(3).
    alone = repeated({"student": 1.0}, seeds=1)["student"]["Spearman"]
    assert 0.4 * alone.resampled.std() < student.resampled.std() < 1.1 * alone.resampled.std()
    (first, *_) = compare_measurements(measured, [("student", "baseline")], items=250, prefix="sts ")
    assert (first.metric, first.queries, first.significant) == ("sts Spearman", 250, True)
    assert agreeing(student, measured["baseline"]["Spearman"]) == 3
    with pytest.raises(InputError, match="no system 'teacher'"):
        compare_measurements(measured, [("student", "teacher")], items=250)


def test_the_recovered_share_by_hand_and_its_interval():
    measured = repeated({"teacher": 0.5, "student": 1.0, "baseline": 2.0})
    student, baseline, teacher = (measured[name]["Spearman"] for name in ("student", "baseline", "teacher"))
    share = recovered_share(student, baseline, teacher)
    values = [one.estimate.value for one in (student, baseline, teacher)]
    assert share.value == pytest.approx((values[0] - values[1]) / (values[2] - values[1]))
    assert 0 < share.low < share.value < share.high < 1
    assert recovered_share(teacher, baseline, teacher).low == pytest.approx(1.0)
    assert recovered_share(baseline, baseline, teacher).high == pytest.approx(0.0)


def test_where_the_teacher_is_not_surely_better_there_is_no_sure_share():
    measured = repeated({"teacher": 1.0, "student": 0.9, "baseline": 1.0})
    student, baseline, teacher = (measured[name]["Spearman"] for name in ("student", "baseline", "teacher"))
    better, worse = sorted((teacher, baseline), key=lambda one: one.estimate.value, reverse=True)
    assert not recovered_share(student, worse, better).has_interval
    assert math.isnan(recovered_share(student, better, worse).value)
