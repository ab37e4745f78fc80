from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.indexes.vectors import VectorIndex
from limbeck.indexes.vectors import index as index_module
from limbeck.indexes.vectors.scoring import Best, Bf16InteractionScorer, InteractionScorer, best_positions
from tests.indexes.vectors.conftest import random_vectors, random_weights

# few values, so that ties abound
scores = st.lists(st.integers(-2, 2), min_size=1, max_size=30)


@given(scores, st.integers(1, 35), st.integers(1, 8))
def test_best_of_blocks_is_best_of_all(values, k, block):
    best = Best(k)
    for start in range(0, len(values), block):
        best.add(start, np.array(values[start : start + block], dtype=np.float32))
    rows, found = best.result()
    expected = sorted(range(len(values)), key=lambda row: (-values[row], row))[:k]
    assert rows.tolist() == expected
    assert found.tolist() == [values[row] for row in expected]


@given(scores.filter(lambda values: len(values) > 1), st.data())
def test_best_positions_prefer_the_earlier_of_equals(values, data):
    k = data.draw(st.integers(1, len(values) - 1))
    expected = sorted(range(len(values)), key=lambda row: (-values[row], row))[:k]
    assert best_positions(np.array(values, dtype=np.float32), k).tolist() == sorted(expected)


def test_in_bfloat16_logits_move_by_a_hundredth_of_their_spread():
    weights, vectors = random_weights(), random_vectors(200)
    query = random_vectors(1, seed=1)
    inputs = (
        torch.from_numpy(weights.query_halves(query)[0]),
        torch.from_numpy(weights.passage_halves(vectors)),
        torch.from_numpy(vectors @ query[0]),
    )
    exact = InteractionScorer(weights).scores(*inputs)
    coarse = Bf16InteractionScorer(weights).scores(*inputs)
    error = (coarse - exact).std() / exact.std()
    assert 0 < error < 0.01


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_a_search_in_bfloat16_gives_the_exact_logits(tmp_path, monkeypatch, threads):
    weights, vectors = random_weights(), random_vectors(3000)
    index = VectorIndex.build(tmp_path / "index", [vectors], map(str, range(3000)), weights)
    queries, found = random_vectors(4, seed=1), {}
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    for fast in (False, True):
        monkeypatch.setattr(index_module, "supports_bf16", lambda device, fast=fast: fast)
        found[fast] = index.search_exhaustive(queries, 20)
    np.testing.assert_array_equal(found[True][0], found[False][0])
    np.testing.assert_allclose(found[True][1], found[False][1], rtol=1e-5)


def test_a_search_in_bfloat16_of_fewer_passages_than_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "supports_bf16", lambda device: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)  # and some of the four have none
    weights, vectors = random_weights(), random_vectors(3)
    index = VectorIndex.build(tmp_path / "index", [vectors], map(str, range(3)), weights)
    rows, scores = index.search_exhaustive(vectors[:2], 30)
    assert sorted(rows[0]) == list(range(3))
    assert (np.diff(scores) <= 0).all()
