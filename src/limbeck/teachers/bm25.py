"""BM25 as a teacher, on a scale that queries share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from limbeck.mining import BM25
    from limbeck.teachers.base import Pair


class BM25Teacher:
    """The BM25 score as a share of the most that the query could attain, from 0 to 1.

    `BM25(q, p) / sum over tokens t of q of idf(t)`: a token adds `idf(t) · tf / (tf + ...)` and the
    fraction stays below 1, so the sum of the idf bounds the score. Without the division long queries have
    larger scores than short ones, and one weight in an ensemble could not fit all. A query of which no word
    occurs in the corpus gives 0.

    Passages are scored by their text with the statistics of the index, whether they are in it or not.

    Args:
        bm25: an index of the corpus.

    Example:
        >>> BM25Teacher(BM25.build(passages)).score([("who barks", "Dogs bark.")])
        array([0.61])
    """

    name = "bm25"
    prompt = ""

    def __init__(self, bm25: BM25) -> None:
        self.bm25 = bm25
        self.version = bm25.fingerprint

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """The scores (pairs,), 0 to 1."""
        attainable = {text: self.bm25.attainable(text) for text in dict.fromkeys(text for text, _ in pairs)}
        most = np.array([attainable[text] for text, _ in pairs], np.float64)
        return self.bm25.score_texts(pairs) / np.where(most > 0, most, 1.0)
