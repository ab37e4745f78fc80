"""Rank lists: draws, order, and what a teacher may get wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import Judgements, RankedList, Rankings
from limbeck.errors import InputError
from limbeck.students.generative.ranking.lists import QueryLists, judged, ranked_lists

JUDGEMENTS = Judgements([("q1", "a", 1), ("q1", "b", 2), ("q1", "n0", 0), ("q2", "c", 1)])
TEACHER = Rankings.from_dict(
    {
        "q1": {"a": 0.5, "b": 0.7, "n0": 0.9, "n1": 0.2, "n2": 0.6, "n3": 0.1},
        "q2": {"c": 3.0, "n1": 1.0},
        "q9": {"x": 1.0, "y": 2.0},
    },
    "teacher",
)


def test_positives_head_lists_of_the_same_negatives_in_the_teachers_order():
    q1, q2 = ranked_lists(TEACHER, JUDGEMENTS)
    assert sorted(q1.positives) == ["a", "b"]
    assert [one.passage_ids for one in q1.lists] == [
        [positive, "n0", "n2", "n1", "n3"] for positive in q1.positives
    ]
    for one in q1.lists:
        # The teacher prefers n0 to either positive; the positive leads by next to nothing.
        assert one.scores[0] == pytest.approx(0.9, abs=1e-5)
        assert one.scores[0] > one.scores[1] == 0.9
        assert one.scores[2:] == [0.6, 0.2, 0.1]
    assert (q2.query_id, q2.positives, q2.negatives) == ("q2", ["c"], ["n1"])
    assert q2.lists[0].scores == [3.0, 1.0]  # a positive that leads anyway keeps its score


def test_judged_positives_are_never_negatives_and_draws_are_bounded():
    (q1, q2) = ranked_lists(TEACHER, JUDGEMENTS, positives=1, negatives=2)
    assert len(q1.positives) == 1
    assert len(q1.negatives) == 2
    assert set(q1.negatives) < {"n0", "n1", "n2", "n3"}
    assert len(q2.negatives) == 1


@given(st.permutations(["n0", "n1", "n2", "n3"]), st.integers(0, 5))
def test_draws_do_not_depend_on_scores_or_on_other_queries(order, seed):
    expected = ranked_lists(TEACHER, JUDGEMENTS, positives=1, negatives=2, seed=seed)[0]
    scores = {"a": -1.0, "b": -2.0} | {passage: float(place) for place, passage in enumerate(order)}
    other = Rankings.from_dict({"q1": scores}, "other")
    found = ranked_lists(other, JUDGEMENTS, positives=1, negatives=2, seed=seed)[0]
    assert (found.positives, set(found.negatives)) == (expected.positives, set(expected.negatives))


def test_seeds_draw_differently_and_rounds_use_what_there_is():
    seeds = {
        tuple(ranked_lists(TEACHER, JUDGEMENTS, negatives=2, seed=seed)[0].negatives) for seed in range(9)
    }
    assert len(seeds) > 1
    rounds = [row for row in ranked_lists(TEACHER, JUDGEMENTS, negatives=2, draws=2) if row.query_id == "q1"]
    assert len(rounds) == 2
    assert set(rounds[0].negatives) | set(rounds[1].negatives) == {"n0", "n1", "n2", "n3"}


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_every_round_is_a_sound_draw(positives, negatives, draws):
    rows = ranked_lists(TEACHER, JUDGEMENTS, positives=positives, negatives=negatives, draws=draws)
    q1 = [row for row in rows if row.query_id == "q1"]
    assert len(q1) == draws
    for row in q1:
        assert len(set(row.positives)) == min(positives, 2)
        assert len(set(row.negatives)) == min(negatives, 4)


def test_ties_stand_by_id_with_equal_scores():
    row = QueryLists("q", ["a"], ["n2", "n1"], [5.0], [1.0, 1.0])
    assert row.lists[0].passage_ids == ["a", "n1", "n2"]
    assert row.lists[0].scores == [5.0, 1.0, 1.0]


@pytest.mark.parametrize("score", [-4e6, 0.0, 7e9])
def test_a_positive_leads_at_any_scale(score):
    (one,) = QueryLists("q", ["a"], ["b"], [score], [score]).lists
    assert one.scores[0] > one.scores[1]


def test_a_teacher_that_scores_too_little():
    teacher = Rankings.from_dict({"q1": {"a": 1.0}, "q2": {"n1": 1.0}}, "teacher")
    found = ranked_lists(teacher, JUDGEMENTS)
    assert len(found) == 0
    assert found.unscored == [("q1", "b"), ("q2", "c")]
    assert found.without_negatives == ["q1"]
    with pytest.raises(InputError, match=r"not scored 6 of the candidates.*'b' of query 'q1'"):
        ranked_lists(teacher, JUDGEMENTS, candidates=TEACHER)
    assert len(ranked_lists(TEACHER, JUDGEMENTS, candidates=TEACHER)) == 2


def test_no_teacher_is_the_judgements():
    rankings = judged(TEACHER, JUDGEMENTS)
    assert rankings.to_dict() == {
        "q1": {"b": 2.0, "a": 1.0, "n0": 0.0, "n1": 0.0, "n2": 0.0, "n3": 0.0}, "q2": {"c": 1.0, "n1": 0.0},
    }  # fmt: skip
    for one in ranked_lists(rankings, JUDGEMENTS)[0].lists:
        assert one.scores[0] >= 1
        assert one.scores[1:] == [0, 0, 0, 0]


def test_bad_lists():
    with pytest.raises(InputError, match="1 positives and 0 negatives"):
        QueryLists("q", ["a"], [], [1.0], [])
    with pytest.raises(InputError, match="stands twice"):
        QueryLists("q", ["a"], ["a"], [1.0], [1.0])
    with pytest.raises(InputError, match="2 passages and 3 scores"):
        QueryLists("q", ["a"], ["b"], [1.0], [1.0, 2.0])
    for bad in (math.nan, math.inf):
        with pytest.raises(InputError, match=f"'b' is {bad}"):
            QueryLists("q", ["a"], ["b"], [1.0], [bad])
    with pytest.raises(InputError, match="negatives is 0"):
        ranked_lists(TEACHER, JUDGEMENTS, negatives=0)


def test_rankings_refuse_a_teachers_nan():
    with pytest.raises(InputError, match="nan"):
        Rankings.from_lists([RankedList("q", ["a"], np.array([np.nan]))], "teacher")
