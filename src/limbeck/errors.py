"""The errors that a user can cause, each with what was expected and how to mend it."""

from __future__ import annotations

from os import PathLike, fspath


class LimbeckError(Exception):
    """Base of every error that Limbeck raises on purpose."""


class InputError(LimbeckError, ValueError):
    """The user's input is wrong: a file, a recipe, an id, a score.

    The message reads `file:line: problem. Expected: ... To mend: ...`; the command line prints it
    and exits with 1.

    Args:
        problem: what is wrong, as a clause without a final full stop.
        path: the file in which it was found.
        line: its line, counted from 1.
        expected: what should have stood there.
        remedy: what the user can do.

    Example:
        >>> print(InputError("the text of passage 'd7' is empty", path="corpus.jsonl", line=7))
        corpus.jsonl:7: the text of passage 'd7' is empty.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | PathLike[str] | None = None,
        line: int | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problem = problem
        self.path = None if path is None else fspath(path)
        self.line = line
        self.expected = expected
        self.remedy = remedy
        place = "" if self.path is None else f"{self.path}{'' if line is None else f':{line}'}: "
        # What other libraries said stands in it: their sentences end with full stops, and fill several lines.
        message = f"{place}{' '.join(problem.splitlines()).removesuffix('.')}."
        if expected:
            message += f" Expected: {expected}."
        if remedy:
            message += f" To mend: {remedy}."
        super().__init__(message)
