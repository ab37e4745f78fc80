"""Files: written whole or not at all, and read line by line with errors that name the line.

Design facts:
- What is being written stands under a temporary name beside its target, is flushed to the disk and then
  renamed; a reader never sees half a file. An error removes the temporary; one left by a killed process is
  removed by the next writer of the same target.
- Text is UTF-8, plain or gzip (told by the content, not by the name); a byte order mark and CRLF line ends
  are accepted.
"""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import zlib
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Generic, Protocol, TypeVar, runtime_checkable

from limbeck.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = "\ufeff"
_PARTIAL, _REPLACED = ".partial", ".replaced"
_serial = count()


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; on a clean exit it becomes `path`, on an error it is removed.

    The file is fsynced before the rename and the folder after it. Missing parent folders are made.

    Raises:
        InputError: when `path` is a folder, or its parent is a file.

    Example:
        >>> with atomic_path("out/metrics.json") as temporary:
        ...     temporary.write_text("{}")
    """
    target = Path(path)
    if target.is_dir():
        raise InputError("there is a folder here", path=target, expected="the path of a file to write")
    make_folder(target.parent)
    temporary = _temporary(target)
    try:
        yield temporary
        _sync(temporary, os.O_RDWR)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


@contextmanager
def atomic_folder(folder: str | os.PathLike[str], *, stale: Iterable[str] = ()) -> Iterator[Path]:
    """Give a temporary folder; on a clean exit its files move to `folder`, on an error nothing does.

    When `folder` does not exist yet, one rename makes it appear whole. When it exists, each file is renamed
    into it.

    Args:
        folder: the target.
        stale: glob patterns of what an earlier write may have left in the target; files that match one and
            are not written again are removed, so that two writes never mix.

    Raises:
        InputError: when `folder` is a file.
    """
    target = Path(folder)
    with _staged(target) as staging:
        yield staging
        files = _sync_all(staging)
        if target.is_dir():
            _move_into(target, staging, files, stale)
        else:
            staging.replace(target)


@contextmanager
def replaced_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder; on a clean exit it takes the place of `folder`, on an error nothing changes.

    What stood at `folder` is renamed away and deleted, all of it: a reader finds the files of one write.
    A process that is killed between the two renames leaves nothing at `folder`; the next writer puts back
    what stood there before it starts.

    Raises:
        InputError: when `folder` is a file.

    Example:
        >>> with replaced_folder("out/index") as temporary:
        ...     np.save(temporary / "vectors.npy", vectors)
    """
    target = Path(folder)
    with _staged(target) as staging:
        for old in _left_behind(target, _REPLACED):
            _settle(target, old)
        yield staging
        _sync_all(staging)
        old = staging.with_suffix(_REPLACED)
        try:
            if target.is_dir():
                target.rename(old)
            staging.rename(target)
            _sync_folder(target.parent)
        finally:
            _settle(target, old)


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A temporary folder beside the target, removed on an error; whoever asks for it moves it."""
    if target.exists() and not target.is_dir():
        raise InputError("this is a file", path=target, expected="a folder, or a path where one can be made")
    make_folder(target.parent)
    staging = _temporary(target)
    staging.mkdir()
    try:
        yield staging
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _sync_folder(target.parent)


def _sync_all(folder: Path) -> list[Path]:
    """Flush a folder with all that is in it to the disk; its files, at any depth."""
    files = []
    for path in folder.rglob("*"):
        if path.is_file():
            _sync(path, os.O_RDWR)
            files.append(path)
        elif path.is_dir():
            _sync_folder(path)
    _sync_folder(folder)
    return files


def _move_into(target: Path, staging: Path, files: list[Path], stale: Iterable[str]) -> None:
    for pattern in stale:
        for old in target.glob(pattern):
            if not (staging / old.relative_to(target)).exists():
                old.unlink()
    for file in files:
        final = target / file.relative_to(staging)
        final.parent.mkdir(parents=True, exist_ok=True)
        file.replace(final)
    shutil.rmtree(staging)
    _sync_folder(target)


def _settle(target: Path, old: Path) -> None:
    """Delete what was renamed away from the target, or put it back where nothing has taken its place."""
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif old.exists():
        old.rename(target)


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents; an InputError when a file stands in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError("a file stands where a folder is needed", path=folder, expected="a folder") from None


def _temporary(target: Path) -> Path:
    """A name that no other writer uses, after removing what writers that are dead by now left behind."""
    for left in _left_behind(target, _PARTIAL):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    return target.with_name(f".{target.name}.{socket.gethostname()}-{os.getpid()}-{next(_serial)}{_PARTIAL}")


def _left_behind(target: Path, suffix: str) -> Iterator[Path]:
    """What writers of the target on this host left that are dead by now."""
    host = socket.gethostname()
    for left in target.parent.glob(f".{_escape(target.name)}.{_escape(host)}-*{suffix}"):
        writer = left.name.removesuffix(suffix).rpartition(f"{host}-")[2].partition("-")[0]
        if writer.isdigit() and not _alive(int(writer)):
            yield left


def _escape(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _alive(process: int) -> bool:
    if os.name != "posix":  # elsewhere, asking would signal the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # only there can a folder be opened
        _sync(folder, os.O_RDONLY)


def require_file(path: str | os.PathLike[str], *, expected: str = "a file") -> Path:
    """The path, when a file stands there; else an InputError that says what does."""
    path = Path(path)
    if path.is_dir():
        raise InputError("this is a folder", path=path, expected=expected)
    if not path.exists():
        raise InputError("there is no such file", path=path, expected=expected, remedy="check the path")
    return path


def require_folder(path: str | os.PathLike[str], *, expected: str = "a folder") -> Path:
    """The path, when a folder stands there; else an InputError that says what does."""
    path = Path(path)
    if not path.exists():
        raise InputError("there is no such folder", path=path, expected=expected, remedy="check the path")
    if not path.is_dir():
        raise InputError("this is a file", path=path, expected=expected)
    return path


def find_file(folder: Path, name: str) -> Path | None:
    """`folder/name` or `folder/name.gz`, whichever is there, the plain one first; None when neither is."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def open_text(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Read a UTF-8 text file, plain or gzip, as (line number from 1, line without its end).

    Raises:
        InputError: for a missing file, a folder, an empty file, bytes that are not UTF-8 (with their line),
            and a gzip file that is truncated or damaged (with the last line that could be read).

    Example:
        >>> for number, line in open_text("corpus.jsonl.gz"):
        ...     print(number, line)
    """
    path = require_file(path)
    number = 0
    try:
        with _open_bytes(path) as stream:
            for number, raw in enumerate(stream, start=1):
                try:
                    line = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise _not_utf8(error, path, number) from None
                yield number, (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).rstrip("\r\n")
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InputError(
            f"the gzip file is truncated or damaged after line {number}",
            path=path,
            expected="a complete gzip file",
            remedy="copy or download it again",
        ) from None
    if number == 0:
        raise InputError("the file is empty", path=path, expected="at least one line")


def _open_bytes(path: Path) -> BinaryIO | gzip.GzipFile:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"the file cannot be opened ({error.strerror})", path=path) from None
    zipped = stream.peek(2)[:2] == GZIP_MAGIC
    if path.suffix == ".gz" and not zipped and stream.peek(1):
        stream.close()
        raise InputError(
            "the name ends in .gz, but this is not a gzip file", path=path, expected="gzip content"
        )
    if not zipped:
        return stream
    stream.close()
    return gzip.open(path, "rb")


def _not_utf8(error: UnicodeDecodeError, path: Path, number: int) -> InputError:
    return InputError(
        f"byte {error.start + 1} of the line (0x{error.object[error.start]:02x}) is not UTF-8",
        path=path,
        line=number,
        expected="UTF-8 text",
        remedy="convert the file, for example with `iconv -t UTF-8`",
    )


@contextmanager
def write_text(path: str | os.PathLike[str]) -> Iterator[IO[str]]:
    """Open a UTF-8 text file for writing, gzip when its name ends in .gz; it appears whole or not at all."""
    target = Path(path)
    with atomic_path(target) as temporary:
        if target.suffix == ".gz":
            with gzip.open(temporary, "wt", encoding="utf-8", newline="\n") as stream:
                yield stream
        else:
            with temporary.open("w", encoding="utf-8", newline="\n") as stream:
                yield stream


@runtime_checkable
class Located(Protocol[T_co]):
    """An iterable of records that can say in which file and line its n-th record stands."""

    def __iter__(self) -> Iterator[T_co]: ...

    def place(self, record: int) -> tuple[Path, int]:
        """The file and the line (from 1) of a record (from 0)."""
        ...


class Records(Generic[T]):
    """The records of a text file, one a line, parsed as they are read; blank lines are passed over.

    Args:
        path: a UTF-8 text file, plain or gzip.
        parse: makes a record of a line; its InputErrors are given the file and the line.
        skip: how many filled lines at the start are a header.

    Raises:
        InputError: while iterating, as `open_text` does, and for a file that has no record.

    Example:
        >>> numbers = Records("numbers.txt", int)
        >>> list(numbers)  # may be iterated again; keeps nothing in memory
    """

    def __init__(self, path: str | os.PathLike[str], parse: Callable[[str], T], *, skip: int = 0) -> None:
        self.path = Path(path)
        self._parse = parse
        self._skip = skip

    def __iter__(self) -> Iterator[T]:
        return (record for _, record in self.numbered())

    def numbered(self) -> Iterator[tuple[int, T]]:
        """The records with the numbers of their lines."""
        header = self._skip
        found = False
        for number, line in open_text(self.path):
            if not line or line.isspace():
                continue
            if header:
                header -= 1
                continue
            found = True
            try:
                record = self._parse(line)
            except InputError as error:
                raise located(error, self.path, number) from None
            yield number, record
        if not found:
            problem = "the file has nothing but a header" if self._skip else "the file has only blank lines"
            raise InputError(problem, path=self.path, expected="at least one record")

    def place(self, record: int) -> tuple[Path, int]:
        """The file and the line of a record, found by reading again: only an error pays for it."""
        filled = (number for number, line in open_text(self.path) if line.strip())
        return self.path, next(islice(filled, self._skip + record, None))


def first_line(path: str | os.PathLike[str]) -> str:
    """The first line of a text file that is not blank: it tells the format."""
    for _, line in open_text(path):
        if line.strip():
            return line
    raise InputError("the file has only blank lines", path=path, expected="at least one record")


def located(error: InputError, path: Path, line: int) -> InputError:
    """The same error with the file and line in which it arose; one that has a place keeps it."""
    if error.path is not None:
        return error
    return InputError(error.problem, path=path, line=line, expected=error.expected, remedy=error.remedy)
