"""Ensembles of pair teachers, their calibration and their audit, against values that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from limbeck.errors import InputError
from limbeck.teachers import EnsembleTeacher
from limbeck.teachers.pair_audit import audit_pairs
from limbeck.teachers.pair_ensemble import calibration, fit_pair_ensemble


class Fixed:
    """A teacher that scores by a table."""

    version, prompt = "1", ""

    def __init__(self, name: str, scores: np.ndarray) -> None:
        self.name = name
        self.scores = scores

    def score(self, pairs):
        return np.array([self.scores[int(first)] for first, _ in pairs])


def sample(pairs: int = 400, seed: int = 0):
    """Labels, a good member, a bad one, and one that goes against the labels."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.05, 0.95, pairs)
    good = 3 * logit(truth) + 1 + rng.normal(0, 0.5, pairs)
    bad = 0.01 * (logit(truth) + rng.normal(0, 4, pairs))
    return truth, np.stack([good, bad, -good + rng.normal(0, 1, pairs)])


def test_calibration_finds_the_slope_and_the_bias_that_made_the_targets():
    scores = np.linspace(-4, 6, 200)
    slope, bias = calibration(scores, expit(0.7 * scores - 0.4))
    assert slope == pytest.approx(0.7, rel=0.02)
    assert bias == pytest.approx(-0.4, abs=0.03)


@pytest.mark.parametrize("scores", [np.zeros(6), np.full(6, -0.7), np.arange(6)[::-1]])
def test_scores_that_do_not_rise_with_the_targets_keep_their_unit(scores: np.ndarray):
    targets = np.array([0.0, 0.0, 0.2, 0.4, 0.6, 0.6])
    slope, bias = calibration(scores, targets)
    assert slope == 1
    assert expit(scores.mean() + bias) == pytest.approx(0.3)


def test_one_member_is_audited_in_its_own_order():
    truth, scores = sample(40)
    fit = fit_pair_ensemble(scores[:1], truth, "graded")
    assert np.array_equal(np.argsort(fit.held_out), np.argsort(scores[0]))


@pytest.mark.parametrize("kind", ["graded", "binary"])
def test_the_better_member_weighs_most(kind):
    truth, scores = sample(2000)
    targets = (
        truth if kind == "graded" else (np.random.default_rng(1).uniform(size=2000) < truth).astype(float)
    )
    fit = fit_pair_ensemble(scores, targets, kind)
    assert sum(fit.weights) == pytest.approx(1)
    assert fit.weights[0] > fit.weights[1] >= 0
    assert fit.weights[0] > 0.8
    members = [Fixed(f"m{number}", one) for number, one in enumerate(scores)]
    teacher = EnsembleTeacher(members, fit.weights, fit.means, fit.stds, slope=fit.slope, bias=fit.bias)
    combined = teacher.combine(scores)
    # A calibrated logit: the mean of the expected labels is that of the labels.
    assert expit(combined).mean() == pytest.approx(targets.mean(), abs=0.005)
    assert np.corrcoef(fit.held_out, combined)[0, 1] > 0.999
    assert not np.array_equal(fit.held_out, combined)


def test_one_member_keeps_its_order():
    truth, scores = sample()
    fit = fit_pair_ensemble(scores[:1], truth, "graded")
    assert fit.weights == [1.0]
    assert fit.slope > 0


# Of 400 times -4.2 the deviation is rounded to something above 0.
@pytest.mark.parametrize("score", [1.0, -4.2])
def test_members_that_say_nothing_are_refused(score):
    truth, scores = sample()
    with pytest.raises(InputError, match=r"stsb: member 2 .* the same score"):
        fit_pair_ensemble(np.stack([scores[0], np.full(400, score)]), truth, "graded", name="stsb")


@pytest.mark.parametrize("kind", ["graded", "binary"])
def test_members_that_all_go_against_the_labels_are_refused(kind):
    # Deviations from the means, doubled: 3 -1 1 -3 and -1 1 -1 1, so that the first has -8 / sqrt(20 * 4).
    scores, targets = np.array([[3.0, 1.0, 2.0, 0.0], [1.0, 0.0, 1.0, 0.0]]), np.array([0.0, 1.0, 0.0, 1.0])
    problem = r"stsb: no member .* -0\.89 of member 1, -1\.00 of member 2.*--anyway.*`labels` says which end"
    with pytest.raises(InputError, match=problem):
        fit_pair_ensemble(scores, targets, kind, name="stsb")


def test_a_fold_without_which_no_member_goes_with_the_labels_takes_the_whole_fit():
    # One pair makes the correlation: without it both members go against the labels.
    scores = np.array([[0.0, 1.0, 2.0, 3.0, 4.0, 100.0], [0.0, 1.0, 4.0, 9.0, 16.0, 500.0]])
    targets = np.array([0.5, 0.4, 0.3, 0.2, 0.1, 1.0])
    fit = fit_pair_ensemble(scores, targets, "graded")
    standardised = (scores - np.array(fit.means)[:, None]) / np.array(fit.stds)[:, None]
    whole = fit.slope * (np.array(fit.weights) @ standardised) + fit.bias
    assert fit.held_out[5] == pytest.approx(whole[5])


@pytest.mark.parametrize(("kind", "metric"), [("graded", "Spearman"), ("binary", "Average precision")])
def test_the_audit_tells_better_from_worse_and_equal(kind, metric):
    truth, scores = sample()
    labels = truth if kind == "graded" else (truth > 0.5).astype(float)
    better = audit_pairs("set", scores[0], scores[1], labels, kind)
    assert (better.metric, better.verdict, better.passed) == (metric, "better", True)
    assert 0 < better.low < better.teacher - better.start < better.high
    worse = audit_pairs("set", scores[1], scores[0], labels, kind)
    assert worse.verdict == "not better"
    assert worse.low == pytest.approx(-better.high, abs=0.02)
    same = audit_pairs("set", scores[0], 2 * scores[0], labels, kind)
    assert (same.verdict, same.low, same.high) == ("not better", 0, 0)
    assert "backbone_layers" in same.explanation
