"""Which identifiers count in a passage, and how much: the rule of the index's aggregation for one passage.

The index applies the rule to its best candidates only. Training needs it for the passages of its lists, some
of which the student has not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counted:
    """An identifier that counts in a passage.

    Attributes:
        entry: its place among the identifiers that were given.
        position: where in the passage it begins, in tokens.
        factor: what its weight is multiplied by, `1 - beta + beta · share of its tokens that are new`.
    """

    entry: int
    position: int
    factor: float


class Counter:
    """The identifiers of a query, to be looked for in passages.

    Args:
        identifiers: (identifiers,) token sequences, the one with the highest weight first. One that comes
            twice counts at its first place.
        repetition: beta, the part of a weight that tokens covered before take away.

    Example:
        >>> counter = Counter([(5, 6), (6, 7), (5,)], repetition=0.8)
        >>> [(one.entry, one.position, round(one.factor, 2)) for one in counter.count([5, 6, 7, 5])]
        [(0, 0, 1.0), (2, 3, 0.2)]
    """

    def __init__(self, identifiers: Sequence[tuple[int, ...]], repetition: float) -> None:
        self._identifiers = identifiers
        self._repetition = repetition
        self._places: dict[tuple[int, ...], int] = {}
        for place, tokens in enumerate(identifiers):
            self._places.setdefault(tokens, place)
        self._lengths = sorted({len(tokens) for tokens in identifiers})

    def count(self, passage: Sequence[int]) -> list[Counted]:
        """The identifiers that count in a passage (tokens,), those with the highest weight first.

        The first occurrence of an identifier that overlaps nothing counted before it counts; an identifier
        without one is passed over.
        """
        found = self._find(tuple(passage))
        covered = [False] * len(passage)
        seen: set[int] = set()
        counted = []
        for entry in sorted(found):
            tokens = self._identifiers[entry]
            free = (at for at in found[entry] if not any(covered[at : at + len(tokens)]))
            at = next(free, None)
            if at is not None:
                covered[at : at + len(tokens)] = [True] * len(tokens)
                new = sum(token not in seen for token in tokens) / len(tokens)
                seen.update(tokens)
                counted.append(Counted(entry, at, 1.0 - self._repetition + self._repetition * new))
        return counted

    def _find(self, passage: tuple[int, ...]) -> dict[int, list[int]]:
        """The positions of each identifier that occurs, ascending."""
        found: dict[int, list[int]] = {}
        for at in range(len(passage)):
            for length in self._lengths:
                entry = self._places.get(passage[at : at + length])
                if entry is not None and at + length <= len(passage):
                    found.setdefault(entry, []).append(at)
        return found
