"""Scoring pairs with a dense student: each text is encoded once, then pairs of vectors are scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from limbeck.students.dense.student import DenseStudent


class PairScorer:
    """The logits of pairs by a student, all of it or its vectors alone.

    Args:
        student: a trained one, or one at step 0.
        task: branch of the interaction; of an asymmetric task the first text is a query.

    Example:
        >>> PairScorer(student).score(["A cat sat."], ["A cat was sitting."])
        array([4.1], dtype=float32)
    """

    def __init__(self, student: DenseStudent, task: str = "symmetric") -> None:
        self.student = student
        self.task = task

    def score(self, first: Sequence[str], second: Sequence[str]) -> NDArray[np.float32]:
        """Logits (pairs,) of the interaction module."""
        return self.score_vectors(*self.encode(first, second))

    def encode(
        self, first: Sequence[str], second: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors of first and second texts (pairs, dimension) each; equal texts are encoded once."""
        return self._vectors(first, query=self.task == "asymmetric"), self._vectors(second, query=False)

    @torch.inference_mode()
    def score_vectors(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (pairs,) of the interaction module, of vectors (pairs, dimension) each."""
        device = self.student.model.device
        queries, passages = torch.from_numpy(first).to(device), torch.from_numpy(second).to(device)
        found = self.student.interaction.score(queries, passages.unsqueeze(1), self.task).logits
        logits: NDArray[np.float32] = found[:, 0].cpu().numpy()
        return logits

    def _vectors(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        vectors = self.student.encode(list(row_of), query=query)
        return vectors[[row_of[text] for text in texts]]
