"""One part against its definition, on corpora of every kind, with and without deletions."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.indexes.fm_index.part import Part
from limbeck.indexes.fm_index.ragged import Ragged
from tests.indexes.fm_index.brute_force import (
    LARGEST,
    BruteForce,
    corpora,
    corpora_with_deletions,
    identifiers_of,
)

property_test = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def built(passages, numbers=0):
    with tempfile.TemporaryDirectory() as folder:
        return Part.build(Path(folder) / "part", passages, numbers)


def searched(part, identifiers):
    return part.find(Ragged.from_rows(identifiers)), np.array([len(run) for run in identifiers], np.int32)


def rows_of(offsets, *columns):
    return [
        list(zip(*(column[start:end].tolist() for column in columns), strict=True))
        for start, end in pairwise(offsets)
    ]


@property_test
@given(corpora)
def test_suffixes_stand_in_order(passages):
    part = built(passages)
    ranks = part.locate(np.array([[rank, rank + 1] for rank in range(part.token_count)]).reshape(-1, 2))
    assert list(zip(ranks[1].tolist(), ranks[2].tolist(), strict=True)) == BruteForce(passages).suffixes()


@property_test
@given(corpora_with_deletions(), st.integers(0, 2**32))
def test_counts_passages_and_places(case, seed):
    passages, deleted = case
    part, truth = built(passages), BruteForce(passages, deleted)
    dead = part.ranks_of_passages(deleted)
    identifiers = identifiers_of(passages, np.random.default_rng(seed))
    bounds, _ = searched(part, identifiers)
    expected = [truth.occurrences(identifier) for identifier in identifiers]
    assert part.counts(bounds, dead).tolist() == [len(row) for row in expected]
    assert part.passage_counts(bounds, dead).tolist() == [len({n for n, _ in row}) for row in expected]
    assert rows_of(*part.locate(bounds, dead)) == expected
    limited = rows_of(*part.locate(bounds, dead, limit=2))
    assert [len(row) for row in limited] == [min(len(row), 2) for row in expected]
    assert all(set(some) <= set(row) for some, row in zip(limited, expected, strict=True))


@property_test
@given(corpora_with_deletions(), st.integers(0, 2**32))
def test_continuations(case, seed):
    passages, deleted = case
    part, truth = built(passages), BruteForce(passages, deleted)
    identifiers = identifiers_of(passages, np.random.default_rng(seed))
    bounds, depths = searched(part, identifiers)
    found = part.continuations(bounds, depths, part.ranks_of_passages(deleted))
    expected = [truth.continuations(identifier) for identifier in identifiers]
    # The interval of a sequence that occurs nowhere is empty, whatever follows elsewhere.
    assert rows_of(*found) == expected


@property_test
@given(corpora, st.integers(0, 2**32))
def test_a_step_is_a_longer_identifier(passages, seed):
    generator = np.random.default_rng(seed)
    part = built(passages)
    identifiers = identifiers_of(passages, generator)
    tokens = [identifier[-1] if identifier else 3 for identifier in identifiers]
    bounds, depths = searched(part, [identifier[:-1] for identifier in identifiers])
    extended = part.extend(bounds, depths, tokens)
    whole, _ = searched(part, [(*run[:-1], token) for run, token in zip(identifiers, tokens, strict=True)])
    np.testing.assert_array_equal(extended, whole)


@property_test
@given(corpora_with_deletions(), st.integers(0, 2**32), st.integers(1, 6))
def test_top_k_is_mask_and_top_k(case, seed, k):
    passages, deleted = case
    generator = np.random.default_rng(seed)
    part, truth = built(passages), BruteForce(passages, deleted)
    identifiers = identifiers_of(passages, generator)
    bounds, depths = searched(part, identifiers)
    vocabulary = int(generator.choice([1, 3, 300, 50_265]))
    # Few distinct scores make many ties.
    levels = np.array([-np.inf, np.nan, -2.0, -1.0, -0.5, 0.0], np.float32)
    wide = generator.choice(levels, (4, vocabulary + 3)).astype(np.float32)
    scores = wide[:, :vocabulary] if seed % 2 else np.ascontiguousarray(wide[:, :vocabulary])
    rows = generator.integers(0, 4, len(identifiers))
    dead = part.ranks_of_passages(deleted)
    tokens, best, intervals = part.top_k(scores, bounds, depths, k, dead, rows)
    for row, identifier in enumerate(identifiers):
        expected = truth.top_k(identifier, scores[rows[row]], k)
        size = len(expected)
        assert list(zip(tokens[row, :size].tolist(), best[row, :size], strict=True)) == expected
        assert (tokens[row, size:] == -1).all()
        assert (best[row, size:] == -np.inf).all()
        assert (intervals[row * k + size : (row + 1) * k] == 0).all()
        chosen = intervals[row * k : row * k + size]
        longer, _ = searched(part, [(*identifier, token) for token, _ in expected])
        np.testing.assert_array_equal(chosen, longer)


@property_test
@given(corpora)
def test_what_goes_in_comes_out(passages):
    part = built([np.array(passage, np.uint32) for passage in passages])
    order = list(range(len(passages)))[::-1]
    offsets, tokens = part.extract(np.array(order, np.int64))
    assert [tokens[a:b].tolist() for a, b in pairwise(offsets)] == [passages[row] for row in order]
    assert part.token_count == sum(map(len, passages))
    assert part.passage_count == len(passages)


def zipf_passages(seed=0, passages=600, vocabulary=400, length=60):
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, vocabulary + 1)
    tokens = generator.choice(vocabulary, (passages, length), p=weights / weights.sum())
    return tokens.astype(np.uint32)


@pytest.fixture(scope="module", params=["two bytes", "four bytes"])
def wide(request):
    """A corpus with stored children of tokens, pairs, triples, and runs of eight."""
    passages = zipf_passages()
    passages[::7, :20] = passages[0, :20]  # a long way without a choice
    passages[1::3, :8] = passages[1, :8]  # many choices after eight tokens
    several = [*passages]
    if request.param == "four bytes":
        several.append(np.arange(1000, 70_000, dtype=np.uint32))
    part = built(several)
    assert part.arrays.text.itemsize == (2 if request.param == "two bytes" else 4)
    return several, part


def test_wide_nodes_have_their_children_stored(wide):
    _, part = wide
    nodes = np.diff(part.arrays.depth_nodes)
    assert nodes[0] == 1
    assert (nodes[[1, 2, 8]] > 0).all()


@pytest.mark.parametrize("deleted", [[], [3], list(range(0, 600, 7)), list(range(600))])
def test_wide_nodes_agree_with_the_definition(wide, deleted):
    passages, part = wide
    truth = BruteForce(passages, deleted)
    dead = part.ranks_of_passages(deleted)
    runs = [tuple(passages[row][:depth].tolist()) for row in (0, 1) for depth in range(14)]
    identifiers = [*runs, (0,), (0, 1), (1, 0, 0)]
    bounds, depths = searched(part, identifiers)
    offsets, tokens, counts = part.continuations(bounds, depths, dead)
    expected = [truth.continuations(identifier) for identifier in identifiers]
    assert rows_of(offsets, tokens, counts) == expected
    scores = np.random.default_rng(1).choice(np.float32([-1, -2, -3]), (len(identifiers), 400))
    chosen, best, _ = part.top_k(scores, bounds, depths, 15, dead)
    for row, identifier in enumerate(identifiers):
        top = truth.top_k(identifier, scores[row], 15)
        assert chosen[row, : len(top)].tolist() == [token for token, _ in top]
        assert best[row, : len(top)].tolist() == [score for _, score in top]
    assert part.passage_counts(bounds, dead).tolist() == [
        len({number for number, _ in truth.occurrences(identifier)}) for identifier in identifiers
    ]


def test_deleted_ranks_are_found_by_search_and_by_scan_alike(wide):
    _, part = wide
    assert part.passage_count > 256
    searched_for = part.ranks_of_passages([5])
    everything = part.ranks_of_passages(np.arange(600))
    assert everything.tolist() == sorted(set(everything.tolist()))
    assert len(everything) == 600 * 60
    numbers = part.locate(np.stack([searched_for, searched_for + 1], axis=1))[1]
    assert (numbers == 5).all()
    assert len(numbers) == 60


def test_a_long_run_of_one_token():
    part = built([np.zeros(20_000, np.uint32), np.zeros(30_000, np.uint32)])
    bounds, depths = searched(part, [[0] * 29_990])
    assert part.counts(bounds).tolist() == [11]
    assert rows_of(*part.continuations(bounds, depths)) == [[(0, 10)]]
    assert len(part.ranks_of_passages([0])) == 20_000


def test_many_equal_long_passages():
    passage = np.random.default_rng(0).integers(0, 50_000, 500).astype(np.uint32)
    part = built([passage] * 200)
    bounds, depths = searched(part, [passage, passage[250:]])
    assert part.counts(bounds).tolist() == [200, 200]
    assert part.continuations(bounds, depths)[0].tolist() == [0, 0, 0]
    assert rows_of(*part.locate(bounds[1:], limit=3)) == [[(0, 250), (1, 250), (2, 250)]]


def test_more_than_65535_distinct_ids_take_four_bytes():
    tokens = np.arange(70_000, dtype=np.uint32) * 61_000
    part = built([tokens, tokens[::-1].copy()])
    assert part.arrays.text.dtype == np.uint32
    bounds, depths = searched(part, [[61_000], [61_000 * 69_999, 61_000 * 69_998]])
    assert rows_of(*part.continuations(bounds, depths)) == [
        [(0, 1), (122_000, 1)],
        [(61_000 * 69_997, 1)],
    ]
    assert part.extract([1])[1].tolist() == tokens[::-1].tolist()


@pytest.mark.parametrize("distinct", [65_534, 65_535, 65_536])
def test_the_last_id_that_fits_in_two_bytes(distinct):
    part = built([np.arange(distinct, dtype=np.uint32)])
    assert part.arrays.text.dtype == (np.uint16 if distinct < 65_536 else np.uint32)
    bounds, depths = searched(part, [[distinct - 2], [distinct - 1]])
    assert rows_of(*part.continuations(bounds, depths)) == [[(distinct - 1, 1)], []]


def test_ids_are_uint32_and_nothing_else():
    assert built([[LARGEST]]).extract([0])[1].tolist() == [LARGEST]
    for wrong in ([2**32], [-1], [0.5], [[1, 2]], ["a"], [True]):
        with pytest.raises(InputError, match="passage 1 "):
            built([[1], wrong])


def test_numbers():
    assert built([[1], [2]], 7).numbers.tolist() == [7, 8]
    assert built([[1], [2]], np.array([3, 9])).numbers.tolist() == [3, 9]
    for wrong in ([9, 3], [3, 3], [-1, 3], [1]):
        with pytest.raises(InputError):
            built([[1], [2]], np.array(wrong))


def test_wrong_questions_are_refused():
    part = built([[1, 2, 3]])
    with pytest.raises(InputError, match="no passage 1"):
        part.extract([0, 1])
    scores = np.zeros((1, 4), np.float32)
    with pytest.raises(InputError, match="k is 0"):
        part.top_k(scores, part.root(), np.zeros(1, np.int32), 0)
    with pytest.raises(InputError, match="do not match"):
        part.top_k(scores, part.root(2), np.zeros(2, np.int32), 1)
    with pytest.raises(InputError, match="float64"):
        part.top_k(scores.astype(np.float64), part.root(), np.zeros(1, np.int32), 1)


@pytest.mark.parametrize("period", [[0], [1, 2], [1, 2, 1, 3, 1, 2, 4]])
def test_long_periods_are_sorted(period):
    """Suffix by suffix: each stands before the next one, as its first tokens or its end say."""
    passage = np.resize(np.array(period, np.uint32), 5000)
    part = built([passage, passage[:4000]])
    ranks = np.arange(part.token_count, dtype=np.uint32)
    _, passages, places = part.locate(np.stack([ranks, ranks + 1], axis=1))
    whole = [tuple(passage.tolist()), tuple(passage[:4000].tolist())]
    # Periodic suffixes are told apart by where in the period they begin, and by what is left of them.
    key = [
        (whole[n][at : at + len(period)] if len(whole[n]) - at >= len(period) else whole[n][at:],
         len(whole[n]) - at, n, at)
        for n, at in zip(passages.tolist(), places.tolist(), strict=True)
    ]  # fmt: skip
    assert key == sorted(key)


def test_many_large_ids_over_many_blocks(monkeypatch):
    from limbeck.indexes.fm_index import building  # noqa: PLC0415

    monkeypatch.setattr(building, "_CHUNK", 64)
    passages = np.random.default_rng(0).integers(2**22, 2**22 + 500, (40, 50)).astype(np.uint32)
    part = built(passages)
    assert part.arrays.alphabet.tolist() == sorted(set(passages.ravel().tolist()))
    assert part.extract(np.arange(40))[1].tolist() == passages.ravel().tolist()
