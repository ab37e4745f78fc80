from __future__ import annotations

import json

import numpy as np
import pytest

from limbeck.data import Judgements, Rankings
from limbeck.errors import InputError
from limbeck.teachers import TeacherNotBetterError, audit

QUERIES = [f"q{number}" for number in range(20)]
JUDGED = Judgements((query, "good", 1) for query in QUERIES)


def ranked(ranks):
    """Ten candidates a query, the relevant one at the given rank (from 1)."""
    lists = {}
    for query, rank in zip(QUERIES, ranks, strict=True):
        ids = [f"d{number}" for number in range(9)]
        ids.insert(rank - 1, "good")
        lists[query] = {passage_id: 10.0 - at for at, passage_id in enumerate(ids)}
    return Rankings.from_dict(lists, "x")


def test_a_teacher_that_is_better():
    report = audit(ranked([1] * 20), ranked([3] * 20), ranked([2] * 20), JUDGED, metric="mrr@10")
    assert report.verdict == "better"
    assert report.passed
    assert report.headroom == pytest.approx(0.5)
    assert report.against_bm25.difference == pytest.approx(2 / 3)
    assert {name: run.mean("MRR@10") for name, run in report.systems.items()} == pytest.approx(
        {"teacher": 1, "student's start": 1 / 2, "bm25": 1 / 3, "perfect order": 1}
    )
    assert "something to distil" in report.explanation
    report.require()
    assert report.table_rows()[0] == ["System", "MRR@10", "nDCG@10", "Recall@100"]
    assert len(report.table_rows()) == 5
    assert json.loads(json.dumps(report.to_dict()))["wins"] == 20


def test_a_teacher_that_is_no_better_stops_the_run():
    same = ranked([2] * 20)
    for teacher in (same, ranked([3] * 20)):
        report = audit(teacher, ranked([1] * 20), same, JUDGED)
        assert report.verdict == "not better"
        assert not report.passed
        with pytest.raises(TeacherNotBetterError, match=r"ensemble of BM25.*--anyway"):
            report.require()


def test_a_teacher_that_may_be_better_by_chance():
    start = ranked([2] * 20)
    teacher = ranked([1, *[2] * 19])
    report = audit(teacher, start, start, JUDGED)
    assert report.verdict == "unclear"
    assert "chance" in report.explanation
    report.require()


def test_the_same_candidates_are_compared():
    start = ranked([2] * 20)
    with pytest.raises(InputError, match="different candidates for query 'q0'"):
        audit(start, start, start.top(5), JUDGED)


def test_it_is_deterministic():
    rng = np.random.default_rng(0)
    teacher, start, bm25 = (ranked(rng.integers(1, 11, 20)) for _ in range(3))
    assert audit(teacher, bm25, start, JUDGED).to_dict() == audit(teacher, bm25, start, JUDGED).to_dict()
