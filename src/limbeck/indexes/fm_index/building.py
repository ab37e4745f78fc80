"""Building a part: passages stream in, one file comes out.

Memory: the tokens as they come (4 bytes each) become the text (2 or 4) piece by piece; then the suffix array
is sorted in place beside it, and the children of wide nodes wait in a nameless file. Working space is in
proportion to the largest bucket, the suffixes that begin with the most frequent token.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import InputError
from limbeck.files import make_folder
from limbeck.indexes.fm_index.file_format import write_sections
from limbeck.indexes.fm_index.kernels.encoding import encode, mark_seen
from limbeck.indexes.fm_index.kernels.layout import BLOCK_SHIFT, DEPTHS, POSITION_LIMIT, WIDE_CHILDREN
from limbeck.indexes.fm_index.kernels.sorting import sort_buckets
from limbeck.indexes.fm_index.kernels.suffix_array import PADDING, ROUNDS, double_prefixes, place_by_first
from limbeck.indexes.fm_index.ragged import token_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_CHUNK = 1 << 21
_TABLE = 1 << 22
"""Ids below this are looked up in a table while building; larger ones are searched for."""
_ROOM = 1 << 19


class PartBuilder:
    """Collects passages and writes them as a part.

    Example:
        >>> builder = PartBuilder()
        >>> builder.add([3, 1, 4])
        >>> builder.add_many(np.array([1, 5, 9], np.uint32), np.array([0, 2, 3]))
        >>> builder.write(Path("part"), numbers=0)
    """

    def __init__(self) -> None:
        self.token_count = 0
        self._chunks: list[NDArray[np.uint32]] = []
        self._chunk = np.empty(_CHUNK, np.uint32)
        self._filled = 0
        self._lengths = array("q")
        self._seen = np.zeros(_TABLE, np.bool_)
        self._large: list[NDArray[np.uint32]] = []

    @property
    def passage_count(self) -> int:
        """How many passages were added."""
        return len(self._lengths)

    def add(self, passage: Sequence[int] | NDArray[Any]) -> None:
        """Adds one passage, token ids (tokens,).

        Raises:
            InputError: ids that are not whole numbers from 0 to 2**32 - 1, or more than a part can hold.
        """
        tokens = token_array(passage, name=f"passage {self.passage_count}")
        self._lengths.append(len(tokens))
        self._append(tokens)

    def add_many(self, tokens: NDArray[np.uint32], offsets: NDArray[np.int64]) -> None:
        """Adds passages at the speed of memory: passage i is tokens[offsets[i]:offsets[i + 1]]."""
        self._lengths.frombytes(np.diff(offsets).astype(np.int64).tobytes())
        self._append(tokens[int(offsets[0]) : int(offsets[-1])])

    def _append(self, tokens: NDArray[np.uint32]) -> None:
        size = len(tokens)
        self.token_count += size
        if self.token_count + self.passage_count > POSITION_LIMIT:
            raise InputError(
                f"{self.token_count} tokens in {self.passage_count} passages are more than one part can hold",
                expected=f"at most {POSITION_LIMIT} of both together",
                remedy="divide the passages among several parts",
            )
        if self._filled + size <= _CHUNK:
            self._chunk[self._filled : self._filled + size] = tokens
            self._filled += size
            return
        while size:
            taken = min(size, _CHUNK - self._filled)
            self._chunk[self._filled : self._filled + taken] = tokens[:taken]
            self._filled += taken
            tokens = tokens[taken:]
            size -= taken
            if self._filled == _CHUNK:
                self._close_chunk()

    def _close_chunk(self) -> None:
        chunk = self._chunk[: self._filled]
        if mark_seen(chunk, self._seen):
            self._see_large(chunk[chunk >= _TABLE])
        self._chunks.append(chunk)
        self._chunk = np.empty(_CHUNK, np.uint32)
        self._filled = 0

    def _see_large(self, ids: NDArray[np.uint32]) -> None:
        # Runs grow by merging with those of like size: an id is moved a few times, however many there are.
        run = _distinct(ids)
        while self._large and len(self._large[-1]) < 2 * len(run):
            run = _distinct(np.concatenate([self._large.pop(), run]))
        self._large.append(run)

    def write(self, path: Path, numbers: int | NDArray[np.int64] = 0) -> None:
        """Sorts what was added and writes the part; the builder is empty afterwards.

        Args:
            path: the file.
            numbers: the passages' numbers (passages,), ascending, or the number of the first of a range.

        Raises:
            InputError: numbers that are not as many as the passages, or not ascending.
        """
        stored = self._numbers(numbers)
        starts = self._starts()
        text, alphabet = self._encode_all(starts)
        length = int(starts[-1])
        suffixes = np.empty(self.token_count, np.uint32)
        positions = np.arange(0, length + (1 << BLOCK_SHIFT), 1 << BLOCK_SHIFT)
        blocks = np.maximum(np.searchsorted(starts, positions, side="right") - 1, 0)
        make_folder(path.parent)
        with tempfile.TemporaryFile(dir=path.parent) as waiting:
            tables = ChildTables(waiting)
            sort_suffixes(text, length, suffixes, len(alphabet), tables)
            small, wide = np.dtype("uint32"), np.dtype("int64")
            write_sections(
                path,
                [
                    ("text", text.dtype, [text[:length]]),
                    ("suffixes", small, [suffixes]),
                    ("starts", small, [starts]),
                    ("blocks", small, [blocks]),
                    ("numbers", wide, [stored]),
                    ("alphabet", small, [alphabet]),
                    ("depth_nodes", wide, [tables.depth_nodes()]),
                    ("node_lows", small, tables.lows),
                    ("node_children", wide, tables.node_children()),
                    ("child_codes", text.dtype, tables.codes),
                    ("child_firsts", small, tables.firsts),
                ],
                {"tokens": self.token_count, "passages": len(starts) - 1, "codes": len(alphabet)},
            )
        self.__init__()  # type: ignore[misc]

    def _numbers(self, numbers: int | NDArray[np.int64]) -> NDArray[np.int64]:
        stored = np.asarray(numbers, np.int64)
        if stored.ndim == 0:
            stored = stored + np.arange(self.passage_count)
        if len(stored) != self.passage_count:
            raise InputError(f"{self.passage_count} passages have {len(stored)} numbers")
        if len(stored) and (stored[0] < 0 or (np.diff(stored) <= 0).any()):
            raise InputError("the passages' numbers are not ascending", expected="0 <= n0 < n1 < ...")
        return stored

    def _starts(self) -> NDArray[np.uint32]:
        lengths = np.frombuffer(self._lengths, np.int64) if len(self._lengths) else np.empty(0, np.int64)
        starts = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths + 1, out=starts[1:])
        return starts.astype(np.uint32)

    def _encode_all(self, starts: NDArray[np.uint32]) -> tuple[NDArray[Any], NDArray[np.uint32]]:
        self._close_chunk()
        alphabet = np.concatenate(
            [
                np.flatnonzero(self._seen).astype(np.uint32),
                _distinct(np.concatenate([np.empty(0, np.uint32), *self._large])),
            ]
        )
        dtype = np.dtype("uint16" if len(alphabet) < 2**16 else "uint32")
        text = np.zeros(int(starts[-1]) + PADDING, dtype)
        table = np.zeros(int(alphabet[alphabet < _TABLE].max(initial=0)) + 1, np.uint32)
        small = alphabet[alphabet < len(table)]
        table[small] = np.arange(1, len(small) + 1)
        passage, position = 0, 0
        self._chunks.reverse()
        while self._chunks:  # each is let go when it has been read
            chunk = self._chunks.pop()
            passage, position = encode(chunk, starts, passage, position, table, alphabet, text)
        return text, alphabet


def _distinct(ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Each id once, ascending. NumPy's own function hashes, and takes seconds."""
    ids = np.sort(ids, kind="stable")  # quick with runs that are in order
    new = np.ones(len(ids), np.bool_)
    np.not_equal(ids[1:], ids[:-1], out=new[1:])
    return ids[new]


class Pieces:
    """Arrays that wait in a nameless file beside the part, by depth, so that they take no memory.

    Args:
        file: shared by all pieces; gone when it is closed, and with the process.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: list[list[tuple[int, int, np.dtype[Any]]]] = [[] for _ in range(DEPTHS)]

    def append(self, depth: int, values: NDArray[Any]) -> None:
        """Adds a piece (entries,)."""
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(np.ascontiguousarray(values).data)
        self._places[depth].append((place, len(values), values.dtype))

    def counts(self) -> list[int]:
        """How many entries each depth has."""
        return [sum(entries for _, entries, _ in places) for places in self._places]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for places in self._places:
            for place, entries, dtype in places:
                self._file.seek(place)
                yield np.frombuffer(self._file.read(entries * dtype.itemsize), dtype)


class ChildTables:
    """The children of wide nodes as they were found.

    Args:
        file: holds them until they are written.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.codes, self.firsts, self.lows, self.sizes = (Pieces(file) for _ in range(4))

    def depth_nodes(self) -> NDArray[np.int64]:
        """(DEPTHS + 1,), the first node of each depth."""
        return np.concatenate([[0], np.cumsum(self.lows.counts())]).astype(np.int64)

    def node_children(self) -> Iterator[NDArray[np.int64]]:
        """(nodes + 1,), the first child of each node, in pieces."""
        total = 0
        yield np.zeros(1, np.int64)
        for piece in self.sizes:
            ends = total + np.cumsum(piece, dtype=np.int64)
            total = int(ends[-1]) if len(ends) else total
            yield ends


def sort_suffixes(
    text: NDArray[Any], length: int, suffixes: NDArray[np.uint32], codes: int, tables: ChildTables
) -> None:
    """Sorts the suffixes of a text and lists the children of its wide nodes.

    Args:
        text: (length + PADDING,) codes.
        length: codes in the text.
        suffixes: (tokens,), written to.
        codes: distinct codes but 0.
        tables: takes the children of the root and of the wide nodes.
    """
    bucket_starts = np.zeros(codes + 2, np.int64)
    place_by_first(text, length, bucket_starts, suffixes)
    if codes == 0:
        return
    tables.codes.append(0, np.arange(1, codes + 1).astype(text.dtype))
    tables.firsts.append(0, bucket_starts[1:-1].astype(np.uint32))
    tables.lows.append(0, np.zeros(1, np.uint32))
    tables.sizes.append(0, np.full(1, codes, np.uint32))
    largest = int(np.diff(bucket_starts).max())
    room = max(largest, _ROOM)
    child_codes, firsts = np.empty((DEPTHS, room), text.dtype), np.empty((DEPTHS, room), np.uint32)
    lows, sizes = (np.empty((DEPTHS, room // WIDE_CHILDREN + 1), np.uint32) for _ in range(2))
    tied, bucket = [], 1
    while bucket <= codes:
        filled = np.zeros((2, DEPTHS), np.int64)
        bucket, left = sort_buckets(
            text, suffixes, bucket_starts, bucket, largest, child_codes, firsts, lows, sizes, filled
        )
        tied.append(left)
        for depth in range(DEPTHS):
            children, nodes = filled[:, depth]
            if nodes:
                tables.codes.append(depth, child_codes[depth, :children])
                tables.firsts.append(depth, firsts[depth, :children])
                tables.lows.append(depth, lows[depth, :nodes])
                tables.sizes.append(depth, sizes[depth, :nodes])
    del child_codes, firsts, lows, sizes
    groups = np.concatenate(tied)
    if len(groups):
        double_prefixes(length, suffixes, groups, 1 + ROUNDS * (8 // text.itemsize))
