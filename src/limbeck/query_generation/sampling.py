"""Drawing tokens at random, so that what a text draws depends on the seed and the text alone.

Gumbel noise is added to log-probabilities and the largest sum is taken, which draws from exactly their
distribution (the Gumbel-max trick). The noise depends on the seed and the text that is read, and not on what
else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from limbeck.data.id_index import hash_ids
from limbeck.errors import InputError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How questions are drawn.

    Attributes:
        top_k: tokens that may come next: the most likely ones. Published: 10; 1 takes the most likely token
            always, which makes all questions of a passage the same.
        top_p: of these, the most likely ones whose probabilities make up this share, and one at least.
        temperature: below 1 the likely tokens become likelier.
        seed: of the draws.

    Raises:
        InputError: a value that is out of range.
    """

    top_k: int = 10
    top_p: float = 1.0
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise InputError(f"top_k is {self.top_k}", expected="a positive integer")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}", expected="more than 0, and 1 at most")
        if not self.temperature > 0:
            raise InputError(f"the temperature is {self.temperature}", expected="more than 0")


class Draw(LogitsProcessor):
    """Draws the next token of every row, and leaves it as the only one that can be taken.

    Args:
        noise: (rows, steps, tokens), Gumbel noise for the most likely tokens of each step.
        before: tokens that the decoder had before the first step.
        sampling: how tokens are drawn.
        barred: tokens that are not.
    """

    def __init__(self, noise: Tensor, before: int, sampling: Sampling, barred: Tensor) -> None:
        self._noise = noise
        self._before = before
        self._sampling = sampling
        self._barred = barred

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (rows, vocabulary): 0 for the token drawn, else minus infinity."""
        scores = scores.float().index_fill(1, self._barred.to(scores.device), -torch.inf)
        best, tokens = scores.topk(min(self._noise.shape[2], scores.shape[1]))
        logs = torch.log_softmax(best / self._sampling.temperature, -1)
        chances = logs.exp()
        outside = chances.cumsum(-1) - chances >= self._sampling.top_p
        outside[:, 0] = False
        noise = self._noise[:, input_ids.shape[1] - self._before, : logs.shape[1]].to(scores.device)
        drawn = (logs + noise).masked_fill(outside, -torch.inf).argmax(-1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens.gather(1, drawn), 0.0)


def gumbel_noise(texts: Sequence[str], shape: tuple[int, int, int], seed: int) -> np.ndarray[Any, Any]:
    """Gumbel noise (texts · count, steps, tokens), float32, for a shape (count, steps, tokens)."""
    seeds = hash_ids([f"{seed}\0{text}" for text in texts]).tolist()
    rows = [np.random.default_rng(one).gumbel(size=shape).astype(np.float32) for one in seeds]
    return np.concatenate(rows)
