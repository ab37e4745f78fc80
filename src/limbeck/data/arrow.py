"""What every table on disk shares: Arrow IPC files with a kind and a fingerprint, memory-mapped.

The fingerprint of a stream is known only at its end, when the head of the file is long written; so it stands
in the metadata of a last, empty batch.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from limbeck.errors import InputError
from limbeck.files import require_file

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

KIND = b"limbeck.kind"
FINGERPRINT = b"limbeck.fingerprint"


class Fingerprint:
    """A hash over columns of text and numbers that grows with the rows, however they are cut into batches.

    Example:
        >>> digest = Fingerprint(2)
        >>> digest.update([pa.array(["a"]), pa.array([0.5])])
        >>> digest.hexdigest()
    """

    def __init__(self, columns: int) -> None:
        # Text is hashed as its lengths and its bytes, so that ("ab", "c") and ("a", "bc") differ.
        self._hashes = [
            (hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)) for _ in range(columns)
        ]

    def update(self, columns: Sequence[pa.Array]) -> None:
        """Add rows: one array (rows,) of strings or numbers a column."""
        for (lengths, values), column in zip(self._hashes, columns, strict=True):
            if pa.types.is_string(column.type):
                offsets, data = text_buffers(column)
                lengths.update(np.diff(offsets).astype("<i8").tobytes())
                values.update(data)
            else:
                values.update(column.to_numpy(zero_copy_only=False).tobytes())

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        parts = b"".join(hash_.digest() for pair in self._hashes for hash_ in pair)
        return hashlib.blake2b(parts, digest_size=16).hexdigest()


def text_buffers(column: pa.Array) -> tuple[NDArray[np.int32], memoryview]:
    """The offsets (rows + 1,) of a string array, and the UTF-8 bytes from its first row to its last."""
    if len(column) == 0:
        return np.zeros(1, np.int32), memoryview(b"")
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return ends, memoryview(data if data is not None else b"")[ends[0] : ends[-1]]


def open_arrow(path: str | os.PathLike[str], kind: str) -> pa.RecordBatchFileReader:
    """A reader of the mapped Arrow file at `path`; an InputError when it is not a table of that kind."""
    path = require_file(path, expected=f"a table of {kind} that Limbeck wrote")
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
    except (pa.ArrowInvalid, OSError):
        found = None
    else:
        found = (reader.schema.metadata or {}).get(KIND, b"").decode()
    if found != kind:
        raise InputError(
            f"this is {'a table of ' + found if found else 'not a table that Limbeck wrote'}",
            path=path,
            expected=f"an Arrow file of {kind}",
            remedy="import or build the data again",
        )
    return reader


def schema_of(kind: str, fields: Sequence[tuple[str, pa.DataType]]) -> pa.Schema:
    """The schema of a table of this kind."""
    return pa.schema(fields, metadata={KIND: kind.encode()})


def write_last(writer: pa.RecordBatchFileWriter, schema: pa.Schema, metadata: Mapping[bytes, bytes]) -> None:
    """End a table with an empty batch that carries what is known only now, the fingerprint among it."""
    empty = pa.record_batch([pa.array([], field.type) for field in schema], schema=schema)
    writer.write_batch(empty, custom_metadata=dict(metadata))


def read_last(reader: pa.RecordBatchFileReader) -> dict[bytes, bytes]:
    """What `write_last` wrote."""
    last = reader.get_batch_with_custom_metadata(reader.num_record_batches - 1)
    return dict(last.custom_metadata or {})
