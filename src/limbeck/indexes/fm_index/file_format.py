"""One file of named arrays: written whole or not at all, memory-mapped, and never believed unchecked.

Design facts:
- Layout: magic (8 bytes), version and header length (uint32 each), checksum of the header (uint64), the
  header as JSON (sections with name, dtype, entries, offset, checksum; the file's size), then the arrays,
  each at a multiple of 64 bytes, little-endian.
- Every byte is covered by a checksum. A file is read through once, when this machine first opens it (0.1 to
  0.2 s for a GB that is in memory, else as long as the disk takes); that it was sound is noted in a small
  file beside it, with the file's size, inode and time. While those stay the same, opening checks the header
  and the size alone, in milliseconds. `verify=True` reads all of it again. The writer notes its own file,
  since it computed the checksums. A disk that changes bytes without changing times is found by `verify`.
- The checksum is FNV-1a over 64-bit words in eight lanes: each step is a bijection of a lane, so a change of
  any one word is always seen; and it runs at the speed of memory, which a byte-wise one does not.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from limbeck.errors import InputError
from limbeck.files import atomic_path
from limbeck.indexes.fm_index.kernels.checksum import mix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

MAGIC = b"LIMBFMI\n"
VERSION = 1
_PREFIX = struct.Struct("<8sIIQ")
_ALIGN = 64
_TICK_NS = 20_000_000
_HEADER_BYTES = 4096
_REBUILD = "build the index again, or copy the file again"
_DTYPES = ("uint16", "uint32", "int64")


class Checksum:
    """A running checksum of bytes that come in pieces; the pieces' borders do not matter."""

    def __init__(self) -> None:
        self._lanes = np.arange(1, 9, dtype=np.uint64)
        self._rest = b""
        self._bytes = 0

    def update(self, data: bytes | memoryview) -> None:
        """Takes in more bytes."""
        view = memoryview(data).cast("B")
        self._bytes += len(view)
        if self._rest:
            missing = 64 - len(self._rest)
            self._rest += bytes(view[:missing])
            view = view[missing:]
            if len(self._rest) < 64:
                return
            mix(np.frombuffer(self._rest, np.uint64), self._lanes)
            self._rest = b""
        whole = len(view) & ~63
        if whole:
            mix(np.frombuffer(view[:whole], np.uint64), self._lanes)
        self._rest = bytes(view[whole:])

    def value(self) -> int:
        """The checksum of all bytes so far."""
        lanes = self._lanes.copy()
        if self._rest:
            mix(np.frombuffer(self._rest.ljust(64, b"\0"), np.uint64), lanes)
        result = self._bytes
        for lane in lanes.tolist():
            result = ((result ^ lane) * 0x100000001B3 + (result >> 29)) % 2**64
        return result


def checksum(data: bytes | memoryview) -> int:
    """The checksum of some bytes, 64 bits."""
    total = Checksum()
    total.update(data)
    return total.value()


Section = tuple[str, np.dtype[Any], "Iterable[NDArray[Any]]"]


def write_sections(path: Path, sections: Iterable[Section], facts: dict[str, Any]) -> None:
    """Writes a file of arrays; it appears under its name when it is complete and on the disk.

    Args:
        path: the file.
        sections: name, dtype and the pieces of each array, (entries,) each.
        facts: small values for the header.

    Raises:
        InputError: a folder stands there.
    """
    with atomic_path(path) as temporary, temporary.open("w+b") as file:
        file.write(bytes(_HEADER_BYTES))
        table = [_write_section(file, *section) for section in sections]
        header = {"facts": facts, "sections": table, "file_bytes": file.tell()}
        text = json.dumps(header, separators=(",", ":")).encode()
        if len(text) > _HEADER_BYTES - _PREFIX.size:
            msg = f"the header takes {len(text)} bytes"
            raise RuntimeError(msg)
        padded = text.ljust(_HEADER_BYTES - _PREFIX.size)
        file.seek(0)
        file.write(_PREFIX.pack(MAGIC, VERSION, len(padded), checksum(padded)) + padded)
        status = temporary.stat()
    _note(path, status)


def _write_section(
    file: BinaryIO, name: str, dtype: np.dtype[Any], pieces: Iterable[NDArray[Any]]
) -> dict[str, Any]:
    offset, total, entries = file.tell(), Checksum(), 0
    for piece in pieces:
        stored = np.ascontiguousarray(piece, dtype=dtype)
        if len(stored):
            view = stored.data.cast("B")
            file.write(view)
            total.update(view)
        entries += len(stored)
    # The padding is checked with the section before it, so that every byte of the file is.
    padding = bytes(-file.tell() % _ALIGN)
    file.write(padding)
    total.update(padding)
    return {
        "name": name,
        "dtype": dtype.name,
        "entries": entries,
        "offset": offset,
        "bytes": file.tell() - offset,
        "checksum": total.value(),
    }


class SectionFile:
    """A file of arrays, open and memory-mapped.

    Args:
        path: the file.
        verify: read all of it and compare checksums, even when it is known to be sound.

    Raises:
        InputError: missing, truncated, damaged, foreign, or of another version.
    """

    def __init__(self, path: Path, *, verify: bool = False) -> None:
        self.path = path
        try:
            file = path.open("rb")
        except IsADirectoryError:
            raise InputError("this is a folder", path=path, expected="a part of an index") from None
        except OSError as error:
            raise InputError(f"the file cannot be opened ({error.strerror})", path=path) from None
        with file:
            self.size_bytes = os.fstat(file.fileno()).st_size
            header = self._header(file)
            self.facts: dict[str, Any] = header["facts"]
            self._sections: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in header["sections"]}
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            status = os.fstat(file.fileno())
        if verify or not _noted(path, status):
            self.verify()
            _note(path, status)

    def _header(self, file: BinaryIO) -> dict[str, Any]:
        raw = file.read(_PREFIX.size)
        if len(raw) < _PREFIX.size or not raw.startswith(MAGIC):
            raise InputError(
                "this is not a part of an identifier index",
                path=self.path,
                expected=f"a file that begins with {MAGIC!r}",
                remedy=_REBUILD,
            )
        _, version, length, expected = _PREFIX.unpack(raw)
        if version != VERSION:
            raise InputError(
                f"the part has format version {version}",
                path=self.path,
                expected=f"version {VERSION}",
                remedy="build the index again with this version of limbeck",
            )
        text = file.read(_HEADER_BYTES - _PREFIX.size)
        if length != len(text) or checksum(text) != expected:
            raise self.damaged("its header does not match its checksum")
        header: dict[str, Any] = json.loads(text)
        if header["file_bytes"] != self.size_bytes:
            raise self.damaged(f"it has {self.size_bytes} bytes in place of {header['file_bytes']}")
        return header

    def damaged(self, how: str) -> InputError:
        """The error for content that is not what was written."""
        return InputError(
            f"the part is damaged: {how}", path=self.path, expected="the file as written", remedy=_REBUILD
        )

    def array(self, name: str) -> NDArray[Any]:
        """A section as a read-only array (entries,) over the mapped file."""
        entry = self._sections[name]
        if entry["dtype"] not in _DTYPES or not entry["entries"]:
            return np.empty(0, entry["dtype"] if entry["dtype"] in _DTYPES else "uint32")
        return np.frombuffer(self._map, entry["dtype"], entry["entries"], entry["offset"])

    def verify(self) -> None:
        """Reads every byte and compares the checksums.

        Raises:
            InputError: a section is not what was written.
        """
        view = memoryview(self._map)
        for name, entry in self._sections.items():
            piece = view[entry["offset"] : entry["offset"] + entry["bytes"]]
            if checksum(piece) != entry["checksum"]:
                raise self.damaged(f"its section {name!r} does not match its checksum")


def note_path(path: Path) -> Path:
    """Where it is noted that a file was found sound."""
    return path.with_name(f".{path.name}.sound")


def _state(status: os.stat_result) -> str:
    return f"{VERSION} {status.st_size} {status.st_dev} {status.st_ino} {status.st_mtime_ns}"


def _noted(path: Path, status: os.stat_result) -> bool:
    try:
        note = note_path(path)
        # Clocks of file systems tick slowly: a change right after the note could carry the same time.
        settled = note.stat().st_mtime_ns - status.st_mtime_ns > _TICK_NS
        return settled and note.read_text(encoding="ascii") == _state(status)
    except (OSError, ValueError):
        return False


def _note(path: Path, status: os.stat_result) -> None:
    with contextlib.suppress(OSError), atomic_path(note_path(path)) as note:
        # A folder that cannot be written to: the file is read through at every opening.
        note.write_text(_state(status), encoding="ascii")
