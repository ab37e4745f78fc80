from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import RankedList, fuse

few = st.dictionaries(st.text(min_size=1, max_size=2), st.sampled_from([-1.5, 0.0, 0.25, 1e9]), max_size=12)


def ranked(*pairs: tuple[str, float]) -> RankedList:
    return RankedList("q", [passage_id for passage_id, _ in pairs], np.array([score for _, score in pairs]))


def test_order_is_by_score_then_by_id():
    assert ranked(("b", 1), ("c", 2), ("a", 1), ("é", 2)).ordered() == ranked(
        ("c", 2), ("é", 2), ("a", 1), ("b", 1)
    )


@given(few)
def test_order_is_that_of_sorted(scores):
    ordered = ranked(*scores.items()).ordered()
    assert list(zip(ordered.passage_ids, ordered.scores.tolist(), strict=True)) == sorted(
        scores.items(), key=lambda pair: (-pair[1], pair[0])
    )


@pytest.mark.parametrize(
    ("given_list", "match"),
    [
        (ranked(("a", 1), ("b", float("nan"))), "gives passage 'b' the score nan"),
        (ranked(("a", float("-inf"))), "gives passage 'a' the score -inf"),
        (ranked(("a", 2), ("b", 1), ("a", 0)), "ranks passage 'a' twice"),
        (ranked(("", 2)), "an empty id"),
        (RankedList("", ["a"], np.ones(1)), "an empty id"),
        (RankedList("q", ["a"], np.ones(2)), r"1 passages and scores of shape \(2,\)"),
        (RankedList("q", ["a"], np.ones((1, 1))), r"shape \(1, 1\)"),
    ],
)
def test_unsound_lists_are_refused(refused, given_list, match):
    refused(given_list.ordered, match)


def test_fuse_by_hand():
    first, second = ranked(("a", 9), ("b", 8), ("c", 7)), ranked(("d", 0.9), ("a", 0.8), ("e", 0.7))
    # a: 1/61 + 1/62; d: 1/61; b: 1/62; c and e: 1/63 each.
    everything = fuse([first, second])
    assert everything.passage_ids == ["a", "d", "b", "c", "e"]
    assert everything.scores == pytest.approx([1 / 61 + 1 / 62, 1 / 61, 1 / 62, 1 / 63, 1 / 63], abs=0)
    # Round-robin: a, d, b, (a again), c; so three are a, d, b.
    assert fuse([first, second], depth=3).passage_ids == ["a", "d", "b"]
    assert fuse([second, first], depth=2).passage_ids == ["a", "d"]
    assert fuse([first, ranked()]).passage_ids == ["a", "b", "c"]
    assert len(fuse([ranked(), ranked()])) == 0


def test_every_list_gives_its_share():
    """A passage low in both lists has the best fused score, and yet must not oust the second of a list."""
    first = ranked(("a", 3), ("b", 2), ("z", 1))
    second = ranked(("c", 3), ("d", 2), ("z", 1))
    assert set(fuse([first, second], depth=4).passage_ids) == {"a", "b", "c", "d"}
    assert fuse([first, second]).passage_ids[0] == "z"


@given(st.lists(few, min_size=1, max_size=4), st.integers(0, 8))
def test_fuse_is_what_a_plain_loop_finds(all_scores, depth):
    lists = [ranked(*scores.items()).ordered() for scores in all_scores]
    order: list[str] = []
    for rank in range(12):
        order += [one.passage_ids[rank] for one in lists if rank < len(one)]
    chosen = list(dict.fromkeys(order))[:depth]
    score = {
        id_: sum(1 / (61 + one.passage_ids.index(id_)) for one in lists if id_ in one.passage_ids)
        for id_ in chosen
    }
    fused = fuse(lists, depth)
    assert fused.passage_ids == sorted(chosen, key=lambda id_: (-score[id_], id_))
    assert fused.scores.tolist() == sorted(score.values(), reverse=True)


def test_only_lists_of_one_query_are_fused():
    with pytest.raises(ValueError, match="lists of one query"):
        fuse([ranked(("a", 1)), RankedList("other", ["a"], np.ones(1))])
    with pytest.raises(ValueError, match="lists of one query"):
        fuse([])


def test_equality():
    assert ranked(("a", 1)) == ranked(("a", 1))
    assert ranked(("a", 1)) != ranked(("a", 2))
    assert ranked(("a", 1)) != "a"
