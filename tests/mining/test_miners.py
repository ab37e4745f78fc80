from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from limbeck.data import Judgements, RankedList, Rankings, fuse
from limbeck.errors import InputError
from limbeck.mining import BM25Miner, DenseMiner, UnionMiner, dense, mine_to


class ListMiner:
    """Gives prepared lists, and counts how many were asked for."""

    def __init__(self, name, lists):
        self.name = name
        self.lists = lists
        self.given = 0

    def mine(self, queries, depth):
        for query in queries:
            self.given += 1
            ids = self.lists.get(query.id, [])[:depth]
            yield RankedList(query.id, ids, np.arange(len(ids), 0, -1, dtype=float))


def test_bm25_miner(passages, queries):
    lists = {ranked.query_id: ranked.passage_ids for ranked in BM25Miner.build(passages).mine(queries, 10)}
    assert lists == {"q1": ["d4", "d2"], "q2": ["d1", "d2"], "q3": [], "q4": ["d3"]}


def test_union_is_reciprocal_rank_fusion(passages, queries):
    first = ListMiner("first", {"q1": ["d1", "d2", "d3"]})
    second = ListMiner("second", {"q1": ["d4", "d1"], "q2": ["d5"]})
    union = UnionMiner([first, second], member_depth=2)
    assert union.name == "first+second"
    ranked = {found.query_id: found for found in union.mine(queries, 3)}
    assert ranked["q1"].passage_ids == ["d1", "d4", "d2"]
    assert ranked["q1"].scores == pytest.approx([1 / 61 + 1 / 62, 1 / 61, 1 / 62])
    assert ranked["q2"].passage_ids == ["d5"]
    with pytest.raises(InputError, match="at least one"):
        UnionMiner([])


def test_union_agrees_with_the_fusion_of_the_lists(passages, queries):
    members = [BM25Miner.build(passages), ListMiner("l", {"q1": ["d5", "d4"], "q4": ["d1"]})]
    for ranked in UnionMiner(members).mine(queries, 3):
        lists = [next(r for r in m.mine(queries, 3) if r.query_id == ranked.query_id) for m in members]
        assert ranked == fuse(lists, 3)


def test_mine_to_streams_skips_and_fills_up(passages, queries, tmp_path):
    miner = ListMiner("lists", {"q1": ["d1", "d2", "d3", "d4"], "q2": ["d2", "d1"]})
    judged = Judgements([("q1", "d1", 2), ("q1", "d3", 0), ("q2", "d5", 1)])
    steps = []
    rankings = mine_to(tmp_path / "r.arrow", miner, queries, 2, skip=judged, progress=steps.append)
    assert rankings.to_dict() == {
        "q1": {"d2": 2.0, "d3": 1.0},
        "q2": {"d2": 2.0, "d1": 1.0},
        "q3": {},
        "q4": {},
    }
    assert rankings.source == "lists"
    assert sum(steps) == 4


def test_mine_to_leaves_nothing_behind_when_it_fails(passages, queries, tmp_path):
    class Failing(ListMiner):
        def mine(self, queries, depth):
            yield RankedList("q1", ["d1"], np.ones(1))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        mine_to(tmp_path / "r.arrow", Failing("f", {}), queries, 2)
    assert not list(tmp_path.glob("*r.arrow*"))


def test_mine_to_holds_one_list_at_a_time(passages, queries, tmp_path):
    """What has been mined is handed on before the next query is asked for."""
    miner = ListMiner("lists", {})
    behind = []
    mine_to(tmp_path / "r.arrow", miner, queries, 2, progress=lambda _: behind.append(miner.given))
    assert behind == [1, 2, 3, 4]


@settings(max_examples=30, deadline=None)
@given(data=st.data(), depth=st.integers(1, 12), block=st.integers(1, 5))
def test_top_rows_agree_with_sorting_everything(data, depth, block):
    values = st.sampled_from([-1.0, 0.0, 0.5, 1.0])
    vectors = data.draw(arrays(np.float32, (data.draw(st.integers(1, 10)), 3), elements=values))
    asked = data.draw(arrays(np.float32, (2, 3), elements=values))
    before, dense.SEARCH_BLOCK = dense.SEARCH_BLOCK, block
    try:
        rows, scores = dense.top_rows(asked, vectors, depth)
    finally:
        dense.SEARCH_BLOCK = before
    everything = asked @ vectors.T
    for query in range(2):
        best = sorted(range(len(vectors)), key=lambda row: (-everything[query, row], row))[:depth]
        assert rows[query].tolist() == best
        assert scores[query].tolist() == everything[query, best].tolist()


def test_dense_miner(passages, queries, tiny_encoder_path, tmp_path, monkeypatch):
    encoded = []
    monkeypatch.setattr(dense, "ENCODE_BLOCK", 2)
    miner = DenseMiner(tiny_encoder_path, passages, folder=tmp_path / "kept", progress=encoded.append)
    assert encoded == [2, 2, 1]
    lists = list(miner.mine(queries, 3))
    assert [ranked.query_id for ranked in lists] == ["q1", "q2", "q3", "q4"]
    assert all(len(ranked) == 3 and (np.diff(ranked.scores) <= 0).all() for ranked in lists)
    assert all(len(ranked) == 5 for ranked in miner.mine(queries, 50))
    again = DenseMiner(tiny_encoder_path, passages, folder=tmp_path / "kept", progress=encoded.append)
    assert encoded == [2, 2, 1]  # what was kept is used
    assert list(again.mine(queries, 3)) == lists
    rankings = mine_to(tmp_path / "r.arrow", again, queries, 3)
    assert Rankings.open(tmp_path / "r.arrow").fingerprint == rankings.fingerprint


def test_a_model_that_is_not_there(passages, tmp_path):
    with pytest.raises(InputError, match="no model can be loaded"):
        DenseMiner(tmp_path / "nothing", passages)
