"""Decoder-only models as generators: query, view marker and identifier are one sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck.batching import padded
from limbeck.students.generative.generator import IGNORED, SavedGenerator, next_log_probabilities


@dataclass(slots=True)
class CausalState:
    """Where the model is.

    Attributes:
        cache: the library's cache of keys and values.
        mask: True for real tokens (slots, tokens so far); queries are padded at the left.
    """

    cache: Any
    mask: Tensor


class CausalGenerator(SavedGenerator):
    """The model reads the query and the view's start marker, and writes on."""

    kind = "causal"

    def start(self, queries: Sequence[str], prompts: Sequence[int]) -> tuple[Tensor, CausalState]:
        """See `Generator.start`."""
        rows = self._rows(queries, prompts)
        tokens = self._device_tensor(padded(rows, self.vocabulary.padding, left=True))
        mask = self._device_tensor(padded([[1] * len(row) for row in rows], 0, left=True))
        state = CausalState(None, mask)
        return self._forward(state, tokens, (mask.cumsum(1) - 1).clamp_min(0)), state

    def step(
        self, state: CausalState, parents: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> tuple[Tensor, CausalState]:
        """See `Generator.step`."""
        order = self._device_tensor(parents)
        state.cache.reorder_cache(order)
        mask = state.mask[order]
        state.mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        positions = state.mask.sum(1, keepdim=True) - 1
        return self._forward(state, self._device_tensor(tokens)[:, None], positions), state

    def training_inputs(
        self, queries: Sequence[str], prompts: Sequence[int], targets: Sequence[Sequence[int]]
    ) -> dict[str, Tensor]:
        """See `Generator.training_inputs`."""
        read = self._rows(queries, prompts)
        rows = [[*row, *target[:-1]] for row, target in zip(read, targets, strict=True)]
        labels = [[*[IGNORED] * (len(row) - 1), *target] for row, target in zip(read, targets, strict=True)]
        return {
            "input_ids": padded(rows, self.vocabulary.padding),
            "attention_mask": padded([[1] * len(row) for row in rows], 0),
            "labels": padded(labels, IGNORED),
        }

    def _lengths(self, longest: int) -> list[tuple[str, int, Any, int]]:
        tokens = len(self.vocabulary.before) + self.max_query_length + 1 + longest
        return [("max_query_length", self.max_query_length, self.model, tokens)]

    def _rows(self, queries: Sequence[str], prompts: Sequence[int]) -> list[list[int]]:
        before = self.vocabulary.before
        asked = zip(self._query_tokens(queries), prompts, strict=True)
        return [[*before, *tokens, prompt] for tokens, prompt in asked]

    def _forward(self, state: CausalState, tokens: Tensor, positions: Tensor) -> Tensor:
        outputs = self.model(
            input_ids=tokens,
            attention_mask=state.mask,
            position_ids=positions,
            past_key_values=state.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        state.cache = outputs.past_key_values
        return next_log_probabilities(outputs.logits)
