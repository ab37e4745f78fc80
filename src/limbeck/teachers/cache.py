"""The score cache: the dearest thing in the pipeline is never computed twice.

Design facts:
- A score is kept under a hash of what it depends on: teacher, version, prompt, query text, passage text.
  Ids take no part.
- Features are kept beside scores, under the same key, in half precision and a table of their own.
- One SQLite file in WAL mode, append-only: the first score of a pair stands for good.
- A `put` is one transaction. A kill at any instant loses the put under way and nothing else; several
  processes may read and write at once. (After a power cut the newest puts may be missing; the file is
  sound.)
"""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import struct
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from limbeck.errors import InputError
from limbeck.files import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

BUSY_SECONDS = 60.0
_LOOKUP = 500  # keys a query; SQLite's oldest limit on parameters is 999
_KEY_BYTES = 16


def score_key(name: str, version: str, prompt: str, query: str, passage: str) -> bytes:
    """The key of a score, 16 bytes: BLAKE2b over the five texts, each with its length in front."""
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    for text in (name, version, prompt, query, passage):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(struct.pack("<Q", len(data)))
        digest.update(data)
    return digest.digest()


class ScoreCache:
    """Scores on disk, under their keys.

    Args:
        path: the SQLite file; made when it is missing, with its folder.
        read_only: only read; the file must be there. Another process may be writing.

    Attributes:
        hits: how many of the keys asked for were there.
        misses: how many were not.

    Raises:
        InputError: when the file is no score cache, or is missing and `read_only`.

    Example:
        >>> with ScoreCache("scores.sqlite") as cache:
        ...     cache.put([key], np.array([0.7]))
        ...     cache.get([key, other])
        array([0.7, nan])
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self.path = Path(path)
        self.read_only = read_only
        self.hits = 0
        self.misses = 0
        if read_only and not self.path.is_file():
            raise InputError("there is no score cache", path=path)
        if not read_only:
            make_folder(self.path.parent)
        try:
            self._connection = self._connect()
        except sqlite3.DatabaseError as error:
            raise _not_a_cache(error, self.path) from error

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self.read_only else "rwc"
        uri = f"{self.path.resolve().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        if not self.read_only:
            # Switching to WAL does not wait for other processes by itself.
            _patiently(connection, "PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            _patiently(
                connection,
                "CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, score REAL NOT NULL) WITHOUT ROWID",
            )
            # With rowids: rows of kilobytes do not belong into the nodes of a tree of keys.
            _patiently(
                connection,
                "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, feature BLOB NOT NULL)",
            )
        connection.execute("SELECT key, score FROM scores LIMIT 1").fetchone()
        return connection

    def get(self, keys: Sequence[bytes]) -> NDArray[np.float64]:
        """The scores (keys,); NaN where there is none."""
        found: dict[bytes, float] = dict(self._found("SELECT key, score FROM scores", keys))
        scores = np.array([found.get(key, np.nan) for key in keys], np.float64)
        misses = int(np.isnan(scores).sum())
        self.hits += len(keys) - misses
        self.misses += misses
        return scores

    def features(self, keys: Sequence[bytes]) -> list[NDArray[np.float16] | None]:
        """The features (dimension,) of each key; None where there is none."""
        if (
            self.read_only
            and not self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'features'").fetchone()
        ):
            return [None] * len(keys)  # a file from before there were features
        found = dict(self._found("SELECT key, feature FROM features", keys))
        return [np.frombuffer(found[key], "<f2") if key in found else None for key in keys]

    def _found(self, select: str, keys: Sequence[bytes]) -> Iterator[tuple[bytes, Any]]:
        for start in range(0, len(keys), _LOOKUP):
            part = keys[start : start + _LOOKUP]
            marks = ",".join("?" * len(part))
            with _explained(self.path):
                yield from self._connection.execute(f"{select} WHERE key IN ({marks})", part).fetchall()

    def put(
        self,
        keys: Sequence[bytes],
        scores: NDArray[np.float64],
        features: NDArray[np.floating[Any]] | None = None,
    ) -> None:
        """Keep scores (keys,), all or none of them; keys that are there already keep the score they have.

        Args:
            keys: of the pairs.
            scores: (keys,).
            features: (keys, dimension), kept in half precision, in the same transaction; None keeps none.

        Raises:
            InputError: for a score or a feature that is NaN or infinite (a feature also when half precision
                cannot hold it), or a cache opened read-only or damaged.
            OSError: the disk is full.
        """
        if self.read_only:
            raise InputError("the score cache was opened for reading only", path=self.path)
        if not np.isfinite(scores).all():
            raise InputError("a score to be cached is NaN or infinite", path=self.path)
        halves = np.zeros((0, 0), "<f2") if features is None else _halves(features, self.path)
        with _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(
                    "INSERT OR IGNORE INTO scores VALUES (?, ?)", zip(keys, scores.tolist(), strict=True)
                )
                self._connection.executemany(
                    "INSERT OR IGNORE INTO features VALUES (?, ?)",
                    ((key, half.tobytes()) for key, half in zip(keys, halves, strict=features is not None)),
                )
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def __len__(self) -> int:
        """How many scores there are."""
        return int(self._connection.execute("SELECT count(*) FROM scores").fetchone()[0])

    @property
    def hit_share(self) -> float:
        """The share of keys asked for that were there, 0 to 1; 0 when nothing was asked."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0

    def close(self) -> None:
        """Close the file; a cache that is not closed loses nothing."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _halves(features: NDArray[np.floating[Any]], path: Path) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):  # what overflows is refused by name
        halves = np.asarray(features).astype("<f2")
    if not np.isfinite(halves).all():
        raise InputError(
            "a feature to be cached is NaN, infinite or too large for half precision",
            path=path,
            expected=f"numbers of at most {np.finfo(np.float16).max:,.0f}",
            remedy="look for broken weights of the teacher, or set loss.feature to 0",
        )
    return halves


def _not_a_cache(error: sqlite3.DatabaseError, path: Path) -> InputError:
    if _is_held(error):
        return _held(path)
    return InputError(
        f"this cannot be read as a score cache ({error})",
        path=path,
        expected="a file that limbeck made",
        remedy="move the file away",
    )


def _is_held(error: sqlite3.DatabaseError) -> bool:
    # The low byte is the code, those above it say more.
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _held(path: Path) -> InputError:
    return InputError(
        f"another process has held the score cache for {BUSY_SECONDS:g} seconds",
        path=path,
        remedy="end it, or wait for it, and start again: nothing is lost",
    )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Says of a damaged file and of a full disk what they are; other errors pass."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if _is_held(error):
            raise _held(path) from error
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise _not_a_cache(error, path) from error
        raise


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Run a statement that other processes may hold up, for as long as BUSY_SECONDS."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
