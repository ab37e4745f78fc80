"""Scores of a block of passages, and the best of all blocks.

torch and not NumPy: on two cores its fused bias and threaded ReLU are a third faster than NumPy with the same
BLAS. A block of 2,048 passages (4 MB at 512 units) was the fastest of 128 to 8,192. In 8 bits each thread has
blocks of its own, and what it makes of 1,024 passages (1 MB) stays in its own cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from limbeck.indexes.vectors.kernels import ZERO_POINT, branch_logits, quantize_hidden

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from limbeck.indexes.vectors.interaction import InteractionWeights

INTERACTION_BLOCK = 2048
INT8_BLOCK = 1024
COSINE_BLOCK = 8192


class InteractionScorer:
    """The interaction module on passages whose half of the first layer is known.

    Not safe for several threads at once, for it reuses its memory: make one for each search.

    Args:
        weights: the module.
        block: the most passages scored at once.
    """

    def __init__(self, weights: InteractionWeights, block: int = INTERACTION_BLOCK) -> None:
        self._branch = torch.from_numpy(weights.branch).T
        self._branch_bias = torch.from_numpy(weights.branch_bias)
        self._output = torch.from_numpy(weights.output)
        self._cosine_scale = weights.cosine_scale
        self._bias = weights.cosine_bias + weights.output_bias
        self._hidden_memory = torch.empty(block, weights.hidden)
        self._feature_memory = torch.empty(block, len(weights.output))

    def scores(self, query_half: Tensor, passage_halves: Tensor, cosines: Tensor) -> Tensor:
        """Logits of one query: (hidden,), (block, hidden) and (block,) to (block,), all float32."""
        size = len(passage_halves)
        hidden = torch.add(passage_halves, query_half, out=self._hidden_memory[:size]).relu_()
        feature = torch.addmm(
            self._branch_bias, hidden, self._branch, out=self._feature_memory[:size]
        ).relu_()
        return torch.mv(feature, self._output).add_(cosines, alpha=self._cosine_scale).add_(self._bias)


class Int8InteractionScorer:
    """The interaction module with the product of its branch in 8 bits, for machines that compute it.

    A logit moves by about a hundredth of the spread of the logits, so this finds candidates that
    `InteractionScorer` then scores. Where one unit is far above all others it moves more: hidden units are
    counts from 0 to the 255 of their passage's largest, weights from -127 to 127 of their feature's. The
    product of the counts is exact. Everything else is one pass before it and one after, which are one
    thread's work: several threads take a scorer and a part of the passages each.

    Not safe for several threads at once, for it reuses its memory.

    Args:
        weights: the module.
        block: the most passages scored at once.
    """

    def __init__(self, weights: InteractionWeights, block: int = INT8_BLOCK) -> None:
        steps = np.abs(weights.branch).max(axis=1) / np.float32(127)
        counts = np.rint(weights.branch / np.where(steps > 0, steps, 1)[:, None])
        self._branch = torch.from_numpy(counts.astype(np.int8)).T
        taken = ZERO_POINT * counts.sum(axis=1)
        self._features = np.stack([taken, steps, weights.branch_bias, weights.output]).astype(np.float32)
        self._cosine_scale = weights.cosine_scale
        self._bias = weights.cosine_bias + weights.output_bias
        self._hidden_memory = torch.empty(block, weights.hidden, dtype=torch.int8)
        self._step_memory = np.empty(block, np.float32)
        self._product_memory = torch.empty(block, len(weights.output), dtype=torch.int32)

    def scores(self, query_half: Tensor, passage_halves: Tensor, cosines: Tensor) -> Tensor:
        """Logits of one query: (hidden,), (block, hidden) and (block,) to (block,), all float32."""
        size = len(passage_halves)
        hidden, steps = self._hidden_memory[:size], self._step_memory[:size]
        quantize_hidden(passage_halves.numpy(), query_half.numpy(), hidden.numpy(), steps)
        # On a CPU this is oneDNN's product; PyTorch has no public name for it (torchao calls it by this one).
        product = torch._int_mm(hidden, self._branch, out=self._product_memory[:size])
        logits = torch.empty(size)
        branch_logits(product.numpy(), steps, self._features, logits.numpy())
        return logits.add_(cosines, alpha=self._cosine_scale).add_(self._bias)


class Best:
    """The k best rows of one query as blocks go by; equal scores in the order of the rows.

    `torch.topk` picks among equal scores as it likes, and equal passages are common in real corpora.

    Args:
        k: how many to keep.
    """

    def __init__(self, k: int) -> None:
        self._k = k
        self._rows = np.empty(0, dtype=np.int64)
        self._scores = np.empty(0, dtype=np.float32)

    def add(self, first_row: int, scores: NDArray[np.float32]) -> None:
        """Takes the scores (block,) of the rows from `first_row` on; blocks come in the order of rows."""
        if len(self._scores) == self._k:
            # Later rows lose a tie, so only what is strictly better than the worst one kept can enter.
            entering = np.flatnonzero(scores > self._scores.min())
            if not len(entering):
                return
        else:
            entering = np.arange(len(scores))
        # Both parts are in the order of their rows, so the first ones of a tie are those to keep.
        self._rows = np.concatenate([self._rows, entering + first_row])
        self._scores = np.concatenate([self._scores, scores[entering]])
        if len(self._scores) > self._k:
            kept = best_positions(self._scores, self._k)
            self._rows, self._scores = self._rows[kept], self._scores[kept]

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows and scores, best first."""
        order = np.argsort(-self._scores, kind="stable")
        return self._rows[order], self._scores[order]


def best_positions(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The positions of the k best scores in ascending order of position; earlier ones win ties."""
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = scores > threshold
    tied = np.flatnonzero(scores == threshold)[: k - int(above.sum())]
    above[tied] = True
    return np.flatnonzero(above)


def as_float32(block: NDArray[np.floating]) -> Tensor:
    """A block of a memory-mapped array as a float32 tensor; no copy where it is float32 already."""
    return torch.from_numpy(block).float()
