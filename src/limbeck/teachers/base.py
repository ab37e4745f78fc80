"""What a teacher is: something that says how well passages answer queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from scipy.special import expit

from limbeck.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

Pair = tuple[str, str]
"""The text of a query and the content (title and text) of a passage."""


@runtime_checkable
class Teacher(Protocol):
    """Anything that scores (query text, passage content) pairs.

    A pair's score depends on the pair alone, not on what else is asked with it: that is what lets scores be
    cached. Scores are finite, higher is better; the scale is the teacher's own.

    Example:
        >>> class Overlap:
        ...     name, version, prompt = "overlap", "1", ""
        ...     def score(self, pairs):
        ...         return np.array([len(set(q.split()) & set(p.split())) for q, p in pairs], float)
    """

    @property
    def name(self) -> str:
        """What kind of teacher it is, for people."""
        ...

    @property
    def version(self) -> str:
        """What identifies its scores besides name and prompt: weights, settings."""
        ...

    @property
    def prompt(self) -> str:
        """The instruction that it reads with each pair, or ""."""
        ...

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """The scores (pairs,), in the order asked."""
        ...


@runtime_checkable
class CompositeTeacher(Teacher, Protocol):
    """A teacher whose score is made of other teachers' scores, which are cached one by one."""

    @property
    def members(self) -> Sequence[Teacher]:
        """The teachers it asks."""
        ...

    def combine(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The scores (pairs,) out of those of the members (members, pairs), each pair for itself."""
        ...


@runtime_checkable
class FeatureTeacher(Teacher, Protocol):
    """A teacher that can also tell what its score was read from: the feature that a student may imitate.

    It is the last-layer state at the last position for an LLM, the pooled state for a cross-encoder; like the
    score it depends on the pair alone.

    Source: D2LLM, arXiv 2406.17262, the feature imitation loss.
    """

    def score_with_features(self, pairs: Sequence[Pair]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """The scores (pairs,) and the features (pairs, dimension), in the order asked."""
        ...


@runtime_checkable
class StreamingTeacher(Teacher, Protocol):
    """A teacher whose scores come one by one and are dear: each is kept as soon as it is there."""

    def scores_as_they_come(self, pairs: Sequence[Pair]) -> Generator[tuple[int, float]]:
        """Places among the pairs, each once, and their scores, in any order."""
        ...


@runtime_checkable
class PrefixTeacher(Teacher, Protocol):
    """A teacher that reads the query before the passage, and can do so once for all its passages."""

    @property
    def shares_prefix(self) -> bool:
        """Whether it does."""
        ...


def probabilities(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits as probabilities, by the sigmoid; shape as given."""
    return np.asarray(expit(scores), np.float64)


def check_scores(teacher: Teacher, pairs: Sequence[Pair], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores, if there is a finite one for each pair.

    Raises:
        InputError: otherwise; it names the teacher and the pair.
    """
    scores = np.asarray(scores, np.float64)
    if scores.shape != (len(pairs),):
        raise InputError(
            f"the teacher '{teacher.name}' gave scores of shape {scores.shape} for {len(pairs)} pairs",
            expected="one score a pair",
        )
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        query, passage = pairs[bad[0]]
        raise InputError(
            f"the teacher '{teacher.name}' gave the score {scores[bad[0]]} to the query '{shorten(query)}' "
            f"and the passage '{shorten(passage)}'",
            expected="a finite number",
            remedy="look for broken weights or an overflow of half precision",
        )
    return scores


def shorten(text: str, length: int = 80) -> str:
    """The start of a text, for messages."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
