"""Compiling the kernels, once for each state of their source.

Numba keeps compiled code beside a function's file and discards it when that file changes. It does not look at
the functions of other files that are compiled into it, nor at their constants, so a release that changed
`layout.py` alone would go on with the old numbers. Here the name under which code is kept carries a digest of
all files in this folder: whatever a kernel is made of, a change of it makes another name.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")


def digest_of(folder: Path) -> str:
    """Of the Python files in a folder, their names and their content; 12 hexadecimal digits."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        content = path.read_bytes()
        total.update(f"{path.name} {len(content)} ".encode() + content)
    return total.hexdigest()[:12]


_DIGEST = digest_of(Path(__file__).parent)


def compiled(function: F) -> F:
    """Compile a function at its first call, without the interpreter's lock, and keep it on the disk."""
    function.__qualname__ = f"{function.__qualname__}-{_DIGEST}"  # numba names its files after it
    return cast("F", njit(nogil=True, cache=True)(function))
