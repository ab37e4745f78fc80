"""Near-duplicates, against all pairs compared with each other."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.query_generation.near_duplicates import grams, similar_pairs, similarity


def test_similarity_by_hand():
    # " cat" has the runs " ca", "cat", "at "; " cats" has " ca", "cat", "ats", "ts ": 2 of 5 are shared.
    assert grams("cat") == {" ca", "cat", "at "}
    assert similarity("cat", "cats") == pytest.approx(2 / 5)
    assert similarity("", "cat") == 0
    assert grams("a") == {" a "}


@given(
    st.lists(st.text("ab c", max_size=12), max_size=12),
    st.sampled_from([0.2, 1 / 3, 0.5, 2 / 3, 0.8, 0.9, 1.0]),
)
def test_pairs_are_those_of_comparing_all_with_all(texts, threshold):
    found = list(similar_pairs(texts, threshold))
    assert sorted(found) == [
        (one, other)
        for one, other in combinations(range(len(texts)), 2)
        if similarity(texts[one], texts[other]) >= threshold - 1e-9
    ]


def test_a_threshold_that_finds_all_or_nothing(refused):
    for threshold in (0, 1.5):
        refused(lambda threshold=threshold: list(similar_pairs(["a"], threshold)), "the threshold is")
