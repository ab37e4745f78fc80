"""Questions as texts: their words, and which of them are nearly the same."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from limbeck.errors import InputError
from limbeck.letters import COMBINING_MARKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Characters of a run whose sets are compared.
GRAM = 3
#: A Chinese character or a Japanese or Thai letter stands for a word: no space tells where one ends.
_WORD = re.compile(
    r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
    rf"|[^\W_](?:[^\W_]|[{COMBINING_MARKS}])*"
)


def words(text: str) -> list[str]:
    """The words of a text without case and punctuation; where no spaces are written, its characters.

    Example:
        >>> words("Who's there?"), words("猫在哪里？")
        (['who', 's', 'there'], ['猫', '在', '哪', '里'])
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def count_words(text: str) -> int:
    """How many words a text has; where no spaces are written, how many characters."""
    return len(words(text))


def plain(text: str) -> str:
    """A text as it is compared with others: its words, with single spaces."""
    return " ".join(words(text))


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
