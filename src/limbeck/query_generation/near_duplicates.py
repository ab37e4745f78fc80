"""Which texts are nearly the same."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from limbeck.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Characters of a run whose sets are compared.
GRAM = 3


def grams(text: str) -> frozenset[str]:
    """The runs of three characters of a plain text, with a space at both ends."""
    padded = f" {text} "
    return frozenset(padded[at : at + GRAM] for at in range(max(1, len(padded) - GRAM + 1)))


def similarity(one: str, other: str) -> float:
    """The Jaccard similarity of the runs of three characters in two plain texts, 0 to 1.

    Example:
        >>> similarity("who barks", "who barks"), similarity("who", "cat")
        (1.0, 0.0)
    """
    left, right = grams(one), grams(other)
    return len(left & right) / len(left | right)


def similar_pairs(texts: Sequence[str], threshold: float) -> Iterator[tuple[int, int]]:
    """All pairs of plain texts whose similarity is `threshold` at least, without comparing all with all.

    Two sets that are so similar share one of their rarest members, if as many of them are looked at as the
    threshold asks for (prefix filter: Bayardo, Ma and Srikant, "Scaling Up All Pairs Similarity Search", WWW
    2007).

    Args:
        texts: different plain texts; equal ones are pairs too, but as many as their number squared.
        threshold: more than 0, and 1 at most.

    Yields:
        Places (i, j) in `texts`, i < j, each pair once, in no particular order.

    Raises:
        InputError: the threshold is out of range.

    Example:
        >>> list(similar_pairs(["where do cats sleep", "what barks", "where do cats sleep now"], 0.7))
        [(0, 2)]
    """
    if not 0 < threshold <= 1:
        raise InputError(f"the threshold is {threshold}", expected="more than 0, and 1 at most")
    sets = [grams(text) for text in texts]
    frequency = Counter(gram for members in sets for gram in members)
    postings: dict[str, list[int]] = defaultdict(list)
    # From the smallest: a set meets in the postings only those that are no larger than itself.
    for at in sorted(range(len(sets)), key=lambda place: len(sets[place])):
        members = sets[at]
        least = math.ceil(threshold * len(members) - 1e-9)
        rarest = sorted(members, key=lambda gram: (frequency[gram], gram))[: len(members) - least + 1]
        for other in {place for gram in rarest for place in postings[gram]}:
            common = len(members & sets[other])
            if common >= threshold * (len(members) + len(sets[other]) - common) - 1e-9:
                yield min(at, other), max(at, other)
        for gram in rarest:
            postings[gram].append(at)
