"""Features of (query, passage) pairs on disk: a row a pair, read where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck.errors import InputError
from limbeck.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from limbeck.data.rankings import Rankings


class PairFeatures:
    """What a teacher's scores of pairs were read from, by the ids of the pairs.

    The numbers are mapped from their file and read when they are asked for.

    Args:
        path: the file that `write_pair_features` made.
        rankings: the pairs, in the order of the rows.

    Attributes:
        dimension: of a feature.

    Raises:
        InputError: there is no such file, or its rows are not those of the pairs.

    Example:
        >>> features = PairFeatures("features.npy", candidates)  # doctest: +SKIP
        >>> features.of("q1", ["p3", "p1"]).shape  # doctest: +SKIP
        (2, 768)
    """

    def __init__(self, path: Path | str, rankings: Rankings) -> None:
        try:
            self._rows: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"the features cannot be read ({error})", path=path, remedy="delete the folder and run again"
            ) from error
        self._rankings = rankings
        self._starts: dict[str, int] = {}
        count = 0
        for ranked in rankings:
            self._starts[ranked.query_id] = count
            count += len(ranked)
        if self._rows.ndim != 2 or len(self._rows) != count:
            raise InputError(
                f"the features have the shape {self._rows.shape} for {count:,} pairs",
                path=path,
                expected="one row a pair",
            )
        self.dimension = int(self._rows.shape[1])

    def of(self, query_id: str, passage_ids: Sequence[str]) -> NDArray[np.float16]:
        """The features (passages, dimension) of a query with passages of its list.

        Raises:
            InputError: the list lacks a passage.
        """
        listed = self._rankings.list_for(query_id).passage_ids
        place = {passage_id: at for at, passage_id in enumerate(listed)}
        lacking = [passage_id for passage_id in passage_ids if passage_id not in place]
        if lacking:
            raise InputError(f"there is no feature of query '{query_id}' with passage '{lacking[0]}'")
        return self._rows[[self._starts[query_id] + place[passage_id] for passage_id in passage_ids]]


def write_pair_features(path: Path | str, blocks: Iterable[NDArray[np.float16]], count: int) -> None:
    """Writes features block by block, as half-precision `.npy`, whole or not at all.

    Args:
        path: the file.
        blocks: (pairs, dimension) each, in the order of the pairs.
        count: pairs in all; 1 or more.

    Raises:
        InputError: the blocks have another number of rows.
    """
    with atomic_path(path) as temporary:
        rows: NDArray[np.float16] | None = None
        filled = 0
        for block in blocks:
            if rows is None:
                shape = (count, block.shape[1])
                rows = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
            rows[filled : filled + len(block)] = block
            filled += len(block)
        if rows is None or filled != count:
            raise InputError(f"there are features of {filled:,} pairs", expected=f"{count:,} pairs")
        rows.flush()  # type: ignore[attr-defined]  # a memory map
