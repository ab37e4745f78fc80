"""Attention of a training on a CPU: in float32, also where all around it is computed in bfloat16.

PyTorch's fused attention in bfloat16 makes a small product for each head of each text by way of a library
that takes longer to prepare such a product than to compute it. For texts of a dozen tokens its backward pass
takes nine times as long as in float32 (96 texts, 12 heads of 32, one core with avx512_bf16), and more than
half of a training; for 512 tokens it still is slower. With dropout in the attention PyTorch does not fuse,
and little changes. Without gradients nothing is gained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


class Float32Attention(TorchFunctionMode):
    """Within it, attention on a CPU is computed in float32, whatever the precision of its inputs.

    The result has the precision that it would have had. Attention on other devices, and that of models which
    do without PyTorch's function, stays as it is.

    Example:
        >>> query = torch.ones(1, 1, 2, 4, dtype=torch.bfloat16)
        >>> with Float32Attention():
        ...     scaled_dot_product_attention(query, query, query).dtype
        torch.bfloat16
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls what is called, attention with wider inputs."""
        given = {**dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)), **(kwargs or {})}
        if func is not scaled_dot_product_attention or given["query"].device.type != "cpu":
            return func(*args, **(kwargs or {}))
        wide = {
            name: value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for name, value in given.items()
        }
        cast = torch.is_autocast_enabled("cpu")
        kind = torch.get_autocast_dtype("cpu") if cast else given["query"].dtype
        with torch.autocast("cpu", enabled=False):
            return func(**wide).to(kind)
