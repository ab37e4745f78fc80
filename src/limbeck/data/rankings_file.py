"""Rankings on disk: an Arrow file that is written as a stream and read a list at a time.

Design facts:
- The four columns query_id, passage_id, score, source are plain, so that pandas, polars and DuckDB read the
  file. Arrow files cannot replace a dictionary between batches, so repeated ids are made small by LZ4
  instead.
- A list never crosses from one record batch into another; batches are small, and reading a list unpacks one
  of them.
- The directory (which list lies where) is written last, into the metadata of the empty last batch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from limbeck.data.arrow import FINGERPRINT, Fingerprint, open_arrow, read_last, schema_of, write_last
from limbeck.errors import InputError
from limbeck.files import atomic_path

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from limbeck.data.ranked_lists import RankedList

BATCH_ROWS = 8192
SCHEMA = schema_of(
    "rankings",
    [
        ("query_id", pa.string()),
        ("passage_id", pa.string()),
        ("score", pa.float64()),
        ("source", pa.string()),
    ],
)
_DIRECTORY = b"limbeck.directory"
_SOURCES = b"limbeck.sources"


@dataclass(frozen=True)
class Directory:
    """Where the lists lie: one entry a list, in the order in which lists are read.

    Args:
        query_ids: a string array (lists,).
        batch: which record batch holds the list, (lists,).
        start: the first row of the list in that batch, (lists,).
        length: the rows of the list, (lists,).
    """

    query_ids: pa.Array
    batch: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.query_ids)

    @cached_property
    def position(self) -> dict[str, int]:
        """From query id to entry."""
        return {query_id: at for at, query_id in enumerate(self.query_ids.to_pylist())}

    def take(self, entries: Sequence[int]) -> Directory:
        """The directory of some lists, in the order asked for."""
        at = np.asarray(entries, np.int64)
        return Directory(self.query_ids.take(pa.array(at)), self.batch[at], self.start[at], self.length[at])

    def cut(self, depth: int) -> Directory:
        """The directory of the same lists, none longer than `depth`."""
        return Directory(self.query_ids, self.batch, self.start, np.minimum(self.length, depth))

    def to_bytes(self) -> bytes:
        """As an Arrow stream."""
        table = pa.table(
            {"query_id": self.query_ids, "batch": self.batch, "start": self.start, "length": self.length}
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, data: bytes) -> Directory:
        """What `to_bytes` gave."""
        table = pa.ipc.open_stream(data).read_all().combine_chunks()
        query_ids, *numbers = table.columns
        joined = pa.concat_arrays(query_ids.chunks) if query_ids.num_chunks else pa.array([], pa.string())
        return cls(joined, *(column.to_numpy() for column in numbers))


class MappedBatches:
    """The record batches of a mapped file; the one read last is kept unpacked."""

    def __init__(self, reader: pa.RecordBatchFileReader) -> None:
        self._reader = reader
        self._last: tuple[int, Any] = (-1, None)

    def __getitem__(self, number: int) -> pa.RecordBatch:
        held, batch = self._last
        if held != number:
            batch = self._reader.get_batch(number)
            self._last = (number, batch)
        return batch


@dataclass(frozen=True)
class RankingsFile:
    """An open file of rankings."""

    batches: MappedBatches
    directory: Directory
    sources: tuple[str, ...]
    fingerprint: str

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RankingsFile:
        """Map the file; only its directory is loaded."""
        reader = open_arrow(path, "rankings")
        last = read_last(reader)
        return cls(
            MappedBatches(reader),
            Directory.from_bytes(last[_DIRECTORY]),
            tuple(json.loads(last[_SOURCES])),
            last[FINGERPRINT].decode(),
        )


@dataclass
class _Buffer:
    """Lists that wait to be written as one record batch."""

    query_ids: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    passage_ids: list[str] = field(default_factory=list)
    scores: list[NDArray[np.float64]] = field(default_factory=list)


class RankingsWriter:
    """Writes ranked lists to a file as they come; it appears, whole, when the `with` block ends well.

    Args:
        path: the `.arrow` file to make.
        source: what made the lists, for example "bm25".

    Raises:
        InputError: from `add`, for a list that is not sound (see RankedList.ordered) or a query that comes
            twice.

    Example:
        >>> with RankingsWriter("bm25.arrow", "bm25") as writer:
        ...     writer.add(RankedList("q1", ["d3", "d1"], np.array([2.5, 0.1])))
        >>> Rankings.open("bm25.arrow").list_for("q1").passage_ids
        ['d3', 'd1']
    """

    def __init__(self, path: str | os.PathLike[str], source: str) -> None:
        self._source = source
        self._atomic: AbstractContextManager[Path] = atomic_path(path)
        self._buffer = _Buffer()
        self._places: list[tuple[int, int, int]] = []
        self._query_ids: dict[str, None] = {}
        self._sources: dict[str, None] = {source: None} if source else {}
        self._batches = 0
        self._digest = Fingerprint(4)

    def __enter__(self) -> Self:
        self._sink = pa.OSFile(str(self._atomic.__enter__()), "wb")
        self._writer = pa.ipc.new_file(self._sink, SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        except BaseException as failure:
            self._sink.close()
            self._atomic.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._sink.close()
        self._atomic.__exit__(kind, error, trace)

    def __len__(self) -> int:
        """The lists added so far."""
        return len(self._query_ids)

    def add(self, ranked: RankedList) -> None:
        """Add the list of one query, in any order; it is sorted by score descending, ties by passage id."""
        ranked = ranked.ordered()
        self._claim(ranked.query_id)
        buffer = self._buffer
        buffer.query_ids.append(ranked.query_id)
        buffer.lengths.append(len(ranked))
        buffer.passage_ids.extend(ranked.passage_ids)
        buffer.scores.append(ranked.scores)
        if len(buffer.passage_ids) >= BATCH_ROWS:
            self._flush()

    def add_block(
        self,
        query_ids: Sequence[str],
        lengths: NDArray[np.int64],
        batch: pa.RecordBatch,
        sources: Sequence[str],
    ) -> None:
        """Add lists that are in order and checked already, as a batch of the file's columns (rows,)."""
        for query_id in query_ids:
            self._claim(query_id)
        self._flush()
        self._sources.update(dict.fromkeys(sources))
        self._write(batch, lengths)

    def _claim(self, query_id: str) -> None:
        if query_id in self._query_ids:
            raise InputError(f"query {query_id!r} has two lists", expected="one list a query")
        self._query_ids[query_id] = None

    def _flush(self) -> None:
        buffer, self._buffer = self._buffer, _Buffer()
        if not buffer.query_ids:
            return
        lengths = np.array(buffer.lengths, np.int64)
        owners = np.repeat(np.arange(len(lengths)), lengths)
        try:
            columns = [
                pa.array(buffer.query_ids, pa.string()).take(pa.array(owners)),
                pa.array(buffer.passage_ids, pa.string()),
                pa.array(np.concatenate(buffer.scores)),
                pa.repeat(pa.scalar(self._source, pa.string()), len(owners)),
            ]
        except UnicodeEncodeError as error:
            raise InputError(
                f"an id has half of a surrogate pair: {error.object!r}", expected="valid Unicode"
            ) from None
        self._write(pa.record_batch(columns, schema=SCHEMA), lengths)

    def _write(self, batch: pa.RecordBatch, lengths: NDArray[np.int64]) -> None:
        self._writer.write_batch(batch)
        self._digest.update(batch.columns)
        starts = np.cumsum(lengths) - lengths
        self._places.extend(
            (self._batches, start, length)
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        )
        self._batches += 1

    def _finish(self) -> None:
        self._flush()
        places = np.array(self._places, np.int64).reshape(-1, 3)
        directory = Directory(pa.array(self._query_ids, pa.string()), *places.T)
        write_last(
            self._writer,
            SCHEMA,
            {
                _DIRECTORY: directory.to_bytes(),
                _SOURCES: json.dumps(list(self._sources)).encode(),
                FINGERPRINT: self._digest.hexdigest().encode(),
            },
        )
        self._writer.close()
