"""What the identifier index answers, in plain Python over {number: tokens}; and a check of all of it."""

from __future__ import annotations

import numpy as np

from tests.indexes.fm_index.brute_aggregation import aggregate_plainly, occurrences


def continuations(passages, prefix):
    """{token: count} of what follows `prefix`."""
    counts: dict[int, int] = {}
    for passage in passages.values():
        for at in occurrences(passage, prefix):
            if at + len(prefix) < len(passage):
                token = passage[at + len(prefix)]
                counts[token] = counts.get(token, 0) + 1
    return counts


def located(passages, identifier):
    """[(number, position)] in order."""
    return [(number, at) for number in sorted(passages) for at in occurrences(passages[number], identifier)]


def best_continuations(passages, prefix, scores, k):
    """[(token, score)] of the k best, ties by token."""
    allowed = [
        (-float(scores[token]), token)
        for token in continuations(passages, prefix)
        if token < len(scores) and scores[token] > -np.inf
    ]
    return [(token, -score) for score, token in sorted(allowed)[:k]]


def row(offsets, values, place):
    return values[offsets[place] : offsets[place + 1]].tolist()


def check_index(index, passages, prefixes, *, scores, k=3, limit=2):
    """Every operation of `index` against {number: tokens}, on `prefixes` (tuples, the empty one too)."""
    assert index.numbers.tolist() == sorted(passages)
    assert index.passage_count == len(index) == len(passages)
    assert index.token_count == sum(len(passage) for passage in passages.values())
    assert all(number in index for number in passages)
    extracted = index.extract(index.numbers[::-1])
    assert [tuple(one.tolist()) for one in extracted] == [passages[one] for one in sorted(passages)[::-1]]

    found = index.find(prefixes)
    stepped = step_by_step(index, prefixes)
    for intervals in (found, stepped):
        check_intervals(index, intervals, passages, prefixes)
    check_top_k(index, found, passages, prefixes, scores, k)

    real = [prefix for prefix in prefixes if prefix]
    for at_most in (None, limit):
        places = index.locate(index.find(real), at_most)
        for place, prefix in enumerate(real):
            expected = located(passages, prefix)
            pairs = list(
                zip(
                    row(places.offsets, places.passages, place),
                    row(places.offsets, places.positions, place),
                    strict=True,
                )
            )
            assert pairs == sorted(pairs)
            assert set(pairs) <= set(expected)
            assert len(pairs) == (len(expected) if at_most is None else min(at_most, len(expected)))
    check_aggregation(index, passages, real)


def step_by_step(index, prefixes):
    """The intervals of `prefixes`, token by token from the root."""
    intervals = index.root(len(prefixes))
    longest = max(map(len, prefixes), default=0)
    rows = [intervals.take(np.arange(0))] * len(prefixes)
    for depth in range(longest + 1):
        for place, prefix in enumerate(prefixes):
            if len(prefix) == depth:
                rows[place] = intervals.take(np.array([place]))
        if depth < longest:
            intervals = index.extend(
                intervals, np.array([prefix[depth] if depth < len(prefix) else 0 for prefix in prefixes])
            )
    bounds = np.concatenate([one.bounds for one in rows])
    depths = np.concatenate([one.depths for one in rows])
    return type(intervals)(bounds, depths, intervals.state)


def check_intervals(index, intervals, passages, prefixes):
    followed = index.continuations(intervals)
    counts, passage_counts = index.counts(intervals), index.passage_counts(intervals)
    for place, prefix in enumerate(prefixes):
        if prefix:
            places = located(passages, prefix)
        else:
            places = [(number, at) for number, passage in passages.items() for at in range(len(passage))]
        assert counts[place] == len(places)
        assert passage_counts[place] == len({number for number, _ in places})
        assert intervals.empty[place] == (not places)
        expected = continuations(passages, prefix)
        assert row(followed.offsets, followed.tokens, place) == sorted(expected)
        assert row(followed.offsets, followed.counts, place) == [
            expected[token] for token in sorted(expected)
        ]


def check_top_k(index, intervals, passages, prefixes, scores, k):
    score_rows = np.arange(len(prefixes)) % len(scores)
    best = index.top_k(scores, intervals, k, rows=score_rows)
    counts = index.counts(best.intervals)
    for place, prefix in enumerate(prefixes):
        expected = best_continuations(passages, prefix, scores[score_rows[place]], k)
        kept = best.tokens[place] >= 0
        assert kept.tolist() == [True] * len(expected) + [False] * (k - len(expected))
        found = zip(best.tokens[place][kept].tolist(), best.scores[place][kept].tolist(), strict=True)
        assert list(found) == expected
        assert (best.scores[place][~kept] == -np.inf).all()
        following = continuations(passages, prefix)
        wanted = [following[token] for token, _ in expected] + [0] * (k - len(expected))
        assert counts[place * k : (place + 1) * k].tolist() == wanted


def check_aggregation(index, passages, identifiers):
    weights = [float(1 + place % 3) for place in range(len(identifiers))]
    found = index.aggregate(identifiers, weights, [0, len(identifiers)], k=4, max_occurrences=5, threads=1)
    entries = [(weights[place], place, identifier) for place, identifier in enumerate(identifiers)]
    expected = aggregate_plainly(
        passages, entries, [], repetition=0.8, max_occurrences=5, candidates=1500, k=4
    )
    assert found.passages.tolist() == [number for number, _, _ in expected]
    assert found.scores.tolist() == [score for _, score, _ in expected]
    matches = zip(
        found.match_entries.tolist(),
        found.match_positions.tolist(),
        found.match_contributions.tolist(),
        strict=True,
    )
    assert list(matches) == [match for _, _, matches in expected for match in matches]
