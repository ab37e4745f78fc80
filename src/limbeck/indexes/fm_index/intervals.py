"""What queries to the identifier index give back: intervals, continuations, occurrences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Where prefixes occur: for each, its range of every part's suffix array.

    They belong to the state of the index that made them, and only an index in that state takes them.

    Args:
        bounds: (rows, parts, 2) uint32, [low, high) in each part; (0, 0) where the prefix has no live
            occurrence.
        depths: (rows,) int32, tokens in each prefix.
        state: which state of which index, as its manifest's checksum.
    """

    bounds: NDArray[np.uint32]
    depths: NDArray[np.int32]
    state: str

    def __len__(self) -> int:
        return len(self.depths)

    @property
    def empty(self) -> NDArray[np.bool_]:
        """Whether a prefix occurs in no live passage, (rows,)."""
        filled: NDArray[np.bool_] = np.any(self.bounds[:, :, 0] < self.bounds[:, :, 1], axis=1)
        return ~filled

    def take(self, rows: NDArray[Any]) -> Intervals:
        """These rows, in this order; row numbers or a mask."""
        return Intervals(self.bounds[rows], self.depths[rows], self.state)


@dataclass(frozen=True, slots=True, eq=False)
class Continuations:
    """The tokens that may follow each prefix.

    Attributes:
        offsets: (rows + 1,) int64.
        tokens: (continuations,) uint32, ascending in a row.
        counts: (continuations,) int64, live occurrences of the prefix with the token.
    """

    offsets: NDArray[np.int64]
    tokens: NDArray[np.uint32]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True, slots=True, eq=False)
class TopK:
    """The best continuations of each prefix.

    Attributes:
        tokens: (rows, k) int64, best first; -1 where there are fewer.
        scores: (rows, k) float32; -inf there.
        intervals: rows * k of them, row after row; empty there.
    """

    tokens: NDArray[np.int64]
    scores: NDArray[np.float32]
    intervals: Intervals


@dataclass(frozen=True, slots=True, eq=False)
class Occurrences:
    """Where each prefix occurs.

    Attributes:
        offsets: (rows + 1,) int64.
        passages: (occurrences,) int64, passage numbers, ascending in a row.
        positions: (occurrences,) int64, the place of the first token in its passage; ascending in a passage.
    """

    offsets: NDArray[np.int64]
    passages: NDArray[np.int64]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1
