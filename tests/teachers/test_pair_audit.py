from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from limbeck.errors import InputError
from limbeck.teachers.pair_audit import audit_pairs


def noisy(labels, *noises, seed=0):
    rng = np.random.default_rng(seed)
    return [labels + rng.normal(0, noise, len(labels)) for noise in noises]


def test_a_teacher_is_set_against_the_start_on_the_metric_of_the_labels():
    graded = np.random.default_rng(1).uniform(0, 1, 150)
    teacher, start = noisy(graded, 0.2, 0.6)
    audit = audit_pairs("sts", teacher, start, graded, "graded")
    assert (audit.metric, audit.verdict, audit.passed) == ("Spearman", "better", True)
    assert audit.teacher == pytest.approx(stats.spearmanr(teacher, graded).statistic)
    assert audit.start == pytest.approx(stats.spearmanr(start, graded).statistic)
    assert 0 < audit.low < audit.teacher - audit.start < audit.high
    classes = np.round(graded)
    audit = audit_pairs("nli", teacher, start, classes, "binary")
    assert audit.metric == "Average precision"
    assert audit.teacher == pytest.approx(average_precision_score(classes, teacher))
    assert "nli: on 150 dev pairs the teacher has Average precision" in audit.explanation


def test_a_teacher_that_is_worse_or_hardly_better_is_told_from_one_that_is():
    labels = np.random.default_rng(2).uniform(0, 1, 80)
    good, bad = noisy(labels, 0.2, 0.7)
    assert audit_pairs("x", bad, good, labels, "graded").verdict == "not better"
    assert not audit_pairs("x", good, good, labels, "graded").passed
    nearly = good.copy()
    nearly[:4] = bad[:4]
    audit = audit_pairs("x", good, nearly, labels, "graded")
    assert (audit.verdict, audit.passed) == ("unclear", True)
    assert audit.low < 0 < audit.high


def test_scores_that_say_nothing_are_refused():
    labels = np.linspace(0, 1, 10)
    with pytest.raises(InputError, match="all scores are equal"):
        audit_pairs("x", np.ones(10), labels, labels, "graded")
