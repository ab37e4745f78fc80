"""A cross-encoder as a teacher: a transformer that reads query and passage together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.batching import default_tokens, narrowed
from limbeck.encoders import autocast, load_cross_encoder, weights_digest
from limbeck.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder

    from limbeck.teachers.base import Pair

#: Pairs that are tokenised together, before they are sorted by their number of tokens.
TOKENISED_AT_ONCE = 1024


class CrossEncoderTeacher:
    """The logit of a `sentence_transformers.CrossEncoder`, before any activation.

    Pairs are tokenised together, sorted by their number of tokens and run in batches of about as many
    tokens each (`limbeck.batching`); results come in the order asked. In float32 the logits are those of
    the library's `predict` to about 1e-5. Where the machine computes bfloat16 in hardware it is used, three
    times as fast on such CPUs; a logit then moves by some hundredths against float32, and by about 0.01 with
    the padding of its batch. That is far below the differences that a student learns from, and the cache
    keeps the first score of a pair, so that it stays what it is.

    Args:
        model: a cross-encoder with one label, or the folder or hub id of one.
        max_length: tokens of query and passage together; None leaves the model's own limit.
        batch_tokens: tokens a forward pass, padding included; None takes what suits the device.

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
        batch_tokens: int | None = None,
    ) -> None:
        self.model = load_cross_encoder(model, max_length=max_length)
        self.batch_tokens = batch_tokens or default_tokens(self.model.device)
        if self.model.num_labels != 1:
            raise InputError(
                f"the cross-encoder '{model}' has {self.model.num_labels} labels",
                expected="one label, the relevance",
                remedy="choose a reranker, or fine-tune this model with limbeck",
            )
        # Flash attention would have the library join all pairs into one sequence, without a mask to cut by.
        transformer: Any = self.model[0]
        if getattr(transformer, "can_flatten_inputs", False):
            transformer.unpad_inputs = False
        self.version = f"{weights_digest(self.model)}/max_length={self.model.max_length}"

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """The logits (pairs,), in the order asked."""
        if not pairs:
            return np.zeros(0)
        import torch  # noqa: PLC0415  # loaded by now

        self.model.eval()
        logits = np.empty(len(pairs), np.float64)
        with torch.inference_mode(), autocast(self.model.device):
            for start in range(0, len(pairs), TOKENISED_AT_ONCE):
                block = slice(start, start + TOKENISED_AT_ONCE)
                logits[block] = self._block(list(pairs[block]))
        return logits

    def _block(self, pairs: list[Pair]) -> NDArray[np.float64]:
        """The logits of pairs that are tokenised together."""
        from sentence_transformers.util import batch_to_device  # noqa: PLC0415  # loaded by now

        logits = np.empty(len(pairs), np.float64)
        for positions, batch in narrowed(self.model.preprocess(pairs), self.batch_tokens):
            scores = self.model(batch_to_device(batch, self.model.device))["scores"]
            logits[positions] = scores.float().flatten().cpu().numpy()
        return logits
