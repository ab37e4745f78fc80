"""Nearest texts against a search of all of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.mining.neighbours import nearest_texts


def test_queries_find_those_that_may_be_found():
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]], np.float32)
    asked = np.array([[0, 1]], np.float32)
    found = nearest_texts(vectors, [0], [[2]], 2, queries=asked, among=np.array([0, 1, 2]))
    assert found.tolist() == [[1, -1]]  # 0 asks, 2 is excluded, 3 cannot be found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(0, 8))
def test_it_finds_what_a_search_of_all_finds(seed: int, texts: int, count: int):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(texts, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = rng.permutation(texts)[: max(1, texts // 2)].tolist()
    excluded = [rng.permutation(texts)[: rng.integers(0, 4)].tolist() for _ in rows]
    found = nearest_texts(vectors, rows, excluded, count)
    assert found.shape == (len(rows), count)
    for row, out, mine in zip(rows, excluded, found.tolist(), strict=True):
        others = [text for text in range(texts) if text != row and text not in out]
        best = sorted(others, key=lambda text: -float(vectors[row] @ vectors[text]))[:count]
        real = [text for text in mine if text >= 0]
        assert mine == real + [-1] * (count - len(real))
        cosines = [vectors[row] @ vectors[text] for text in real]
        assert np.allclose(cosines, [vectors[row] @ vectors[text] for text in best], atol=1e-6)
        assert len(set(real)) == len(best)
        assert set(real) <= set(others)
