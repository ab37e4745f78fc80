"""Batches of several sets, each of one set alone, in shares that a temperature evens out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.base.sampler import MultiDatasetDefaultBatchSampler


def batch_shares(batches: Sequence[int], temperature: float) -> NDArray[np.int64]:
    """How many batches of each set there are in an epoch: in all as many as the sets have together.

    Shares are in proportion to `batches^(1/temperature)`, rounded by largest remainder. Temperature 1 gives
    every set its own number; a higher one more to the small sets, which then repeat, and less to the large.

    Source: Arivazhagan et al. 2019, arXiv 1907.05019, section 4 (temperature-based sampling).

    Example:
        >>> batch_shares([90, 10], 1.0), batch_shares([90, 10], 2.0)
        (array([90, 10]), array([75, 25]))
    """
    sizes = np.asarray(batches, np.float64)
    weights = (sizes / sizes.max()) ** (1 / temperature)
    exact = sizes.sum() * weights / weights.sum()
    shares: NDArray[np.int64] = np.floor(exact + 1e-9).astype(np.int64)
    left = round(sizes.sum()) - int(shares.sum())
    shares[np.argsort(-(exact - shares), kind="stable")[:left]] += 1
    return shares


class TemperatureSampler(MultiDatasetDefaultBatchSampler):
    """Draws the batches of several sets in random order, `batch_shares` of each; the library's sampler.

    A set whose share is more than it has is gone through again, in another order. The order depends on the
    seed and the epoch alone, so that a training that was killed goes on with the same batches.

    Args:
        dataset: the sets, one behind the other.
        batch_samplers: one for each of them.
        temperature: see `batch_shares`.
        generator: of the random order.
        seed: of the generator.
    """

    def __init__(
        self,
        dataset: Any,
        batch_samplers: Any,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, batch_samplers=batch_samplers, generator=generator, seed=seed)
        self.shares = batch_shares([len(sampler) for sampler in batch_samplers], temperature)

    def __iter__(self) -> Iterator[list[int]]:
        """The rows of each batch, counted over all sets."""
        if self.generator is not None:
            self.generator.manual_seed(self.seed + self.epoch)
        offsets = [0, *self.dataset.cumulative_sizes]
        turns = torch.from_numpy(np.repeat(np.arange(len(self.shares)), self.shares))
        turns = turns[torch.randperm(len(turns), generator=self.generator)]
        endless = [_again_and_again(sampler) for sampler in self.batch_samplers]
        for turn in turns.tolist():
            yield [row + offsets[turn] for row in next(endless[turn])]

    def __len__(self) -> int:
        """Batches of an epoch."""
        return int(self.shares.sum())


def _again_and_again(batches: Any) -> Iterator[list[int]]:
    while True:
        yield from batches
