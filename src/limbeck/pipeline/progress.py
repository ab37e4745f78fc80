"""How a run tells what it is doing; the command line draws it, a library user may ignore it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

#: Tells that so many more units are done.
Advance = Callable[[int], None]


class Progress(Protocol):
    """Receives what a run does."""

    def run(self, number: int, total: int, title: str, *, reused: bool) -> None:
        """One of several runs begins, or is found finished."""
        ...

    def stage(self, number: int, total: int, title: str, *, reused: bool) -> None:
        """A stage begins, or is found finished."""
        ...

    def task(self, title: str, total: int | None) -> AbstractContextManager[Advance]:
        """A countable piece of work within the stage begins."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should read."""
        ...


class Silent:
    """Tells nobody."""

    def run(self, number: int, total: int, title: str, *, reused: bool) -> None:
        """Nothing."""

    def stage(self, number: int, total: int, title: str, *, reused: bool) -> None:
        """Nothing."""

    @contextmanager
    def task(self, title: str, total: int | None) -> Iterator[Advance]:
        """Nothing."""
        yield lambda _count: None

    def note(self, text: str) -> None:
        """Nothing."""
