"""The forward pass of an LLM that answers with one token: plain, and on top of a prefix computed once.

Design facts:
- Only the rows of the head that belong to answers are computed, at the last token alone; what the model does
  to its logits after the head (a cap, a scale) is done to them too.
- Batches are padded on the right, which keeps positions what they are, and windows of attention whole.
- The keys and values of one prefix are not repeated for a batch beforehand: each layer of the cache sees them
  expanded. Those of several prefixes are: a forward pass of few sequences costs more.
- Whether a model's cache can be shared is seen from the layers that it fills, and not from the model's name.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from limbeck.batching import padded
from limbeck.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

# Layers whose state is the keys and values of earlier tokens; a state-space layer's, for one, is not.
_SHAREABLE = {DynamicLayer, DynamicSlidingWindowLayer}


class AnswerHead(nn.Module):
    """Some rows of a model's head, applied to the last token of each sequence.

    Args:
        head: the model's output embeddings.
        token_ids: whose rows.

    Attributes:
        last: (sequences,) where the last tokens are; to be set before a forward pass.
        states: (sequences, hidden) of the last tokens in the last pass, the features of D2LLM.

    Raises:
        InputError: the head's weights are quantised, or not on a device.
    """

    last: Tensor
    states: Tensor

    def __init__(self, head: Any, token_ids: Sequence[int]) -> None:
        super().__init__()
        weight = head.weight
        if weight.is_meta or not weight.is_floating_point() or weight.ndim != 2:
            raise InputError(
                "the model's head is quantised or not in memory",
                expected="its weights as numbers, (vocabulary, hidden)",
                remedy="leave `lm_head` out of the quantisation, or put it on a device in `device_map`",
            )
        rows = torch.tensor(token_ids, device=weight.device)
        self.weight = weight.index_select(0, rows)
        bias = getattr(head, "bias", None)
        self.bias = None if bias is None else bias.index_select(0, rows)

    def forward(self, hidden: Tensor) -> Tensor:
        """(sequences, tokens, hidden) to logits (sequences, 1, answers)."""
        at = self.last.to(hidden.device)
        self.states = hidden[torch.arange(len(at), device=hidden.device), at]
        logits = nn.functional.linear(self.states.to(self.weight), self.weight, self.bias)
        return logits[:, None]


@contextmanager
def answering(model: Any, token_ids: Sequence[int]) -> Iterator[AnswerHead]:
    """The model with a head of these tokens alone, until the end of the block."""
    head = model.get_output_embeddings()
    answer_head = AnswerHead(head, token_ids)
    model.set_output_embeddings(answer_head)
    try:
        yield answer_head
    finally:
        model.set_output_embeddings(head)


def padded_right(
    sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Token ids (sequences, longest), padded on the right, and their lengths (sequences,)."""
    lengths = torch.tensor([len(ids) for ids in sequences], device=device)
    return padded(sequences, pad_id).to(device), lengths


def last_logits(
    model: Any,
    head: AnswerHead,
    ids: Tensor,
    lengths: Tensor,
    *,
    prefix: Cache | None = None,
    owners: Sequence[int] = (),
) -> Tensor:
    """The logits of the answers (sequences, answers) behind the last token of each sequence.

    Args:
        model: within `answering`.
        head: what `answering` gave.
        ids: (sequences, longest), padded on the right.
        lengths: (sequences,), 1 or more.
        prefix: what `prefix_cache` gave for the tokens before these.
        owners: of which of its prefixes each sequence is the rest (sequences,).
    """
    before = 0 if prefix is None else prefix.get_seq_length()
    positions = torch.arange(before + ids.shape[1], device=ids.device)
    inputs: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": (positions < before + lengths[:, None]).long(),
        "use_cache": False,
    }
    if prefix is not None:
        inputs |= {"past_key_values": _for_batch(prefix, owners), "use_cache": True}
    head.last = lengths - 1
    logits: Tensor = model(**inputs).logits[:, 0]
    return logits


def prefix_cache(
    model: Any, head: AnswerHead, prefixes: Sequence[Sequence[int]], device: torch.device
) -> Cache | None:
    """The keys and values of prefixes of one length, or None if this model's cache cannot be shared."""
    head.last = torch.zeros(len(prefixes), dtype=torch.long)
    found = model(input_ids=torch.tensor([list(ids) for ids in prefixes], device=device), use_cache=True)
    cache = getattr(found, "past_key_values", None)
    if isinstance(cache, Cache) and all(type(layer) in _SHAREABLE for layer in cache.layers):
        return cache
    return None


def _for_batch(cache: Cache, owners: Sequence[int]) -> Cache:
    """The cache with a row a sequence. Its layers grow by concatenation, and leave the prefixes alone."""
    found = copy.copy(cache)
    found.layers = [copy.copy(layer) for layer in cache.layers]
    layers: list[Any] = found.layers
    rows = torch.tensor(owners)
    for layer in layers:
        if layer.is_initialized:  # one that takes its keys from another layer holds nothing
            rows = rows.to(layer.keys.device)
            layer.keys, layer.values = (_taken(states, rows) for states in (layer.keys, layer.values))
    return found


def _taken(states: Tensor, rows: Tensor) -> Tensor:
    return states.expand(len(rows), -1, -1, -1) if len(states) == 1 else states[rows]
