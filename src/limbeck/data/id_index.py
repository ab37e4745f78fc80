"""From ids to rows by sorted 64-bit hashes: 16 bytes an id, in memory or mapped from a file.

Two ids may share a hash; so every look-up compares the id itself.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


def hash_ids(ids: Sequence[str]) -> NDArray[np.uint64]:
    """64-bit hashes of ids, (ids,); the same on every machine and in every process."""
    digests = b"".join(
        hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8).digest() for id_ in ids
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64, copy=False)


class IdIndex:
    """Sorted hashes (ids,) and the row (ids,) of each.

    Args:
        hashes: ascending.
        rows: the row of each hash; ascending where hashes are equal.
    """

    def __init__(self, hashes: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        self.hashes = hashes
        self.rows = rows

    @classmethod
    def build(cls, hashes: NDArray[np.uint64]) -> IdIndex:
        """The index of rows whose ids have these hashes (rows,)."""
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], order.astype(np.int64, copy=False))

    def find(self, ids: Sequence[str], ids_at: Callable[[NDArray[np.int64]], list[str]]) -> NDArray[np.int64]:
        """The rows (ids,) of the ids, -1 where there is none.

        Args:
            ids: what to look up, in any order, repeated or not.
            ids_at: gives the ids that stand at rows (n,).
        """
        wanted = hash_ids(ids)
        found = np.full(len(wanted), -1, np.int64)
        at = np.searchsorted(self.hashes, wanted)
        pending = np.arange(len(wanted))
        while len(pending):  # a second time only for ids that share a hash
            pending = pending[at[pending] < len(self.hashes)]
            pending = pending[self.hashes[at[pending]] == wanted[pending]]
            rows = np.asarray(self.rows[at[pending]])
            there = ids_at(rows)
            same = np.array([ids[i] == id_ for i, id_ in zip(pending.tolist(), there, strict=True)], bool)
            found[pending[same]] = rows[same]
            pending = pending[~same]
            at[pending] += 1
        return found

    def repeated(self, ids_at: Callable[[NDArray[np.int64]], list[str]]) -> tuple[int, int] | None:
        """The first row whose id stood before, as (where it stood first, row); None when all ids differ."""
        pairs = []
        for hash_ in np.unique(self.hashes[1:][self.hashes[1:] == self.hashes[:-1]]):
            low, high = (
                np.searchsorted(self.hashes, hash_, "left"),
                np.searchsorted(self.hashes, hash_, "right"),
            )
            rows = np.asarray(self.rows[low:high])
            first: dict[str, int] = {}
            for row, id_ in zip(rows.tolist(), ids_at(rows), strict=True):
                if id_ in first:
                    pairs.append((row, first[id_]))
                first.setdefault(id_, row)
        if not pairs:
            return None
        row, before = min(pairs)
        return before, row
