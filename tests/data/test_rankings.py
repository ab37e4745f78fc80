from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import Passage, Passages, Queries, Query, RankedList, Rankings, fuse

SCORES = {"q2": {"b": 1.0, "a": 1.0, "c": 2.0}, "q1": {"c": -1.0, "a": 0.5}}
some_scores = st.dictionaries(
    st.text(min_size=1, max_size=2),
    st.dictionaries(
        st.text(min_size=1, max_size=2),
        st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1.0]),
    ),
    max_size=6,
)


def in_order(scores: dict[str, dict[str, float]]) -> dict[str, list[tuple[str, float]]]:
    return {
        query: sorted(of_query.items(), key=lambda pair: (-pair[1], pair[0]))
        for query, of_query in scores.items()
    }


def listed(rankings: Rankings) -> dict[str, list[tuple[str, float]]]:
    return {one.query_id: list(zip(one.passage_ids, one.scores.tolist(), strict=True)) for one in rankings}


@pytest.fixture(params=["memory", "file", "view"])
def rankings(request, tmp_path) -> Rankings:
    """The same table in memory, mapped from a file, and as a part of a larger one."""
    if request.param == "memory":
        return Rankings.from_dict(SCORES, "bm25")
    if request.param == "file":
        Rankings.from_dict(SCORES, "bm25").write(tmp_path / "r.arrow")
        return Rankings.open(tmp_path / "r.arrow")
    more = {"q0": {"z": 1.0}} | {
        query: of_query | {"y": -9.0} for query, of_query in reversed(SCORES.items())
    }
    Rankings.from_dict(more, "bm25").write(tmp_path / "r.arrow")
    mapped = Rankings.open(tmp_path / "r.arrow").for_queries(["q2", "q1"])
    return Rankings.from_lists(
        (RankedList(r.query_id, r.passage_ids[:-1], r.scores[:-1]) for r in mapped), "bm25"
    )


def test_reading(rankings):
    assert listed(rankings) == {"q2": [("c", 2.0), ("a", 1.0), ("b", 1.0)], "q1": [("a", 0.5), ("c", -1.0)]}
    assert len(rankings) == 5
    assert rankings.query_ids == ["q2", "q1"]
    assert rankings.source == "bm25"
    assert rankings.list_for("q1") == RankedList("q1", ["a", "c"], np.array([0.5, -1.0]))
    assert rankings.list_for("q7") == RankedList("q7", [], np.zeros(0))
    assert list(rankings.pairs()) == [("q2", "c"), ("q2", "a"), ("q2", "b"), ("q1", "a"), ("q1", "c")]
    assert rankings.scores.tolist() == [2.0, 1.0, 1.0, 0.5, -1.0]
    assert rankings.to_dict() == SCORES
    assert "q1" in rankings
    assert "q7" not in rankings
    assert rankings.fingerprint == Rankings.from_dict(SCORES, "bm25").fingerprint


def test_as_an_arrow_table(rankings):
    table = rankings.to_table()
    assert table.column_names == ["query_id", "passage_id", "score", "source"]
    assert table.to_pylist()[1] == {"query_id": "q2", "passage_id": "a", "score": 1.0, "source": "bm25"}
    assert str(table.schema.field("passage_id").type).startswith("dictionary")


def test_top_and_for_queries_are_parts(rankings):
    assert rankings.top(1).to_dict() == {"q2": {"c": 2.0}, "q1": {"a": 0.5}}
    assert len(rankings.top(2)) == 4
    assert rankings.top(2).scores.tolist() == [2.0, 1.0, 0.5, -1.0]
    assert len(rankings.top(0)) == 0
    assert rankings.top(99).fingerprint == rankings.fingerprint
    part = rankings.for_queries(["q1", "q9", "q1"])
    assert listed(part) == {"q1": [("a", 0.5), ("c", -1.0)]}
    assert rankings.for_queries(["q1", "q2"]).query_ids == ["q1", "q2"]
    assert part.list_for("q2").passage_ids == []
    assert rankings.top(2).for_queries(["q2"]).top(1).to_dict() == {"q2": {"c": 2.0}}
    with pytest.raises(ValueError, match="at least 0"):
        rankings.top(-1)


def test_rescored_sorts_anew(rankings):
    again = rankings.rescored(np.array([0.0, 5.0, 5.0, 1.0, 2.0], np.float32), "teacher")
    assert listed(again) == {"q2": [("a", 5.0), ("b", 5.0), ("c", 0.0)], "q1": [("c", 2.0), ("a", 1.0)]}
    assert again.source == "teacher"
    assert rankings.top(1).rescored(np.array([3.0, 4.0]), "t").to_dict() == {
        "q2": {"c": 3.0},
        "q1": {"a": 4.0},
    }


def test_rescored_refuses(rankings, refused):
    refused(lambda: rankings.rescored(np.ones(4), "t"), r"scores have shape \(4,\)")
    refused(lambda: rankings.rescored(np.ones((5, 1)), "t"), "one score a row")
    bad = np.array([1, 1, 1, np.inf, np.nan])
    refused(lambda: rankings.rescored(bad, "t"), "the score of query 'q1' and passage 'a' is inf")


def test_pickled(rankings):
    for table in (rankings, rankings.top(2), rankings.for_queries(["q1"])):
        again = pickle.loads(pickle.dumps(table))
        assert listed(again) == listed(table)
        assert again.source == table.source
        assert again.fingerprint == table.fingerprint


@settings(max_examples=60, deadline=None)
@given(scores=some_scores, data=st.data())
def test_against_plain_sorting(tmp_path_factory, scores, data):
    rankings = Rankings.from_dict(scores, "s")
    assert listed(rankings) == in_order(scores)
    path = tmp_path_factory.mktemp("rankings") / "r.arrow"
    rankings.write(path)
    mapped = Rankings.open(path)
    new = np.array([data.draw(st.sampled_from([-1.0, 0.0, 2.0])) for _ in range(len(rankings))])
    changed = {query: {} for query in scores}
    for (query, passage), score in zip(rankings.pairs(), new.tolist(), strict=True):
        changed[query][passage] = score
    depth = data.draw(st.integers(0, 3))
    chosen = data.draw(st.lists(st.sampled_from(sorted(scores)), unique=True)) if scores else []
    for table in (rankings, mapped):
        assert listed(table) == in_order(scores)
        assert listed(table.rescored(new, "t")) == in_order(changed)
        assert listed(table.top(depth)) == {query: rows[:depth] for query, rows in in_order(scores).items()}
        assert listed(table.for_queries(chosen)) == {query: in_order(scores)[query] for query in chosen}
        part = table.for_queries(chosen).top(depth)
        assert list(part.pairs()) == [
            (query, id_) for query in chosen for id_, _ in in_order(scores)[query][:depth]
        ]
        assert part.scores.tolist() == [
            score for query in chosen for _, score in in_order(scores)[query][:depth]
        ]
    assert mapped.fingerprint == rankings.fingerprint == Rankings.from_dict(scores, "s").fingerprint


@settings(max_examples=40, deadline=None)
@given(st.lists(some_scores, max_size=3), st.none() | st.integers(0, 4))
def test_union_fuses_query_by_query(tables, depth):
    rankings = [Rankings.from_dict(scores, f"s{at}") for at, scores in enumerate(tables)]
    union = Rankings.union(rankings, depth)
    assert union.query_ids == list(dict.fromkeys(query for scores in tables for query in scores))
    for query in union.query_ids:
        assert union.list_for(query) == fuse([one.list_for(query) for one in rankings], depth)


def test_union_says_who_found_what():
    bm25 = Rankings.from_dict({"q1": {"a": 9.0, "b": 8.0}, "q2": {"a": 1.0}}, "bm25")
    dense = Rankings.from_dict({"q1": {"c": 0.9, "b": 0.8}}, "dense")
    union = Rankings.union([bm25, dense])
    assert union.source == "bm25+dense"
    found = {(row["query_id"], row["passage_id"]): row["source"] for row in union.to_table().to_pylist()}
    assert found == {
        ("q1", "b"): "bm25+dense",
        ("q1", "a"): "bm25",
        ("q1", "c"): "dense",
        ("q2", "a"): "bm25",
    }
    assert Rankings.union([union, dense]).source == "bm25+dense"


def test_sources_survive_a_file(tmp_path):
    union = Rankings.union(
        [Rankings.from_dict(SCORES, "bm25"), Rankings.from_dict({"q1": {"x": 1.0}}, "dense")]
    )
    union.write(tmp_path / "r.arrow")
    again = Rankings.open(tmp_path / "r.arrow")
    assert again.source == "bm25+dense"
    assert again.to_table().equals(union.to_table())
    assert again.fingerprint == union.fingerprint


def test_empty(tmp_path):
    for table in (Rankings.empty(), Rankings.union([]), Rankings.from_dict({}, "s")):
        table.write(tmp_path / "r.arrow")
        for one in (table, Rankings.open(tmp_path / "r.arrow"), pickle.loads(pickle.dumps(table))):
            assert len(one) == 0
            assert list(one) == list(one.pairs()) == one.query_ids == []
            assert one.scores.shape == (0,)
            assert one.rescored(np.zeros(0), "t").to_dict() == one.top(3).to_dict() == {}
            assert one.to_table().num_rows == 0


def test_a_query_may_have_an_empty_list(tmp_path):
    rankings = Rankings.from_dict({"q1": {}, "q2": {"a": 1.0}, "q3": {}}, "s")
    rankings.write(tmp_path / "r.arrow")
    assert (
        Rankings.open(tmp_path / "r.arrow").to_dict()
        == rankings.to_dict()
        == {"q1": {}, "q2": {"a": 1.0}, "q3": {}}
    )


def test_unsound_lists_are_refused(refused):
    one = RankedList("q", ["a"], np.ones(1))
    refused(lambda: Rankings.from_lists([one, one], "s"), "query 'q' has two lists")
    refused(lambda: Rankings.from_dict({"q": {"a": float("nan")}}, "s"), "the score nan")
    refused(lambda: Rankings.from_dict({"q": {"\ud83d": 1.0}}, "s"), "half of a surrogate pair")


def test_check(tmp_path, refused):
    passages = Passages.write(tmp_path / "p.arrow", [Passage(id_, "x") for id_ in "abc"])
    queries = Queries.write(tmp_path / "q.arrow", [Query("q1", "x"), Query("q2", "x")])
    Rankings.from_dict(SCORES, "s").check(passages, queries)
    refused(
        lambda: Rankings.from_dict({"q1": {"z": 1}}, "s").check(passages, queries), "passage 'z' is ranked"
    )
    refused(
        lambda: Rankings.from_dict({"q9": {"a": 1}}, "s").check(passages, queries), "query 'q9' is ranked"
    )
