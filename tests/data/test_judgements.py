from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import Judgements, Passage, Passages, Queries, Query

ROWS = [("q1", "d1", 1), ("q2", "d9", 0), ("q1", "d2", 3), ("q1", "d3", 1), ("q1", "d4", -2)]


def test_grades_and_order():
    judgements = Judgements(ROWS)
    assert len(judgements) == 5
    assert judgements.query_ids == ["q1", "q2"]
    assert judgements.grades("q1") == {"d1": 1, "d2": 3, "d3": 1, "d4": -2}
    assert judgements.relevant("q1") == ["d2", "d1", "d3"]
    assert judgements.relevant("q2") == judgements.relevant("q3") == []
    assert judgements.grades("q3") == {}
    assert "q2" in judgements
    assert "q3" not in judgements


def test_what_is_given_out_is_a_copy():
    judgements = Judgements(ROWS)
    judgements.grades("q2")["d9"] = 7
    assert judgements.grades("q2") == {"d9": 0}


def test_subset_takes_the_order_asked_for():
    subset = Judgements(ROWS).subset(["q2", "q7", "q1", "q2"])
    assert subset.query_ids == ["q2", "q1"]
    assert len(subset) == 5


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.tuples(st.sampled_from("abc"), st.text(min_size=1, max_size=3)), st.integers(-2, 4))
)
def test_what_is_written_is_read(tmp_path_factory, grades):
    judgements = Judgements((*pair, grade) for pair, grade in grades.items())
    path = tmp_path_factory.mktemp("judgements") / "j.arrow"
    judgements.write(path)
    again = Judgements.open(path)
    assert list(again) == list(judgements)
    assert {(query, passage): grade for query, passage, grade in again} == grades
    assert again.fingerprint == judgements.fingerprint == Judgements(list(judgements)).fingerprint


def test_the_fingerprint_is_of_the_content():
    others = [ROWS[:-1], [("q1", "d1", 2), *ROWS[1:]], [("q1", "d0", 1), *ROWS[1:]]]
    assert len({Judgements(rows).fingerprint for rows in [ROWS, *others]}) == 4


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([("q", "d", 1), ("q", "e", 1), ("q", "d", 2)], "'q' and passage 'd' are judged twice .record 3"),
        ([("q", "d", 0.5)], "the grade of query 'q' and passage 'd' is 0.5"),
        ([("q", "d", float("nan"))], "is nan"),
        ([("q", "d", 3_000_000_000)], "'q' and passage 'd' is 3000000000.* at most 1,000,000"),
        ([("q", "d", -(10**30))], "is -1000"),
        ([("", "d", 1)], "an empty id"),
        ([("q", "", 1)], "an empty id"),
    ],
)
def test_bad_rows_are_refused(refused, rows, match):
    refused(lambda: Judgements(rows), match)


def test_numpy_grades_are_whole_numbers():
    assert Judgements([("q", "d", np.int64(2))]).grades("q") == {"d": 2}


def test_check(tmp_path, refused):
    passages = Passages.write(tmp_path / "p.arrow", [Passage("d1", "x"), Passage("d2", "x")])
    queries = Queries.write(tmp_path / "q.arrow", [Query("q1", "x")])
    Judgements([("q1", "d1", 1)]).check(passages, queries)
    refused(
        lambda: Judgements([("q1", "d7", 1), ("q1", "d8", 1)]).check(passages, queries),
        "passage 'd7' is .* .2 such",
    )
    refused(
        lambda: Judgements([("q9", "d1", 1)]).check(passages, queries),
        "query 'q9' is judged but does not exist",
    )
