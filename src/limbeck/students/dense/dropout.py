"""Another dropout than the backbone was made with, while it learns.

A student that imitates a teacher has a goal for every pair, also for those without a label, and few layers to
reach it with: it is more likely to learn too little of what it is shown than to learn it by heart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def dropout(model: nn.Module, share: float | None) -> Iterator[None]:
    """Within it, a model in training drops a share of its activations; afterwards what it dropped before.

    The dropout of adapters is their own and stays.

    Args:
        model: any of `transformers`, also within a `SentenceTransformer`.
        share: from 0 to 1, for every dropout of the model; None leaves all as they are.

    Example:
        >>> layer = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1))
        >>> with dropout(layer, 0.0):
        ...     layer[1].p
        0.0
        >>> layer[1].p
        0.1
    """
    places = [
        (module, attribute, value)
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if share is not None and "lora_" not in name and isinstance(value, float)
        # Layers, and the numbers that models hand to attention and to functions.
        if "dropout" in attribute or (attribute == "p" and isinstance(module, nn.Dropout))
    ]
    try:
        for module, attribute, _ in places:
            setattr(module, attribute, share)
        yield
    finally:
        for module, attribute, value in places:
            setattr(module, attribute, value)
