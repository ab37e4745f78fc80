"""A cross-encoder as a teacher: a transformer that reads query and passage together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.batching import default_tokens, narrowed
from limbeck.encoders import autocast, load_cross_encoder, model_digest
from limbeck.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    import torch
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
        self.version = f"{model_digest(self.model)}/max_length={self.model.max_length}"

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """The logits (pairs,), in the order asked."""
        logits = np.empty(len(pairs), np.float64)
        for positions, _, found in self._batches(pairs):
            logits[positions] = found
        return logits

    def score_with_features(self, pairs: Sequence[Pair]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """The logits (pairs,), and the pooled states (pairs, dimension) from which they were read.

        The pooled state is what the last linear layer of the head reads; of a decoder, whose head reads every
        token, that of the last real token.

        Raises:
            InputError: the model's head ends in no linear layer of one logit.
        """
        logits = np.empty(len(pairs), np.float64)
        states: list[torch.Tensor] = []
        head = self.feature_head()
        features = np.empty((len(pairs), head.in_features), np.float32)
        hook = head.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
        try:
            for positions, mask, found in self._batches(pairs):
                logits[positions] = found
                features[positions] = _pooled(states.pop(), mask).float().cpu().numpy()
        finally:
            hook.remove()
        return logits, features

    def feature_head(self) -> torch.nn.Linear:
        """The layer that reads the features.

        Raises:
            InputError: there is none, see `score_with_features`.
        """
        from torch.nn import Linear  # noqa: PLC0415  # loaded by now

        heads = [part for part in self.model.modules() if isinstance(part, Linear) and part.out_features == 1]
        if not heads:
            raise InputError(
                "the cross-encoder has no features to imitate: its head ends in no linear layer of one logit",
                expected="a model for sequence classification with one label",
                remedy="set loss.feature to 0, or choose another cross-encoder",
            )
        return heads[-1]

    def _batches(
        self, pairs: Sequence[Pair]
    ) -> Iterator[tuple[NDArray[np.int64], torch.Tensor, NDArray[np.float64]]]:
        """Positions (batch,), attention mask (batch, tokens) and logits (batch,), each pair in one batch."""
        import torch  # noqa: PLC0415  # loaded by now
        from sentence_transformers.util import batch_to_device  # noqa: PLC0415

        self.model.eval()
        for start in range(0, len(pairs), TOKENISED_AT_ONCE):
            together = self.model.preprocess(list(pairs[start : start + TOKENISED_AT_ONCE]))
            for positions, batch in narrowed(together, self.batch_tokens):
                with torch.inference_mode(), autocast(self.model.device):
                    scores = self.model(batch_to_device(batch, self.model.device))["scores"]
                logits = scores.float().flatten().cpu().numpy()
                yield start + positions, batch["attention_mask"], logits


def _pooled(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What a head read of each text (batch, dimension): its input, or that at the last real token.

    Args:
        states: (batch, dimension), or (batch, tokens, dimension).
        mask: (batch, tokens); non-zero marks a real token.
    """
    if states.dim() == 2:
        return states
    tokens = mask.shape[1]
    last = tokens - 1 - (mask.to(states.device) != 0).flip(1).int().argmax(1)
    return states[range(len(states)), last]
