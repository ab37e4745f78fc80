"""Any iterable in lists of bounded length."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


def blocks_of(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter (`itertools.batched`, which Python 3.11 lacks)."""
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block
