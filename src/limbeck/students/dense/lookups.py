"""Gradients of embedding matrices that cost what a batch's tokens cost, and not what the vocabulary does.

A student encodes a batch in parts of like length, and each part looks its tokens up. The gradient of a lookup
is a matrix as large as the embeddings, nearly all of it zeros: with 30,000 tokens of 384 numbers, 47 MB to
fill and to add up, half a dozen times a step. On two cores that was a tenth of a student's step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def sparse_lookups(model: nn.Module) -> Iterator[None]:
    """Within it, lookups of a model on a CPU have sparse gradients, added up to one dense one a pass back.

    Whoever reads the gradients afterwards, an optimiser or a norm, finds the dense ones that it knows. On
    other devices, where filling memory is cheap, and in data-parallel training, which makes its own plans for
    dense gradients, nothing is changed.

    Args:
        model: whose `nn.Embedding`s are meant; those that do not learn, or are computed from other weights or
            scaled by frequency, work as before.

    Example:
        >>> table = nn.Embedding(1000, 4)
        >>> with sparse_lookups(table):
        ...     sum(table(torch.tensor([[1, 2]])).sum() for _ in range(3)).backward()
        >>> table.weight.grad.is_sparse, table.weight.grad[1].tolist()
        (False, [3.0, 3.0, 3.0, 3.0])
    """
    distributed = dist.is_available() and dist.is_initialized()
    tables = [
        module
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        and not module.sparse
        and not module.scale_grad_by_freq
        and module.weight.requires_grad
        and module.weight.is_leaf
        and module.weight.device.type == "cpu"
        and not distributed
    ]
    hooks = [
        table.weight.register_post_accumulate_grad_hook(_densify)  # type: ignore[no-untyped-call]
        for table in tables
    ]
    try:
        for table in tables:
            table.sparse = True
        yield
    finally:
        for table, hook in zip(tables, hooks, strict=True):
            table.sparse = False
            hook.remove()


def _densify(weight: Tensor) -> None:
    """Makes a sparse gradient (rows of a matrix) the dense one; does nothing to one that is dense."""
    found = weight.grad
    if found is not None and found.is_sparse:
        rows, values = found._indices()[0], found._values()  # the public ones sort first
        weight.grad = torch.zeros_like(weight).index_add_(0, rows, values)
