"""Which identifiers count: by hand, and as the index's aggregation has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.indexes.fm_index import IdentifierIndex, Unigrams
from limbeck.students.generative.ranking.counting import Counted, Counter


def test_by_hand():
    counter = Counter([(5, 6), (6, 7), (5,), (9, 9), (5, 6)], 0.8)
    # (6, 7) overlaps (5, 6); the second 5 is free, and not new; (9, 9) has one kind of token, both new.
    assert counter.count([5, 6, 7, 5, 9, 9]) == [
        Counted(0, 0, 1.0), Counted(2, 3, pytest.approx(0.2)), Counted(3, 4, 1.0),
    ]  # fmt: skip
    assert counter.count([]) == []
    assert counter.count([6]) == []
    assert Counter([], 0.8).count([1, 2]) == []


def test_a_later_occurrence_counts_where_the_first_is_taken():
    counter = Counter([(1, 2), (2, 3)], 0.5)
    # 2 is not new: 1 - 0.5 + 0.5 · 1/2
    assert counter.count([1, 2, 3, 2, 3]) == [Counted(0, 0, 1.0), Counted(1, 3, 0.75)]


TOKENS = st.integers(1, 4)
IDENTIFIERS = st.lists(st.lists(TOKENS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(TOKENS, min_size=1, max_size=12), min_size=1, max_size=4),
    IDENTIFIERS,
    st.lists(TOKENS, max_size=3, unique=True),
    st.data(),
)
def test_scores_are_those_of_the_index(tmp_path_factory, passages, identifiers, singles, data):
    weights = data.draw(
        st.lists(
            st.integers(1, 9),
            min_size=len(identifiers) + len(singles),
            max_size=len(identifiers) + len(singles),
        )
    )
    index = IdentifierIndex.build(tmp_path_factory.mktemp("index") / "index", passages)
    unigrams = Unigrams(
        np.array([0, len(singles)]),
        np.array(singles, np.uint32),
        np.array(weights[len(identifiers) :], float),
    )
    scores = index.aggregate(
        identifiers, weights[: len(identifiers)], [0, len(identifiers)], unigrams=unigrams, repetition=0.8
    )
    every = [*identifiers, *((token,) for token in singles)]
    order = sorted(range(len(every)), key=lambda place: -weights[place])
    counter = Counter([every[place] for place in order], 0.8)
    for result, number in enumerate(scores.passages.tolist()):
        counted = counter.count(passages[number])
        matches = slice(*scores.match_offsets[result : result + 2].tolist())
        assert [order[one.entry] for one in counted] == scores.match_entries[matches].tolist()
        assert [one.position for one in counted] == scores.match_positions[matches].tolist()
        found = sum(weights[order[one.entry]] * one.factor for one in counted)
        assert found == pytest.approx(scores.scores[result], rel=1e-12)
