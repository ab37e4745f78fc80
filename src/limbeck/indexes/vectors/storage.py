"""An index as a directory of flat files that is either complete or not there.

Everything is written into a directory beside the target, which takes its place as a whole, see
`limbeck.files.replaced_folder`. Arrays are plain .npy files, so that they can be memory-mapped here and read
with NumPy anywhere.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from limbeck.errors import InputError
from limbeck.files import replaced_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

HEADER = "header.json"
FORMAT = "limbeck vector index"
VERSION = 1
_REBUILD = "build the index again"
_READ_BYTES = 1 << 24


class ArrayWriter:
    """Streams rows into an .npy file whose length is known only at the end.

    Args:
        path: the file to write.
        row_shape: the shape of one row; () for an array of numbers.
        dtype: how the rows are stored.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.path = path
        self.rows = 0
        self._row_shape = row_shape
        self._dtype = np.dtype(dtype)
        self._digest = hashlib.blake2b(digest_size=16)
        self._file: BinaryIO = path.open("wb")
        self._write_header()
        self._header_bytes = self._file.tell()

    def append(self, rows: NDArray[Any]) -> None:
        """Adds rows (block, *row_shape)."""
        stored = np.ascontiguousarray(rows, dtype=self._dtype)
        self._file.write(stored.data)
        self._digest.update(stored.data)
        self.rows += len(stored)

    def finish(self) -> dict[str, Any]:
        """Puts the length into the file and closes it; gives its entry for the index header."""
        self._file.seek(0)
        self._write_header()
        if self._file.tell() != self._header_bytes:
            # NumPy reserves room for 21 digits of the first axis; one that does not would overwrite data.
            msg = f"{self.path}: the .npy header grew from {self._header_bytes} to {self._file.tell()} bytes"
            raise RuntimeError(msg)
        self._file.close()
        return {
            "size_bytes": self.path.stat().st_size,
            "skipped_bytes": self._header_bytes,
            "blake2b": self._digest.hexdigest(),
        }

    def close(self) -> None:
        """Closes the file where a build was abandoned."""
        self._file.close()

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self.rows, *self._row_shape),
            },
        )


def write_file(path: Path, content: bytes) -> dict[str, Any]:
    """Writes a small file; gives its entry for the index header."""
    path.write_bytes(content)
    return describe_file(path)


def describe_file(path: Path) -> dict[str, Any]:
    """The entry of a finished file for the index header: size and checksum."""
    return {"size_bytes": path.stat().st_size, "skipped_bytes": 0, "blake2b": _checksum(path, 0)}


@contextmanager
def building(directory: Path) -> Iterator[Path]:
    """A directory to fill that takes the place of `directory` when the block ends without an error.

    Raises:
        InputError: something that is not an index stands in the way.
    """
    if directory.is_dir() and not (directory / HEADER).is_file() and any(directory.iterdir()):
        raise InputError(
            "the directory holds something that is not a vector index",
            path=directory,
            expected="a directory that does not exist, is empty, or holds an index to replace",
            remedy="name another directory",
        )
    with replaced_folder(directory) as partial:
        yield partial


def write_header(directory: Path, header: dict[str, Any]) -> None:
    """Writes the header, which makes the directory an index."""
    text = json.dumps({"format": FORMAT, "version": VERSION, **header}, indent=2)
    write_file(directory / HEADER, text.encode())


def read_header(directory: Path) -> dict[str, Any]:
    """The header of an index, after a check that its files are there in full length.

    Raises:
        InputError: not an index, an index of another version, or a file missing or cut.
    """
    path = directory / HEADER
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            "there is no vector index here", path=directory, expected=f"a directory with a {HEADER}"
        ) from error
    except ValueError as error:
        raise InputError(f"the header cannot be read ({error})", path=path, remedy=_REBUILD) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(
            "this is not the header of a vector index", path=path, expected=f'"format": "{FORMAT}"'
        )
    if header.get("version") != VERSION:
        raise InputError(
            f"the index has version {header.get('version')}",
            path=path,
            expected=str(VERSION),
            remedy=_REBUILD,
        )
    try:
        sizes = {name: int(entry["size_bytes"]) for name, entry in header["files"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError("the header does not list the files", path=path, remedy=_REBUILD) from error
    for name, size_bytes in sizes.items():
        _check_size(directory / name, size_bytes)
    return header


def check_content(directory: Path, header: dict[str, Any]) -> None:
    """Reads every file in full and compares it with its checksum; InputError where one differs."""
    for name, entry in header["files"].items():
        if _checksum(directory / name, entry["skipped_bytes"]) != entry["blake2b"]:
            raise InputError(
                "the content has changed since it was built", path=directory / name, remedy=_REBUILD
            )


def map_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Memory-maps an .npy file, copy on write; InputError unless it has this shape and type."""
    try:
        # Copy on write, not read-only: torch warns of arrays that it could be asked to write to.
        array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"the array cannot be read ({error})", path=path, remedy=_REBUILD) from error
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise InputError(
            f"the array is {array.shape} {array.dtype}",
            path=path,
            expected=f"{shape} {np.dtype(dtype)}, as the header says",
            remedy=_REBUILD,
        )
    return array


def _check_size(path: Path, size_bytes: int) -> None:
    found = path.stat().st_size if path.is_file() else None
    if found != size_bytes:
        problem = "the file is missing" if found is None else f"the file has {found} bytes"
        raise InputError(problem, path=path, expected=f"{size_bytes} bytes", remedy=_REBUILD)


def _checksum(path: Path, skipped_bytes: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        file.seek(skipped_bytes)
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
