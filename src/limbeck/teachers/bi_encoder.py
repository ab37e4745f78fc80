"""A bi-encoder as a teacher: the scaled cosine of two embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limbeck.encoders import encode
from limbeck.teachers.encoder import SCALE, EncoderTeacher

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from limbeck.teachers.base import Pair


class BiEncoderTeacher(EncoderTeacher):
    """Cosine of query and passage embeddings times `scale`.

    Within a call each distinct text is encoded once. Arguments and errors as for `EncoderTeacher`.

    Args:
        symmetric: whether the two texts of a pair are alike in kind, so that neither gets the prompt of a
            query.

    Example:
        >>> BiEncoderTeacher("intfloat/e5-base-v2", scale=100).score([("who barks", "Dogs bark.")])
        array([84.1])
    """

    name = "bi-encoder"

    def __init__(
        self,
        model: SentenceTransformer | str | os.PathLike[str],
        *,
        scale: float = SCALE,
        batch_size: int = 64,
        symmetric: bool = False,
    ) -> None:
        super().__init__(model, scale=scale, batch_size=batch_size)
        self.symmetric = symmetric
        if symmetric:
            self.version += "/symmetric"

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """The scores (pairs,), from -scale to scale."""
        if not pairs:
            return np.zeros(0)
        queries, query_rows = self._embeddings([text for text, _ in pairs], query=not self.symmetric)
        passages, passage_rows = self._embeddings([content for _, content in pairs], query=False)
        cosines = np.einsum("ij,ij->i", queries[query_rows], passages[passage_rows], dtype=np.float64)
        return np.asarray(self.scale * cosines, np.float64)

    def _embeddings(
        self, texts: Sequence[str], *, query: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The embeddings of the distinct texts (distinct, dimensions), and the row of each text (texts,)."""
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        vectors = encode(self.model, list(row_of), self.batch_size, query=query)
        return vectors, np.array([row_of[text] for text in texts], np.int64)
