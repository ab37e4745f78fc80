"""Attention of a training on a CPU: in float32, also where all around it is computed in bfloat16.

PyTorch's fused attention in bfloat16 makes a small product for each head of each text by way of a library
that takes longer to prepare such a product than to compute it. On one core with avx512_bf16 its backward pass
took nine times as long as in float32 for texts of a dozen tokens (96 of them, 12 heads of 32), and longer
still for 512; in a profile of a student's training on pairs it had 58 % of the samples. On CPUs with amx_bf16
it was not measured. With dropout in the attention PyTorch does not fuse, and little changes. Without
gradients nothing is gained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

#: What transformers calls PyTorch's attention, which its models take where they can.
_FUSED = "sdpa"


@contextmanager
def float32_attention() -> Iterator[None]:
    """Within it, models of `transformers` compute PyTorch's attention in float32 on a CPU.

    For all models of the process, whose own settings stay as they are. Attention of other kinds, that of
    models which bring their own, and on other devices is not changed.

    Example:
        >>> with float32_attention(), torch.autocast("cpu", torch.bfloat16):
        ...     model(**inputs).loss.backward()
    """
    before = AttentionInterface()[_FUSED]  # type: ignore[no-untyped-call]
    AttentionInterface.register(_FUSED, _attention)
    try:
        yield
    finally:
        AttentionInterface.register(_FUSED, before)


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
