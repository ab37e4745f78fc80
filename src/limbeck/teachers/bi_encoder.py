"""A bi-encoder as a teacher: the scaled cosine of two embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limbeck.encoders import encode, load_encoder, weights_digest

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from limbeck.teachers.base import Pair

SCALE = 20.0


class BiEncoderTeacher:
    """Cosine of query and passage embeddings times `scale`.

    Within a call each distinct text is encoded once. In bfloat16 (machines that compute it in hardware) a
    cosine moves by less than 0.01 with what else is in the batch; the cache keeps the first.

    Args:
        model: a SentenceTransformer, or the folder or hub id of one.
        scale: what the cosine is multiplied with; 20 is the temperature 0.05 of contrastive training.
        batch_size: texts a forward pass.

    Raises:
        InputError: when the model cannot be loaded.

    Example:
        >>> BiEncoderTeacher("intfloat/e5-base-v2", scale=100).score([("who barks", "Dogs bark.")])
        array([84.1])
    """

    name = "bi-encoder"
    prompt = ""

    def __init__(
        self,
        model: SentenceTransformer | str | os.PathLike[str],
        *,
        scale: float = SCALE,
        batch_size: int = 64,
    ) -> None:
        self.model = load_encoder(model)
        self.scale = scale
        self.batch_size = batch_size
        self.version = f"{weights_digest(self.model)}/scale={scale:g}/max_length={self.model.max_seq_length}"

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """The scores (pairs,), from -scale to scale."""
        if not pairs:
            return np.zeros(0)
        queries, query_rows = self._embeddings([text for text, _ in pairs], query=True)
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
