"""A cross-encoder as a teacher: a transformer that reads query and passage together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limbeck.encoders import autocast, load_cross_encoder, weights_digest
from limbeck.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder

    from limbeck.teachers.base import Pair

BATCH_SIZE = 32


class CrossEncoderTeacher:
    """The logit of a `sentence_transformers.CrossEncoder`, before any activation.

    The longest pairs go first, so that little of a batch is padding, and results come in the order asked.
    Where the machine computes bfloat16 in hardware it is used (2.5 times as fast on such CPUs); a logit
    then moves by about 0.01 with the padding of its batch. That is far below the differences that a student
    learns from, and the cache keeps the first score of a pair, so that it stays what it is.

    Args:
        model: a cross-encoder with one label, or the folder or hub id of one.
        max_length: tokens of query and passage together; None leaves the model's own limit.
        batch_size: pairs a forward pass.

    Raises:
        InputError: when it cannot be loaded, or has another number of labels than one.

    Example:
        >>> CrossEncoderTeacher("cross-encoder/ms-marco-MiniLM-L6-v2").score([("who barks", "Dogs bark.")])
        array([8.6])
    """

    name = "cross-encoder"
    prompt = ""

    def __init__(
        self,
        model: CrossEncoder | str | os.PathLike[str],
        *,
        max_length: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self.model = load_cross_encoder(model, max_length=max_length)
        self.batch_size = batch_size
        if self.model.num_labels != 1:
            raise InputError(
                f"the cross-encoder '{model}' has {self.model.num_labels} labels",
                expected="one label, the relevance",
                remedy="choose a reranker, or fine-tune this model with limbeck",
            )
        self.version = f"{weights_digest(self.model)}/max_length={self.model.max_length}"

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """The logits (pairs,), in the order asked."""
        if not pairs:
            return np.zeros(0)
        from torch.nn import Identity  # noqa: PLC0415  # torch is loaded by now

        with autocast(self.model.device):
            logits = self.model.predict(
                list(pairs),
                batch_size=self.batch_size,
                activation_fn=Identity(),
                show_progress_bar=False,
            )
        return np.asarray(logits, np.float64)
