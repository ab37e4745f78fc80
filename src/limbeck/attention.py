"""Attention of a training on a CPU: in float32, also where all around it is computed in bfloat16.

PyTorch's fused attention in bfloat16 makes a small product for each head of each text by way of a library
that takes longer to prepare such a product than to compute it. For texts of a dozen tokens its backward pass
takes nine times as long as in float32 (96 texts, 12 heads of 32, one core with avx512_bf16), and more than
half of a training; for 512 tokens it still is slower. With dropout in the attention PyTorch does not fuse,
and little changes. Without gradients nothing is gained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from limbeck.encoders import quiet

#: What transformers calls PyTorch's attention, and what it is told to call this one.
_FUSED, _FLOAT32 = "sdpa", "sdpa_float32"


@contextmanager
def float32_attention(model: nn.Module) -> Iterator[None]:
    """Within it, a model's fused attention is computed in float32 on a CPU, whatever the precision around it.

    Attention of other kinds, such as a model's own, and on other devices stays as it is.

    Args:
        model: any of `transformers`, also within a `SentenceTransformer` or a `CrossEncoder`.

    Example:
        >>> with float32_attention(model), torch.autocast("cpu", torch.bfloat16):
        ...     model(**inputs).loss.backward()
    """
    changed = []
    with quiet():  # a model that does not take another attention says so, and keeps its own
        for module in model.modules():
            if not isinstance(module, PreTrainedModel) or module.device.type != "cpu":
                continue
            if module.config._attn_implementation == _FUSED:
                module.set_attn_implementation(_FLOAT32)
                changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            module.set_attn_implementation(_FUSED)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """An attention function of transformers, whose options may hold numbers that are added to a mask."""
    if query.device.type != "cpu":
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    with torch.autocast("cpu", enabled=False):
        wide = {name: _widened(option) for name, option in options.items()}
        inputs = query.float(), key.float(), value.float(), _widened(mask)
        attended, _ = sdpa_attention_forward(module, *inputs, **wide)
    return attended.to(query.dtype), None


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


AttentionInterface.register(_FLOAT32, _attention)
AttentionMaskInterface.register(_FLOAT32, sdpa_mask)
