"""The answers of several parts in one, exactly as a single part would give it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.indexes.fm_index.intervals import Continuations, Occurrences

if TYPE_CHECKING:
    from numpy.typing import NDArray


def row_of(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each value of a ragged array, from its offsets (rows + 1,)."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def offsets_of(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Offsets (count + 1,) from the row of each value, ascending."""
    return np.searchsorted(rows, np.arange(count + 1))


def join_continuations(
    answers: Sequence[tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64]]], rows: int
) -> Continuations:
    """One list a row, tokens ascending, counts of the same token added; `answers` one a part."""
    keys = np.concatenate(
        [np.zeros(0, np.int64)]
        + [(row_of(offsets) << 32) | tokens.astype(np.int64) for offsets, tokens, _ in answers]
    )
    counts = np.concatenate([np.zeros(0, np.int64)] + [counts for _, _, counts in answers])
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    keys = keys[first]
    summed = np.add.reduceat(counts, first) if len(first) else counts
    return Continuations(offsets_of(keys >> 32, rows), (keys & 0xFFFFFFFF).astype(np.uint32), summed)


def join_top_k(
    answers: Sequence[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.uint32]]], rows: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.uint32]]:
    """The best k of each row over the parts' best k.

    A token among the best k of all is among the best k of each part that has it, so nothing is missed, and
    its interval in every part is at hand.

    Args:
        answers: of each part, tokens (rows, k), scores (rows, k) and bounds (rows * k, 2).
        rows: how many.
        k: wanted.

    Returns:
        Tokens (rows, k), scores (rows, k), bounds (rows * k, parts, 2).
    """
    parts = len(answers)
    tokens = np.full((rows, k), -1, np.int64)
    scores = np.full((rows, k), -np.inf, np.float32)
    bounds = np.zeros((rows * k, parts, 2), np.uint32)
    if not parts:
        return tokens, scores, bounds
    all_tokens = np.concatenate([answer[0].ravel() for answer in answers])
    all_scores = np.concatenate([answer[1].ravel() for answer in answers])
    all_bounds = np.concatenate([answer[2] for answer in answers])
    all_rows = np.tile(np.repeat(np.arange(rows), k), parts)
    all_parts = np.repeat(np.arange(parts), rows * k)
    real = np.flatnonzero(all_tokens >= 0)
    order = real[np.lexsort((all_tokens[real], -all_scores[real], all_rows[real]))]
    row, token = all_rows[order], all_tokens[order]
    new = np.ones(len(order), np.bool_)  # a token has one score, so its entries stand side by side
    new[1:] = (row[1:] != row[:-1]) | (token[1:] != token[:-1])
    distinct = np.cumsum(new) - 1
    before = distinct[np.searchsorted(row, row)]  # the first of the row
    rank = distinct - before
    kept = rank < k
    order, row, rank = order[kept], row[kept], rank[kept]
    tokens[row, rank] = all_tokens[order]
    scores[row, rank] = all_scores[order]
    bounds[row * k + rank, all_parts[order]] = all_bounds[order]
    return tokens, scores, bounds


def join_occurrences(
    answers: Sequence[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]],
    rows: int,
    limit: int | None,
) -> Occurrences:
    """One list a row; the parts come in the order of their passages' numbers.

    Args:
        answers: of each part, offsets (rows + 1,), passage numbers and positions.
        rows: how many.
        limit: at most that many a row.
    """
    empty: list[NDArray[Any]] = [np.zeros(0, np.int64)]
    row = np.concatenate(empty + [row_of(offsets) for offsets, _, _ in answers])
    passages = np.concatenate(empty + [passages for _, passages, _ in answers])
    positions = np.concatenate(empty + [positions for _, _, positions in answers])
    order = np.argsort(row, kind="stable")
    row = row[order]
    if limit is not None:
        kept = np.arange(len(row)) - np.searchsorted(row, row) < limit
        order, row = order[kept], row[kept]
    return Occurrences(offsets_of(row, rows), passages[order], positions[order])
