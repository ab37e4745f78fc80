"""A part of the identifier index: a fixed set of passages, searchable by any run of their tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import InputError
from limbeck.indexes.fm_index.building import PartBuilder
from limbeck.indexes.fm_index.file_format import SectionFile
from limbeck.indexes.fm_index.kernels.layout import DEPTHS, PartArrays
from limbeck.indexes.fm_index.kernels.occurrences import (
    count_passages,
    extract_rows,
    locate_rows,
    scan_ranks,
    search_ranks,
)
from limbeck.indexes.fm_index.kernels.prefixes import continue_rows, extend_rows, find_rows, live_rows
from limbeck.indexes.fm_index.kernels.top_k import top_k_rows
from limbeck.indexes.fm_index.ragged import Ragged, integer_array

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

NO_DEAD = np.empty(0, np.uint32)
NO_DEAD.flags.writeable = False
_NO_LIMIT = 2**62


class Part:
    """A part, open and memory-mapped. Immutable: deletions are given to each query as `dead` ranks.

    An interval is a row of `bounds` (rows, 2) uint32, [low, high) in the part's suffix array, with the number
    of tokens it stands for in `depths` (rows,) int32. The root, the empty prefix, is [0, token_count) at
    depth 0. Passages are counted from 0 within the part; `numbers` maps them to the index's numbers.

    Args:
        path: the file.
        verify: read all of it and compare checksums, even when it is known to be sound.

    Raises:
        InputError: missing, truncated, damaged, foreign, or of another version.

    Example:
        >>> part = Part.build("part", [[3, 1, 4], [1, 5]], numbers=0)
        >>> bounds = part.find(Ragged.from_rows([[1]]))
        >>> part.continuations(bounds, np.ones(1, np.int32))[1]
        array([4, 5], dtype=uint32)
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = False) -> None:
        self.path = Path(path)
        self._file = SectionFile(self.path, verify=verify)
        self.size_bytes = self._file.size_bytes
        self.token_count: int = self._file.facts["tokens"]
        self.passage_count: int = self._file.facts["passages"]
        self.arrays = PartArrays(*(self._file.array(name) for name in PartArrays._fields))
        self.numbers: NDArray[np.int64] = self._file.array("numbers")
        self._check_shapes()

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = False) -> Part:
        """The same as the constructor."""
        return cls(path, verify=verify)

    @classmethod
    def build(
        cls,
        path: str | os.PathLike[str],
        passages: Iterable[Sequence[int] | NDArray[Any]],
        numbers: int | NDArray[np.int64] = 0,
    ) -> Part:
        """Writes a part and opens it; `PartBuilder` does the same for passages that come in blocks.

        Args:
            path: the file, replaced when it is there.
            passages: token ids, (tokens,) each; read once, in order.
            numbers: the passages' numbers (passages,), ascending, or the number of the first of a range.

        Raises:
            InputError: ids that are not whole numbers from 0 to 2**32 - 1; numbers that do not fit; more than
                4,294,967,295 tokens and passages together.
        """
        builder = PartBuilder()
        for passage in passages:
            builder.add(passage)
        builder.write(Path(path), numbers)
        return cls(path)

    def verify(self) -> None:
        """Reads every byte of the file and compares checksums.

        Raises:
            InputError: the file is not what was written.
        """
        self._file.verify()

    def _check_shapes(self) -> None:
        arrays, tokens, passages = self.arrays, self.token_count, self.passage_count
        fits = (
            len(arrays.text) == tokens + passages
            and len(arrays.suffixes) == tokens
            and len(arrays.starts) == passages + 1 == len(self.numbers) + 1
            and int(arrays.starts[-1]) == len(arrays.text)
            and len(arrays.depth_nodes) == DEPTHS + 1
            and int(arrays.depth_nodes[0]) == 0
            and bool((np.diff(arrays.depth_nodes) >= 0).all())
            and int(arrays.depth_nodes[-1]) == len(arrays.node_lows) == len(arrays.node_children) - 1
            and len(arrays.child_codes) == len(arrays.child_firsts) >= len(arrays.alphabet)
            and arrays.child_codes.dtype == arrays.text.dtype
        )
        if not fits:
            raise self._file.damaged("its sections do not fit together")

    # Intervals

    def root(self, rows: int = 1) -> NDArray[np.uint32]:
        """The interval of the empty prefix, (rows, 2)."""
        return np.tile(np.array([0, self.token_count], np.uint32), (rows, 1))

    def extend(
        self, bounds: NDArray[np.uint32], depths: NDArray[np.int32], tokens: ArrayLike
    ) -> NDArray[np.uint32]:
        """One token further: (rows, 2), (0, 0) where the token does not follow.

        Deleted passages are not looked at: the interval of a token that follows in deleted passages alone
        has live count 0.

        Args:
            bounds: (rows, 2).
            depths: (rows,).
            tokens: (rows,); an id that occurs nowhere follows nothing.

        Raises:
            InputError: tokens that are not integers.
        """
        return extend_rows(
            self.arrays, _bounds(bounds), _depths(depths), integer_array(tokens, name="the tokens")
        )

    def find(self, identifiers: Ragged) -> NDArray[np.uint32]:
        """The intervals (rows, 2) of identifiers."""
        return find_rows(self.arrays, identifiers.values, identifiers.offsets)

    def counts(self, bounds: NDArray[np.uint32], dead: NDArray[np.uint32] = NO_DEAD) -> NDArray[np.int64]:
        """Live occurrences of each interval, (rows,)."""
        return live_rows(_bounds(bounds), _dead(dead))

    def passage_counts(
        self, bounds: NDArray[np.uint32], dead: NDArray[np.uint32] = NO_DEAD
    ) -> NDArray[np.int64]:
        """Distinct passages with a live occurrence, (rows,). Takes time in proportion to the occurrences."""
        return count_passages(self.arrays, _bounds(bounds), _dead(dead))

    # Continuations

    def continuations(
        self,
        bounds: NDArray[np.uint32],
        depths: NDArray[np.int32],
        dead: NDArray[np.uint32] = NO_DEAD,
    ) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64]]:
        """The tokens that follow each interval in live passages, ascending, with their live counts.

        Args:
            bounds: (rows, 2).
            depths: (rows,).
            dead: (ranks,), ascending.

        Returns:
            Offsets (rows + 1,), tokens and counts (offsets[-1],).
        """
        offsets, tokens, counts = continue_rows(self.arrays, _bounds(bounds), _depths(depths), _dead(dead))
        return offsets, tokens, counts

    def top_k(  # noqa: PLR0917
        self,
        scores: NDArray[np.float32],
        bounds: NDArray[np.uint32],
        depths: NDArray[np.int32],
        k: int,
        dead: NDArray[np.uint32] = NO_DEAD,
        rows: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.uint32]]:
        """The k live continuations of each interval with the highest scores; equal ones by ascending token.

        A score of -inf or NaN is never returned; a token beyond the scores' width is not allowed.

        Args:
            scores: (score rows, vocabulary) float32, any strides.
            bounds: (rows, 2).
            depths: (rows,).
            k: how many a row, at least 1.
            dead: (ranks,), ascending.
            rows: (rows,), the row of `scores` of each interval; None when they match one to one.

        Returns:
            Tokens (rows, k), -1 where there are fewer; scores (rows, k), -inf there; intervals (rows * k, 2),
            row after row, (0, 0) there.

        Raises:
            InputError: k below 1, scores that are not two-dimensional float32, or rows that do not match.
        """
        bounds, scores = _bounds(bounds), np.asarray(scores)
        if scores.ndim != 2 or scores.dtype != np.float32:
            raise InputError(
                f"the scores are {scores.dtype} of shape {scores.shape}",
                expected="float32 (rows, vocabulary)",
            )
        score_rows = np.arange(len(bounds)) if rows is None else integer_array(rows, name="the rows")
        if score_rows.shape != (len(bounds),) or (
            len(bounds) and not 0 <= score_rows.min() <= score_rows.max() < len(scores)
        ):
            raise InputError(f"{len(bounds)} intervals do not match {len(scores)} rows of scores")
        if not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"k is {k}", expected="an integer, at least 1")
        tokens, best, intervals = top_k_rows(
            self.arrays, scores, score_rows, bounds, _depths(depths), _dead(dead), k
        )
        return tokens, best, intervals

    # Passages

    def locate(
        self,
        bounds: NDArray[np.uint32],
        dead: NDArray[np.uint32] = NO_DEAD,
        limit: int | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Where the live occurrences of each interval stand.

        Args:
            bounds: (rows, 2).
            dead: (ranks,), ascending.
            limit: at most so many a row: the first in suffix order, that is by what follows them in their
                passages. None for all.

        Returns:
            Offsets (rows + 1,); and within a row by (passage, offset): passages, counted within the part, and
            the offset of the first token in its passage, both (offsets[-1],).
        """
        at_most = _NO_LIMIT if limit is None else max(limit, 0)
        offsets, passages, places = locate_rows(self.arrays, _bounds(bounds), _dead(dead), at_most)
        return offsets, passages, places

    def extract(self, passages: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """The tokens of passages (rows,), counted within the part: offsets (rows + 1,) and tokens.

        Raises:
            InputError: a passage that the part does not have.
        """
        offsets, tokens = extract_rows(self.arrays, self._passages(passages))
        return offsets, tokens

    def ranks_of_passages(self, passages: ArrayLike) -> NDArray[np.uint32]:
        """The ranks of all suffixes of some passages, ascending: what `dead` is made of.

        Few are searched for, one by one; for many the suffix array is read through once.

        Args:
            passages: (rows,), counted within the part, each once.

        Raises:
            InputError: a passage that the part does not have.
        """
        rows = self._passages(passages)
        starts = self.arrays.starts
        tokens = int((starts[rows + 1].astype(np.int64) - starts[rows] - 1).sum())
        if tokens < self.token_count // 256:
            enough, ranks = search_ranks(self.arrays, rows, 4 * self.token_count)
            if enough:
                return np.sort(ranks)
        deleted = np.zeros(self.passage_count, np.bool_)
        deleted[rows] = True
        return scan_ranks(self.arrays, deleted)

    def _passages(self, passages: ArrayLike) -> NDArray[np.int64]:
        rows = np.atleast_1d(integer_array(passages, name="the passages"))
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.passage_count:
            wrong = rows[(rows < 0) | (rows >= self.passage_count)][0]
            raise InputError(
                f"there is no passage {wrong}", path=self.path, expected=f"0 to {self.passage_count - 1}"
            )
        return np.ascontiguousarray(rows)


def _bounds(bounds: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return _frozen(np.ascontiguousarray(bounds, np.uint32))


def _depths(depths: NDArray[np.int32]) -> NDArray[np.int32]:
    return _frozen(np.ascontiguousarray(depths, np.int32))


def _dead(dead: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return _frozen(np.ascontiguousarray(dead, np.uint32))


def _frozen(values: NDArray[Any]) -> NDArray[Any]:
    # One type for the compiled kernels, whether the caller's array is writable or mapped.
    view = values.view()
    view.flags.writeable = False
    return view
