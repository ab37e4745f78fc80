"""Passage scores, by hand and against the rule in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.indexes.fm_index.aggregation import AggregationSettings, ScoredPart, Unigrams, aggregate
from limbeck.indexes.fm_index.ragged import Ragged
from tests.indexes.fm_index.brute_aggregation import (
    aggregate_plainly,
    occurrences,
    plain_part,
)

LIMITS = {"repetition": 0.8, "max_occurrences": 1500, "candidates": 1500, "k": 100}


def run(groups, queries, *, deleted=frozenset(), threads=1, **limits):
    """Aggregate over parts given as [{number: tokens}].

    Args:
        groups: the passages of each part.
        queries: [(identifiers [(tokens, weight)], unigrams [(token, weight)])].
        deleted: numbers.
        threads: at work.
        limits: as the rule has them.

    Returns:
        For each query [(number, score, [(index within the query, position, contribution)])].
    """
    limits = {**LIMITS, **limits}
    identifiers = [tokens for query, _ in queries for tokens, _ in query]
    weights = np.array([weight for query, _ in queries for _, weight in query], float)
    offsets = np.cumsum([0] + [len(query) for query, _ in queries])
    unigram_offsets = np.cumsum([0] + [len(query) for _, query in queries])
    unigrams = Unigrams(
        unigram_offsets,
        np.array([token for _, query in queries for token, _ in query], np.uint32),
        np.array([weight for _, query in queries for _, weight in query], float),
    )
    live = {number: passage for group in groups for number, passage in group.items() if number not in deleted}
    found = [sum(len(occurrences(passage, tokens)) for passage in live.values()) for tokens in identifiers]
    counted = [sum(len(occurrences(passage, tokens)) for passage in live.values()) for tokens in identifiers]
    counts = np.array(counted, np.int64)
    parts: list[ScoredPart] = [plain_part(group, deleted, identifiers) for group in groups]
    found = aggregate(
        parts,
        Ragged.from_rows(identifiers),
        weights,
        offsets,
        counts,
        unigrams=unigrams,
        settings=AggregationSettings(threads=threads, **limits),
    )

    def local(query, entry):
        if entry < len(identifiers):
            return int(entry - offsets[query])
        return int(entry - len(identifiers) - unigram_offsets[query] + len(queries[query][0]))

    results = []
    for query in range(len(queries)):
        rows = []
        for result in range(found.offsets[query], found.offsets[query + 1]):
            matches = slice(found.match_offsets[result], found.match_offsets[result + 1])
            triples = zip(
                found.match_entries[matches],
                found.match_positions[matches],
                found.match_contributions[matches],
                strict=True,
            )
            matched = [(local(query, entry), int(at), float(gain)) for entry, at, gain in triples]
            rows.append((int(found.passages[result]), float(found.scores[result]), matched))
        results.append(rows)
    return results


def test_overlap_is_skipped_and_repetition_counts_less():
    # (1 2) covers 0 and 1; (2 3) at 1 overlaps, at 3 it is free, and one of its two tokens is new.
    passages = {0: (1, 2, 3, 2, 3)}
    results = run([passages], [([((1, 2), 10.0), ((2, 3), 5.0)], [])])
    assert results == [[(0, pytest.approx(10 + 5 * (0.2 + 0.8 * 0.5)), [(0, 0, 10.0), (1, 3, 3.0)])]]


def test_an_identifier_without_a_free_occurrence_is_passed_over():
    results = run([{0: (1, 2, 3)}], [([((1, 2), 10.0), ((2, 3), 5.0), ((3,), 1.0)], [])])
    assert results == [[(0, 11.0, [(0, 0, 10.0), (2, 2, 1.0)])]]


def test_the_same_identifier_twice_counts_once_with_the_higher_weight():
    results = run([{0: (1, 2, 1, 2)}], [([((1, 2), 3.0), ((1, 2), 7.0)], [(1, 1.0)])])
    assert results == [[(0, 7.0 + 1.0 * (1.0 - 0.8), [(1, 0, 7.0), (2, 2, 1.0 * (1.0 - 0.8))])]]


def test_frequent_identifiers_and_unigrams_make_no_candidates_but_count_in_full():
    passages = {3: (1, 1, 5, 6), 4: (1, 1, 7)}
    results = run([passages], [([((1,), 9.0), ((5,), 1.0)], [(6, 2.0), (7, 50.0)])], max_occurrences=3)
    assert results == [[(3, 12.0, [(0, 0, 9.0), (2, 3, 2.0), (1, 2, 1.0)])]]


def test_ties_go_to_the_lower_number_across_parts():
    groups = [{0: (1,), 5: (1,)}, {2: (1,), 7: (1,)}]
    results = run(groups, [([((1,), 1.0)], [])], candidates=3, k=2)
    assert [number for number, _, _ in results[0]] == [0, 2]


def test_nothing_is_found_without_weight_queries_or_parts():
    assert run([{0: (1,)}], [([((1,), 0.0), ((2,), 1.0)], [(1, 1.0)]), ([], [])]) == [[], []]
    assert run([], [([((1,), 1.0)], [])]) == [[]]
    assert run([{0: (1,)}], []) == []


token = st.integers(0, 4)
passage = st.lists(token, max_size=30).map(tuple)
weight = st.sampled_from([0.0, 0.5, 1.0, 1.0, 2.5, 3.25]) | st.floats(0, 100)
query = st.tuples(
    st.lists(st.tuples(st.lists(token, min_size=1, max_size=4).map(tuple), weight), max_size=8),
    st.lists(st.tuples(token, weight), max_size=4),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.lists(passage, max_size=5), max_size=3),
    st.lists(query, max_size=4),
    st.sets(st.integers(0, 14)),
    st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_the_rule_in_plain_python_gives_the_same(
    texts, queries, deleted, repetition, max_occurrences, candidates, k, threads
):
    groups, number = [], 0
    for part in texts:
        groups.append(dict(enumerate(part, number)))
        number += len(part)
    limits = {"repetition": repetition, "max_occurrences": max_occurrences, "candidates": candidates, "k": k}
    deleted = {one for one in deleted if one < number}
    live = {key: one for group in groups for key, one in group.items() if key not in deleted}
    expected = []
    for identifiers, unigrams in queries:
        entries = [(value, index, tokens) for index, (tokens, value) in enumerate(identifiers)]
        more = [(value, len(entries) + index, (one,)) for index, (one, value) in enumerate(unigrams)]
        expected.append(aggregate_plainly(live, entries, more, **limits))
    assert run(groups, queries, deleted=deleted, threads=threads, **limits) == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(60, 300))
def test_long_repetitive_passages(seed, length):
    generator = np.random.default_rng(seed)
    texts = {number: tuple(generator.integers(0, 2, length).tolist()) for number in range(3)}
    chosen = [(0, int(at), int(width)) for at, width in generator.integers(1, 100, (20, 2))]
    entries = [
        (float(generator.integers(1, 5)), index, texts[number][at % length :][:width])
        for index, (number, at, width) in enumerate(chosen)
    ]
    queries = [([(tokens, value) for value, _, tokens in entries], [])]
    assert run([texts], queries) == [aggregate_plainly(texts, entries, [], **LIMITS)]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_content_that_is_not_what_was_written_crashes_nothing(data):
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    texts = {number: tuple(generator.integers(0, 3, 40).tolist()) for number in range(8)}
    identifiers = [(0,), (0, 1), (1, 1, 2), (2, 2), (0, 1, 2, 0)]
    part = plain_part(texts, frozenset(), identifiers)
    arrays, intervals = part.arrays, part.intervals.copy()
    for name in data.draw(st.sets(st.sampled_from(["text", "suffixes", "starts", "blocks"]))):
        values = getattr(arrays, name).copy()
        wrong = generator.random(len(values)) < 0.3
        limit = data.draw(st.sampled_from([4, 400, 2**16, 2**32]))
        values[wrong] = generator.integers(0, min(limit, np.iinfo(values.dtype).max), int(wrong.sum()))
        values.flags.writeable = False
        arrays = arrays._replace(**{name: values})
    if data.draw(st.booleans()):
        intervals = generator.integers(0, 500, intervals.shape)
    damaged = ScoredPart(arrays, part.dead, part.numbers, intervals, part.encode)
    rows = Ragged.from_rows(identifiers)
    counts = np.ones(len(rows), np.int64)
    found = aggregate([damaged], rows, np.arange(1.0, 6.0), np.array([0, 2, 5]), counts)
    assert np.isin(found.passages, list(texts)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repetition": 1.5}, "repetition is 1.5"),
        ({"k": 0}, "k is 0"),
        ({"candidates": -1}, "candidates is -1"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        AggregationSettings(**change)


@pytest.mark.parametrize(
    ("identifiers", "weights", "offsets", "message"),
    [
        ([[1], []], [1.0, 1.0], [0, 2], "identifier 1 is empty"),
        ([[1]], [-1.0], [0, 1], "identifier 0 has the weight -1.0"),
        ([[1]], [float("nan")], [0, 1], "weight nan"),
        ([[1]], [1.0, 2.0], [0, 1], r"shape \(2,\)"),
        ([[1]], [1.0], [0, 2], "query_offsets do not fit"),
    ],
)
def test_wrong_requests_are_refused(identifiers, weights, offsets, message):
    rows = Ragged.from_rows(identifiers)
    counts = np.ones(len(rows), np.int64)
    with pytest.raises(InputError, match=message):
        aggregate([], rows, np.array(weights), np.array(offsets), counts)
