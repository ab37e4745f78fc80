"""Locks between processes and threads, by `flock` on a file; the system lets go when a process ends."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from limbeck.errors import InputError

_PAUSE_S = 0.01


@contextmanager
def locked(path: Path, *, wait_s: float) -> Iterator[None]:
    """Hold the lock; threads of one process keep each other out as well.

    Args:
        path: the lock file, made when it is not there, never removed.
        wait_s: how long to wait for whoever holds it.

    Raises:
        InputError: another held it all that time, or the folder cannot be written to.
    """
    with _opened(path) as file:
        until = time.monotonic() + wait_s
        while not _take(file.fileno()):
            if time.monotonic() >= until:
                raise InputError(
                    f"another process or thread has been changing this index for {wait_s:g} s",
                    path=path,
                    expected="one writer at a time",
                    remedy="wait for it, or wait longer with wait_s",
                )
            time.sleep(_PAUSE_S)
        try:
            yield
        finally:
            _give(file.fileno())


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock if nobody does; gives whether it is held."""
    with _opened(path) as file:
        taken = _take(file.fileno())
        try:
            yield taken
        finally:
            if taken:
                _give(file.fileno())


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("w")
    except OSError as error:
        raise InputError(
            f"the index cannot be changed ({error.strerror})",
            path=path,
            expected="a folder that this user may write to",
        ) from None


def _give(descriptor: int) -> None:
    # Closing would not do if a child was forked meanwhile: it has the file open too.
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
