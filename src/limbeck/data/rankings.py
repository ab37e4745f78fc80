"""Rankings: the table that flows between all stages.

Miners make rankings, teachers score them, students learn from them, retrievers return them, evaluation
compares them with judgements. A row is (query id, passage id, score, source); the rows of a query are its
list.

Design facts:
- A list is sorted by score descending, ties by passage id ascending; a passage comes once in it; scores are
  finite.
- A Rankings is record batches and a directory of where each list lies in them. The batches are in memory
  (ids dictionary-encoded) or in a mapped file; `top` and `for_queries` only change the directory.
- Lists come lazily, so that going through a file needs memory for one batch, however long the file is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from limbeck.data.arrow import Fingerprint
from limbeck.data.ranked_lists import RankedList, fuse
from limbeck.data.rankings_file import BATCH_ROWS, SCHEMA, Directory, RankingsFile, RankingsWriter
from limbeck.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from limbeck.data.passages import Passages
    from limbeck.data.queries import Queries

__all__ = ["RankedList", "Rankings", "RankingsWriter"]


class _Batches(Protocol):
    """Record batches by number, with the columns passage_id, score, source."""

    def __getitem__(self, number: int) -> pa.RecordBatch: ...


class Rankings:
    """Ranked passages for queries, in memory or in a mapped file.

    Made with `from_lists`, `from_dict`, `union`, `empty`, or by a RankingsWriter; opened with `open`.

    Example:
        >>> rankings = Rankings.from_dict({"q1": {"d1": 0.2, "d2": 0.9}}, source="bm25")
        >>> rankings.list_for("q1").passage_ids, len(rankings), rankings.source
        (['d2', 'd1'], 2, 'bm25')
        >>> rankings.rescored(np.array([1.0, 7.0]), source="teacher").list_for("q1").passage_ids
        ['d1', 'd2']
    """

    def __init__(
        self,
        batches: _Batches,
        directory: Directory,
        sources: Sequence[str],
        *,
        path: Path | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self._batches = batches
        self._directory = directory
        self._sources = tuple(dict.fromkeys(sources))
        self._path = path
        self._fingerprint = fingerprint

    # -- making ------------------------------------------------------------------------------------

    @classmethod
    def from_lists(cls, lists: Iterable[RankedList], source: str) -> Rankings:
        """Rankings in memory out of one list a query, each in any order.

        Raises:
            InputError: for a list that is not sound (see RankedList.ordered) or a query that comes twice.
        """
        builder = _Builder()
        for ranked in lists:
            builder.add(ranked.ordered(), [source] * len(ranked))
        return builder.build([source])

    @classmethod
    def from_dict(cls, scores: Mapping[str, Mapping[str, float]], source: str) -> Rankings:
        """Rankings in memory out of {query id: {passage id: score}}."""
        return cls.from_lists(
            (
                RankedList(
                    query_id, list(of_query), np.fromiter(of_query.values(), np.float64, len(of_query))
                )
                for query_id, of_query in scores.items()
            ),
            source,
        )

    @classmethod
    def empty(cls) -> Rankings:
        """Rankings without any list."""
        return cls.from_lists([], "")

    @classmethod
    def union(cls, rankings: Sequence[Rankings], depth: int | None = None) -> Rankings:
        """The passages that any of several rankings found, at most `depth` a query, by `fuse`.

        The source of a row names all rankings that found it, joined by "+". Queries come in the order in
        which they first appear.
        """
        builder = _Builder()
        for query_id in dict.fromkeys(query_id for one in rankings for query_id in one.query_ids):
            lists = [one.list_for(query_id) for one in rankings]
            fused = fuse(lists, depth)
            found = [
                (set(ranked.passage_ids), one.source) for ranked, one in zip(lists, rankings, strict=True)
            ]
            builder.add(
                fused,
                [
                    "+".join(name for ids, name in found if passage_id in ids)
                    for passage_id in fused.passage_ids
                ],
            )
        return builder.build([name for one in rankings for name in one._sources])

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Rankings:
        """Map a file that `write` or a RankingsWriter made; only its directory of lists is loaded.

        Raises:
            InputError: when there is no such file, or it is another kind of file.
        """
        file = RankingsFile.open(path)
        return cls(file.batches, file.directory, file.sources, path=Path(path), fingerprint=file.fingerprint)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write an Arrow file of query_id, passage_id, score, source; it appears whole or not at all."""
        with RankingsWriter(path, "") as writer:
            for first, last, batch in self._blocks():
                query_ids = self._directory.query_ids[first:last].to_pylist()
                writer.add_block(query_ids, self._directory.length[first:last], batch, self._sources)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._path is not None and self._fingerprint is not None:
            return Rankings.open, (self._path,)  # another process maps the file itself
        state = [batch for _, _, batch in self._blocks()]
        return _unpickled, (state, self._directory.query_ids, self._directory.length, self._sources)

    # -- reading -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Rows, that is (query, passage) pairs."""
        return int(self._directory.length.sum())

    def __iter__(self) -> Iterator[RankedList]:
        return (self._list(at) for at in range(len(self._directory)))

    def __contains__(self, query_id: object) -> bool:
        return query_id in self._directory.position

    def __repr__(self) -> str:
        return f"Rankings({len(self)} rows, {len(self._directory)} queries, source {self.source!r})"

    @property
    def query_ids(self) -> list[str]:
        """The ids of the queries that have a list, in the order of the lists."""
        ids: list[str] = self._directory.query_ids.to_pylist()
        return ids

    @property
    def source(self) -> str:
        """What made the rankings; several names are joined by "+"."""
        return "+".join(dict.fromkeys(name for source in self._sources for name in source.split("+")))

    @property
    def scores(self) -> NDArray[np.float64]:
        """All scores (rows,), in the order of `pairs`."""
        pieces = [batch.column("score").to_numpy() for _, _, batch in self._blocks()]
        return np.concatenate(pieces) if pieces else np.zeros(0)

    def list_for(self, query_id: str) -> RankedList:
        """The list of a query; an empty one when it has none."""
        at = self._directory.position.get(query_id)
        return RankedList(query_id, [], np.zeros(0)) if at is None else self._list(at)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The (query id, passage id) of every row, list by list, best first."""
        for ranked in self:
            for passage_id in ranked.passage_ids:
                yield ranked.query_id, passage_id

    def to_dict(self) -> dict[str, dict[str, float]]:
        """{query id: {passage id: score}}, best first; everything is loaded."""
        return {
            ranked.query_id: dict(zip(ranked.passage_ids, ranked.scores.tolist(), strict=True))
            for ranked in self
        }

    def to_table(self) -> pa.Table:
        """An Arrow table of query_id, passage_id, score, source, ids dictionary-encoded; loads everything."""
        table = pa.Table.from_batches(
            [batch for _, _, batch in self._blocks()], schema=SCHEMA.remove_metadata()
        )
        for name in ("query_id", "passage_id", "source"):
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, table.column(name).dictionary_encode())
        return table.combine_chunks()

    @property
    def fingerprint(self) -> str:
        """A hash of the rows, 32 hexadecimal digits; the same in memory and on disk."""
        if self._fingerprint is None:
            digest = Fingerprint(len(SCHEMA))
            for _, _, batch in self._blocks():
                digest.update(batch.columns)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    # -- deriving ----------------------------------------------------------------------------------

    def top(self, depth: int) -> Rankings:
        """The best `depth` passages of every list; nothing is copied."""
        if depth < 0:
            raise ValueError(f"a depth is at least 0, not {depth}")
        return Rankings(self._batches, self._directory.cut(depth), self._sources)

    def for_queries(self, query_ids: Iterable[str]) -> Rankings:
        """The lists of these queries, in this order, without copying; ids that have none are passed over."""
        position = self._directory.position
        entries = [position[query_id] for query_id in dict.fromkeys(query_ids) if query_id in position]
        return Rankings(self._batches, self._directory.take(entries), self._sources)

    def rescored(self, scores: NDArray[np.floating[Any]], source: str) -> Rankings:
        """The same pairs with other scores, in memory, each list sorted anew.

        Args:
            scores: (rows,), in the order of `pairs`.
            source: what gave the scores.

        Raises:
            InputError: for another number of scores than of rows, or one that is NaN or infinite.
        """
        given = np.asarray(scores, np.float64)
        if given.shape != (len(self),):
            raise InputError(f"scores have shape {given.shape}", expected=f"one score a row, ({len(self)},)")
        owners = np.repeat(np.arange(len(self._directory)), self._directory.length)
        passages = _encoded([batch.column("passage_id") for _, _, batch in self._blocks()])
        if not np.isfinite(given).all():
            bad = int(np.argmin(np.isfinite(given)))
            query_id = self._directory.query_ids[int(owners[bad])].as_py()
            raise InputError(
                f"the score of query {query_id!r} and passage {passages[bad].as_py()!r} is {given[bad]}",
                expected="a finite number",
            )
        codes = passages.indices.to_numpy()
        # UTF-8 bytes sort as code points do, so this is the order in which Python compares the ids.
        place = np.empty(len(passages.dictionary), np.int64)
        place[pc.sort_indices(passages.dictionary).to_numpy()] = np.arange(len(place))
        order = np.lexsort((place[codes], -given, owners))
        passages = pa.DictionaryArray.from_arrays(pa.array(codes[order]), passages.dictionary)
        sources = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(given), np.int32)), pa.array([source]))
        return _in_memory(
            passages,
            given[order],
            sources,
            query_ids=self._directory.query_ids,
            lengths=self._directory.length,
            names=[source],
        )

    def check(self, passages: Passages, queries: Queries) -> None:
        """An InputError when a ranked query or passage does not exist."""
        _require(queries, self.query_ids)
        for _, _, batch in self._blocks():
            _require(passages, pc.unique(batch.column("passage_id")).to_pylist())

    # -- inside ------------------------------------------------------------------------------------

    def _list(self, at: int) -> RankedList:
        directory = self._directory
        rows = self._batches[int(directory.batch[at])].slice(
            int(directory.start[at]), int(directory.length[at])
        )
        ids = _decoded(rows.column("passage_id")).to_pylist()
        return RankedList(directory.query_ids[at].as_py(), ids, rows.column("score").to_numpy().copy())

    def _blocks(self) -> Iterator[tuple[int, int, pa.RecordBatch]]:
        """Runs of lists as (first list, last list + 1, their rows as plain columns of the file's schema)."""
        directory = self._directory
        first = 0
        while first < len(directory):
            # A run ends where the batch changes, or where it is long enough.
            ahead = slice(first, first + BATCH_ROWS)
            fits = np.cumsum(directory.length[ahead]) <= BATCH_ROWS
            same = directory.batch[ahead] == directory.batch[first]
            run = max(1, int(np.argmin(np.append(fits & same, False))))
            yield first, first + run, self._block(first, first + run)
            first += run

    def _block(self, first: int, last: int) -> pa.RecordBatch:
        directory = self._directory
        lengths = directory.length[first:last]
        owners = np.repeat(np.arange(first, last), lengths)
        at = np.arange(len(owners)) + np.repeat(
            directory.start[first:last] - (np.cumsum(lengths) - lengths), lengths
        )
        batch = self._batches[int(directory.batch[first])]
        if len(at) and at[-1] - at[0] + 1 == len(at) and np.all(np.diff(at) == 1):
            rows = batch.slice(int(at[0]), len(at))
        else:
            rows = batch.take(pa.array(at))
        columns = {
            "query_id": directory.query_ids.take(pa.array(owners)),
            "passage_id": _decoded(rows.column("passage_id")),
            "score": rows.column("score"),
            "source": _decoded(rows.column("source")),
        }
        return pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA)


class _Builder:
    """Collects ordered lists into Rankings in memory."""

    def __init__(self) -> None:
        self._lengths: dict[str, int] = {}
        self._passage_ids: list[str] = []
        self._sources: list[str] = []
        self._scores: list[NDArray[np.float64]] = []
        self._encoded: list[tuple[pa.Array, pa.Array]] = []

    def add(self, ranked: RankedList, sources: list[str]) -> None:
        if ranked.query_id in self._lengths:
            raise InputError(f"query {ranked.query_id!r} has two lists", expected="one list a query")
        self._lengths[ranked.query_id] = len(ranked)
        self._passage_ids.extend(ranked.passage_ids)
        self._sources.extend(sources)
        self._scores.append(ranked.scores)
        if len(self._passage_ids) >= BATCH_ROWS:
            self._encode()

    def _encode(self) -> None:
        """Let go of the Python strings."""
        try:
            self._encoded.append(
                (pa.array(self._passage_ids, pa.string()), pa.array(self._sources, pa.string()))
            )
        except UnicodeEncodeError as error:
            raise InputError(
                f"an id has half of a surrogate pair: {error.object!r}", expected="valid Unicode"
            ) from None
        self._passage_ids, self._sources = [], []

    def build(self, sources: Sequence[str]) -> Rankings:
        self._encode()
        return _in_memory(
            _encoded([passage_ids for passage_ids, _ in self._encoded]),
            np.concatenate([np.zeros(0), *self._scores]),
            _encoded([names for _, names in self._encoded]),
            query_ids=pa.array(self._lengths, pa.string()),
            lengths=np.fromiter(self._lengths.values(), np.int64, len(self._lengths)),
            names=sources,
        )


def _in_memory(
    passages: pa.Array,
    scores: NDArray[np.float64],
    sources: pa.Array,
    *,
    query_ids: pa.Array,
    lengths: NDArray[np.int64],
    names: Sequence[str],
) -> Rankings:
    batch = pa.record_batch({"passage_id": passages, "score": pa.array(scores), "source": sources})
    directory = Directory(query_ids, np.zeros(len(lengths), np.int64), np.cumsum(lengths) - lengths, lengths)
    return Rankings([batch], directory, [name for name in names if name])


def _unpickled(
    blocks: list[pa.RecordBatch], query_ids: pa.Array, lengths: NDArray[np.int64], names: Sequence[str]
) -> Rankings:
    return _in_memory(
        _encoded([block.column("passage_id") for block in blocks]),
        np.concatenate([np.zeros(0), *(block.column("score").to_numpy() for block in blocks)]),
        _encoded([block.column("source") for block in blocks]),
        query_ids=query_ids,
        lengths=lengths,
        names=names,
    )


def _encoded(pieces: Sequence[pa.Array]) -> pa.Array:
    """Pieces of plain strings as one dictionary array."""
    chunked = pa.chunked_array(pieces, pa.string()).dictionary_encode()
    if chunked.num_chunks == 0:
        return pa.array([], pa.string()).dictionary_encode()
    return pa.concat_arrays(chunked.unify_dictionaries().chunks)


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _require(table: Passages | Queries, ids: list[str]) -> None:
    known = table.contains(ids)
    if not known.all():
        raise InputError(
            f"{table.kind} {ids[int(known.argmin())]!r} is ranked but does not exist",
            expected=f"ids from {table.path}",
            remedy="bring the data that the rankings belong to",
        )
