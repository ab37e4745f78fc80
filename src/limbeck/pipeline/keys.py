"""Keys: short names for what the result of a stage depends on.

A file or folder counts with its content, not with its place or its age. So a run goes on where its data were
copied, moved or checked out again, and does not where a byte of them was changed.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel

from limbeck.recipes.base import LocalModel


def key_of(*parts: object) -> str:
    """A key, the same in every process and on every machine; 32 hexadecimal digits.

    Args:
        parts: sections of a recipe, or what JSON can write, or paths; these in one another.

    Example:
        >>> key_of("mine", {"depth": 16}) == key_of("mine", {"depth": 16})
        True
    """
    text = json.dumps([_plain(part) for part in parts], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(value: object) -> object:
    """A value with the content of files and folders in the place of their paths."""
    if isinstance(value, BaseModel):
        return _plain(value.model_dump())
    if isinstance(value, Path | LocalModel):
        return _content(Path(value))
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _content(path: Path) -> object:
    if path.is_dir():
        files = (file for file in sorted(path.rglob("*")) if file.is_file())
        return {file.relative_to(path).as_posix(): _content(file) for file in files}
    status = path.stat()
    return _hash(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _hash(path: Path, size: int, changed: int) -> str:  # noqa: ARG001 - they tell the cache of a change
    """Of a file as it was at that size and time: many stages ask for the same files."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
