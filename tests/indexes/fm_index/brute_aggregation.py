"""The rule of `limbeck.indexes.fm_index.aggregation`, in plain Python, and a part made without an index."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from limbeck.indexes.fm_index.aggregation import ScoredPart
from limbeck.indexes.fm_index.kernels.layout import BLOCK_SHIFT, PartArrays


def occurrences(passage, identifier):
    """Where `identifier` begins in `passage`."""
    width = len(identifier)
    return [at for at in range(len(passage) - width + 1) if tuple(passage[at : at + width]) == identifier]


def score_passage(passage, entries, repetition):
    """Score and matches (index, position, contribution) of a passage.

    `entries` are (weight, index, tokens), unigrams with indices above those of the identifiers.
    """
    entries = sorted((entry for entry in entries if entry[0] > 0), key=lambda entry: (-entry[0], entry[1]))
    score, matches, given, positions, tokens = 0.0, [], set(), set(), set()
    for weight, index, identifier in entries:
        if identifier in given:
            continue
        given.add(identifier)
        for at in occurrences(passage, identifier):
            span = range(at, at + len(identifier))
            if positions.isdisjoint(span):
                share = sum(token not in tokens for token in identifier) / len(identifier)
                gain = weight * (1.0 - repetition + repetition * share)
                score += gain
                matches.append((index, at, gain))
                positions.update(span)
                tokens.update(identifier)
                break
    return score, matches


def aggregate_plainly(passages, identifiers, unigrams, *, repetition, max_occurrences, candidates, k):
    """One query: `passages` {number: tokens}, the others lists of (weight, index, tokens).

    Returns:
        [(number, score, matches)], best first.
    """

    def count(identifier):
        return sum(len(occurrences(passage, identifier)) for passage in passages.values())

    rare = [entry for entry in identifiers if 0 < count(entry[2]) <= max_occurrences]
    holders = {
        number: score_passage(passage, rare, repetition)[0]
        for number, passage in passages.items()
        if any(weight > 0 and occurrences(passage, identifier) for weight, _, identifier in rare)
    }
    chosen = sorted(holders, key=lambda number: (-holders[number], number))[:candidates]
    full = [
        (number, *score_passage(passages[number], identifiers + unigrams, repetition)) for number in chosen
    ]
    best = sorted((one for one in full if one[1] > 0), key=lambda one: (-one[1], one[0]))
    return best[:k]


def plain_part(passages, deleted, identifiers):
    """A part over {number: tokens}, made by sorting; the passages in `deleted` are dead."""
    numbers = sorted(passages)
    alphabet = sorted({token for passage in passages.values() for token in passage})
    code = {token: place + 1 for place, token in enumerate(alphabet)}
    text, starts = [], [0]
    for number in numbers:
        text += [*(code[token] for token in passages[number]), 0]
        starts.append(len(text))

    def suffix(position):
        return text[position : text.index(0, position)], position

    suffixes = sorted((position for position, symbol in enumerate(text) if symbol), key=suffix)
    sorted_texts = [suffix(position)[0] for position in suffixes]
    intervals = []
    for identifier in identifiers:
        codes = [code.get(token, 0) for token in identifier]
        inside = [rank for rank, one in enumerate(sorted_texts) if one[: len(codes)] == codes]
        intervals.append((inside[0], inside[-1] + 1) if inside else (0, 0))
    none = frozen([], np.int64)
    arrays = PartArrays(
        text=frozen(text, np.uint16),
        suffixes=frozen(suffixes, np.uint32),
        starts=frozen(starts, np.uint32),
        blocks=frozen(
            [bisect_right(starts, at) - 1 for at in range(0, len(text), 1 << BLOCK_SHIFT)], np.uint32
        ),
        alphabet=frozen(alphabet, np.uint32),
        depth_nodes=none,
        node_lows=frozen([], np.uint32),
        node_children=none,
        child_codes=frozen([], np.uint16),
        child_firsts=frozen([], np.uint32),
    )
    return ScoredPart(
        arrays,
        np.array([number in deleted for number in numbers], bool) if deleted else np.zeros(0, bool),
        np.array(numbers, np.int64),
        np.array(intervals, np.int64).reshape(-1, 2),
        lambda tokens: np.array([code.get(int(token), 0) for token in tokens], np.int64),
    )


def frozen(values, dtype):
    """Like an array that is mapped from a file."""
    array = np.array(values, dtype)
    array.flags.writeable = False
    return array
