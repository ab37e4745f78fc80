from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.indexes.vectors import VectorIndex
from limbeck.indexes.vectors import index as index_module
from limbeck.indexes.vectors.scoring import Best, Int8InteractionScorer, InteractionScorer, best_positions
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


def coarse_and_exact(weights, passages=200):
    vectors, query = random_vectors(passages), random_vectors(1, seed=1)
    inputs = (
        torch.from_numpy(weights.query_halves(query)[0]),
        torch.from_numpy(weights.passage_halves(vectors)),
        torch.from_numpy(vectors @ query[0]),
    )
    scorers = Int8InteractionScorer(weights, passages), InteractionScorer(weights, passages)
    return [scorer.scores(*inputs).numpy() for scorer in scorers]


def test_in_8_bits_logits_move_by_a_hundredth_of_their_spread():
    coarse, exact = coarse_and_exact(random_weights())
    assert 0 < (coarse - exact).std() / exact.std() < 0.01


def test_in_8_bits_the_product_does_not_overflow():
    # All weights and nearly all units are as large as they can be: any two products sum to more than 16 bits.
    few = random_weights()
    largest = replace(
        few,
        query_half=np.tile(few.query_half, (64, 1)),
        passage_half=np.tile(few.passage_half, (64, 1)),
        hidden_bias=np.full(64 * few.hidden, 99, np.float32),
        branch=np.full((len(few.output), 64 * few.hidden), 3, np.float32),
    )
    coarse, exact = coarse_and_exact(largest)
    np.testing.assert_allclose(coarse, exact, rtol=0.01)


def test_in_8_bits_a_feature_without_weights_is_its_bias():
    weights = random_weights()
    branch = weights.branch.copy()
    branch[0] = 0
    coarse, exact = coarse_and_exact(replace(weights, branch=branch, branch_bias=weights.branch_bias + 1))
    assert (coarse - exact).std() / exact.std() < 0.01


def found_both_ways(folder, monkeypatch, weights, vectors, k):
    """Rows and logits of a search in float32, and of one that begins in 8 bits."""
    index = VectorIndex.build(folder / "index", [vectors], map(str, range(len(vectors))), weights)
    queries, found = random_vectors(4, seed=1), []
    for fast in (False, True):
        monkeypatch.setattr(index_module, "supports_int8", lambda fast=fast: fast)
        found.append(index.search_exhaustive(queries, k))
    return found


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_a_search_in_8_bits_gives_the_exact_logits(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    exact, found = found_both_ways(tmp_path, monkeypatch, random_weights(), random_vectors(3000), 20)
    np.testing.assert_array_equal(found[0], exact[0])
    np.testing.assert_allclose(found[1], exact[1], rtol=1e-5)


def test_a_search_in_8_bits_is_exact_where_one_unit_drowns_the_others(tmp_path, monkeypatch):
    # Steps are as large as that unit has them: the others, which tell passages apart, are hardly counted.
    weights = random_weights(cosine_scale=0.0)
    bias = weights.hidden_bias.copy()
    bias[0] = 3000
    drowned = replace(weights, hidden_bias=bias)
    coarse, logits = coarse_and_exact(drowned, 3000)
    assert len(set(np.argsort(-coarse)[:120]) & set(np.argsort(-logits)[:20])) < 20
    exact, found = found_both_ways(tmp_path, monkeypatch, drowned, random_vectors(3000), 20)
    np.testing.assert_array_equal(found[0], exact[0])
    np.testing.assert_allclose(found[1], exact[1], rtol=1e-5)


def test_a_search_in_8_bits_knows_equal_passages_by_their_order(tmp_path, monkeypatch):
    vectors = np.repeat(random_vectors(3), 200, axis=0)
    exact, found = found_both_ways(tmp_path, monkeypatch, random_weights(), vectors, 30)
    np.testing.assert_array_equal(found[0], exact[0])
    np.testing.assert_allclose(found[1], exact[1], rtol=1e-5)


def test_a_coarse_search_of_fewer_passages_than_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "supports_int8", lambda: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)  # and some of the four have none
    weights, vectors = random_weights(), random_vectors(3)
    index = VectorIndex.build(tmp_path / "index", [vectors], map(str, range(3)), weights)
    rows, scores = index.search_exhaustive(vectors[:2], 30)
    assert sorted(rows[0]) == list(range(3))
    assert (np.diff(scores) <= 0).all()
