"""The shared base of Passages and Queries: rows with an id in an Arrow file, and an index from ids to rows.

Design facts:
- Rows are written in record batches of bounded size and read in place: opening maps the file and loads
  nothing.
- Beside `x.arrow` lies `x.ids.arrow`, the IdIndex, mapped as well. It is made anew when it is missing or
  belongs to other content, so that `x.arrow` alone is the whole table.
"""

from __future__ import annotations

from array import array
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, Self, TypeVar

import numpy as np
import pyarrow as pa

from limbeck.data.arrow import (
    FINGERPRINT,
    Fingerprint,
    open_arrow,
    read_last,
    schema_of,
    write_last,
)
from limbeck.data.id_index import IdIndex, hash_ids
from limbeck.errors import InputError
from limbeck.files import Located, atomic_path
from limbeck.texts import is_unicode

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

Row = TypeVar("Row")

BATCH_ROWS = 4096
BATCH_CHARACTERS = 8_000_000


class IdTable(Generic[Row]):
    """A memory-mapped table whose rows have an id; subclasses name the columns and make the row objects.

    Columns are strings, the first is `id`, and `text` must not be blank.
    """

    kind: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    def __init__(self, path: Path, reader: pa.RecordBatchFileReader, index: IdIndex | None) -> None:
        self.path = path
        self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._ends = np.cumsum([batch.num_rows for batch in self._batches], dtype=np.int64)
        self._fingerprint = read_last(reader)[FINGERPRINT].decode()
        self._index = index or _open_index(path, self)

    # -- subclasses --------------------------------------------------------------------------------

    @classmethod
    def _values(cls, row: Row) -> tuple[str, ...]:
        raise NotImplementedError

    @classmethod
    def _row(cls, *values: str) -> Row:
        raise NotImplementedError

    # -- writing and opening -----------------------------------------------------------------------

    @classmethod
    def write(cls, path: str | os.PathLike[str], rows: Iterable[Row]) -> Self:
        """Write rows to a table at `path`, and open it. Rows are streamed: memory is 16 bytes a row at most.

        Args:
            path: the `.arrow` file to make; an index `.ids.arrow` is made beside it.
            rows: anything that yields rows. When it can say in which file and line a row stands
                (`limbeck.files.Located`), errors do.

        Raises:
            InputError: an id that is empty or comes twice, a blank text, a value that is not text, no row at
                all. Nothing is left at `path` then, and what stood there before stands.
        """
        path = Path(path)
        with atomic_path(index_path(path)) as new_index, atomic_path(path) as new_table:
            hashes = _TableWriter(cls, new_table).write(rows)
            index = IdIndex.build(hashes)
            table = cls(new_table, open_arrow(new_table, cls.kind), index)
            repeated = index.repeated(lambda at: table.ids(at.tolist()))
            if repeated:
                cls._refuse_repeated(table.id(repeated[0]), *repeated, rows)
            _write_index(new_index, index, table.fingerprint)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Map the table at `path` into memory; nothing of it is loaded.

        Raises:
            InputError: when there is no such file, or it is another kind of file.
        """
        return cls(Path(path), open_arrow(path, cls.kind), None)

    @classmethod
    def _refuse_repeated(cls, id_: str, first: int, row: int, rows: Iterable[Row]) -> NoReturn:
        problem = f"{cls.kind} id {id_!r} appears twice"
        expected = "every id once"
        if isinstance(rows, Located):
            path, line = rows.place(row)
            first_line = rows.place(first)[1]
            raise InputError(
                f"{problem} (first at line {first_line})", path=path, line=line, expected=expected
            )
        raise InputError(f"{problem} (records {first + 1} and {row + 1})", expected=expected)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).open, (self.path,)  # another process maps the file itself

    # -- reading -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __iter__(self) -> Iterator[Row]:
        for batch in self._batches:
            yield from starmap(self._row, zip(*(column.to_pylist() for column in batch.columns), strict=True))

    def __getitem__(self, row: int) -> Row:
        batch, at = self._locate(row)
        return self._row(*(column[at].as_py() for column in batch.columns))

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, str) and bool(self.contains([id_])[0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {len(self)} rows)"

    def batches(self, size: int) -> Iterator[list[Row]]:
        """All rows in order, `size` at a time; the last list may be shorter."""
        if size < 1:
            raise ValueError(f"the size of a batch is at least 1, not {size}")
        held: list[Row] = []
        for row in self:
            held.append(row)
            if len(held) == size:
                yield held
                held = []
        if held:
            yield held

    def contains(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Which of the ids are in the table, (ids,)."""
        return self._find(ids) >= 0

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The rows (ids,) of the ids, from 0.

        Raises:
            InputError: for an id that the table does not have.
        """
        found = self._find(ids)
        missing = np.flatnonzero(found < 0)
        if len(missing):
            others = f" (nor {len(missing) - 1} more of those asked for)" if len(missing) > 1 else ""
            raise InputError(f"there is no {self.kind} {ids[missing[0]]!r} here{others}", path=self.path)
        return found

    def id(self, row: int) -> str:
        """The id at a row."""
        batch, at = self._locate(row)
        return str(batch.column(0)[at].as_py())

    def ids(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> list[str]:
        """The ids at rows, or all in order."""
        return self._gather("id", rows)

    def id_batches(self) -> Iterator[list[str]]:
        """All ids in order, thousands at a time, without a look at the other columns."""
        for batch in self._batches:
            if batch.num_rows:  # the last holds the fingerprint alone
                yield batch.column(0).to_pylist()

    @property
    def fingerprint(self) -> str:
        """A hash of the content, 32 hexadecimal digits; equal for equal rows in equal order."""
        return self._fingerprint

    def take(self, rows: NDArray[np.int64]) -> Iterator[Row]:
        """The rows with these numbers, one after the other."""
        for start in range(0, len(rows), BATCH_ROWS):
            chunk = rows[start : start + BATCH_ROWS]
            columns = [self._gather(column, chunk) for column in self.columns]
            yield from starmap(self._row, zip(*columns, strict=True))

    def _find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        return self._index.find(ids, lambda rows: self._gather("id", rows))

    def _locate(self, row: int) -> tuple[Any, int]:
        size = len(self)
        if not -size <= row < size:
            raise IndexError(f"row {row} of a table of {size} rows")
        row %= size
        batch = int(np.searchsorted(self._ends, row, side="right"))
        return self._batches[batch], row - int(self._ends[batch]) + self._batches[batch].num_rows

    def _gather(self, column: str, rows: Sequence[int] | NDArray[np.int64] | None) -> list[str]:
        """The values of a column at rows, batch by batch, so that no column is ever joined into one piece."""
        if rows is None:
            return [value for batch in self._batches for value in batch.column(column).to_pylist()]
        at = np.asarray(rows, np.int64)
        if len(at) and not (at.min() >= 0 and at.max() < len(self)):
            raise IndexError(f"rows {at.min()} to {at.max()} of a table of {len(self)} rows")
        owners = np.searchsorted(self._ends, at, side="right")
        order = np.argsort(owners, kind="stable")
        cuts = np.flatnonzero(np.diff(owners[order])) + 1
        values: list[str] = [""] * len(at)
        for piece in np.split(order, cuts) if len(at) else ():
            batch = self._batches[owners[piece[0]]]
            local = at[piece] - (self._ends[owners[piece[0]]] - batch.num_rows)
            for place, value in zip(
                piece.tolist(), batch.column(column).take(pa.array(local)).to_pylist(), strict=True
            ):
                values[place] = value
        return values


class _TableWriter(Generic[Row]):
    """Streams rows into record batches of bounded size, checking each."""

    def __init__(self, table: type[IdTable[Row]], path: Path) -> None:
        self._table = table
        self._path = path
        self._schema = schema_of(table.kind, [(name, pa.string()) for name in table.columns])
        self._text_at = table.columns.index("text")
        self._digest = Fingerprint(len(table.columns))
        self._hashes = array("Q")

    def write(self, rows: Iterable[Row]) -> NDArray[np.uint64]:
        """Write all rows; the hashes of their ids (rows,)."""
        with pa.OSFile(str(self._path), "wb") as sink, pa.ipc.new_file(sink, self._schema) as writer:
            for held in self._chunks(rows):
                writer.write_batch(self._batch(held, rows))
            if not self._hashes:
                raise InputError(f"there is no {self._table.kind} at all", expected="at least one")
            write_last(writer, self._schema, {FINGERPRINT: self._digest.hexdigest().encode()})
        return np.frombuffer(self._hashes, np.uint64)

    def _chunks(self, rows: Iterable[Row]) -> Iterator[list[tuple[str, ...]]]:
        held: list[tuple[str, ...]] = []
        characters = 0
        for number, row in enumerate(rows):
            values = self._table._values(row)
            id_, text = values[0], values[self._text_at]
            # The plain case is told in one line, for it is met millions of times.
            if type(id_) is not str or type(text) is not str or not id_ or not text or text.isspace():
                self._check(values, number, rows)
            held.append(values)
            characters += len(text)
            if len(held) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
                yield held
                held, characters = [], 0
        if held:
            yield held

    def _check(self, values: tuple[str, ...], number: int, rows: Iterable[Row]) -> None:
        for name, value in zip(self._table.columns, values, strict=True):
            if not isinstance(value, str):
                self._refuse(
                    f"the {name} of {self._table.kind} {values[0]!r} is {value!r}", number, rows, "text"
                )
            if not is_unicode(value):
                problem = f"the {name} of {self._table.kind} {values[0]!r} has half of a surrogate pair"
                self._refuse(problem, number, rows, "valid Unicode")
        if not values[0]:
            self._refuse(f"a {self._table.kind} has an empty id", number, rows, "an id")
        if not values[self._text_at].strip():
            self._refuse(f"the text of {self._table.kind} {values[0]!r} is empty", number, rows, "some text")

    def _refuse(self, problem: str, number: int, rows: Iterable[Row], expected: str) -> NoReturn:
        path, line = rows.place(number) if isinstance(rows, Located) else (None, None)
        if path is None:
            problem += f" (record {number + 1})"
        raise InputError(problem, path=path, line=line, expected=expected, remedy="mend or remove it")

    def _batch(self, held: list[tuple[str, ...]], rows: Iterable[Row]) -> pa.RecordBatch:
        try:
            columns = [pa.array(values, pa.string()) for values in zip(*held, strict=True)]
            sound = not any(column.null_count for column in columns)
        except (UnicodeEncodeError, pa.ArrowException):
            sound = False
        if not sound:
            for number, values in enumerate(held, start=len(self._hashes)):
                self._check(values, number, rows)
        self._digest.update(columns)
        self._hashes.frombytes(hash_ids([values[0] for values in held]).tobytes())
        return pa.record_batch(columns, schema=self._schema)


def index_path(path: Path) -> Path:
    """Where the id index of the table at `path` lies: `x.arrow` has `x.ids.arrow`."""
    return path.with_name(f"{path.name.removesuffix('.arrow')}.ids.arrow")


def _write_index(path: Path, index: IdIndex, fingerprint: str) -> None:
    schema = schema_of("ids", [("hash", pa.uint64()), ("row", pa.int64())]).with_metadata(
        {b"limbeck.kind": b"ids", FINGERPRINT: fingerprint.encode()}
    )
    batch = pa.record_batch([pa.array(index.hashes), pa.array(index.rows)], schema=schema)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(batch)


def _open_index(path: Path, table: IdTable[Any]) -> IdIndex:
    """The index that lies beside a table, made anew when it is missing or belongs to other content."""
    beside = index_path(path)
    try:
        reader = open_arrow(beside, "ids")
        if reader.schema.metadata[FINGERPRINT].decode() == table.fingerprint:
            batch = reader.get_batch(0)
            return IdIndex(*(column.to_numpy() for column in batch.columns))
    except InputError:
        pass
    hashes = np.concatenate([hash_ids(batch.column(0).to_pylist()) for batch in table._batches])
    index = IdIndex.build(hashes)
    try:
        with atomic_path(beside) as temporary:
            _write_index(temporary, index, table.fingerprint)
    except OSError:
        pass  # a folder that cannot be written to: the index stays in memory
    return index
