"""Batches of about as many tokens each, so that texts of mixed lengths cost what their tokens cost.

A batch of a fixed number of texts is as wide as its longest one, and as large as that happens to be. With a
fixed number of tokens instead, texts of one length stand together, little is padding, and a batch fits the
processor's cache whether its texts are short or long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from numpy.typing import ArrayLike, NDArray

#: A batch that a CPU core keeps in its cache, and one that fills a GPU.
CPU_TOKENS, GPU_TOKENS = 1024, 32_768


def default_tokens(device: torch.device) -> int:
    """Tokens of a batch that suit this kind of device, padding included."""
    return CPU_TOKENS if device.type == "cpu" else GPU_TOKENS


def token_batches(lengths: ArrayLike, tokens: int) -> list[NDArray[np.int64]]:
    """Positions in batches, the longest first; a batch padded to its longest has at most `tokens` tokens.

    Args:
        lengths: tokens of each text (texts,).
        tokens: the most of a batch, 1 or more. A text that is longer by itself is a batch by itself.

    Returns:
        Arrays of positions, each position in one of them; of equal lengths the earlier ones first.

    Example:
        >>> [batch.tolist() for batch in token_batches([3, 9, 2, 3], tokens=9)]
        [[1], [0, 3, 2]]
    """
    sizes = np.asarray(lengths, np.int64)
    order = np.argsort(-sizes, kind="stable")
    batches, start = [], 0
    while start < len(order):
        # The first is the longest, so it alone decides how many fit.
        count = max(1, tokens // max(1, int(sizes[order[start]])))
        batches.append(order[start : start + count])
        start += count
    return batches


def narrowed(
    features: Mapping[str, Any], tokens: int
) -> Iterator[tuple[NDArray[np.int64], dict[str, torch.Tensor | Any]]]:
    """One wide tokenised batch as several, each as wide as its own longest text.

    Args:
        features: what a tokeniser gives for all texts together: tensors (texts, width), padded on one side,
            `attention_mask` among them. What is no such tensor is passed on as it is.
        tokens: the most of a batch, padding included; see `token_batches`.

    Yields:
        The positions of the texts (batch,), and their features (batch, their longest).
    """
    import torch  # noqa: PLC0415  # takes seconds

    mask = features["attention_mask"]
    lengths = mask.sum(dim=1).cpu().numpy()
    padded_left = bool((mask[:, -1] > 0).all())
    for positions in token_batches(lengths, tokens):
        width = max(1, int(lengths[positions[0]]))
        columns = slice(-width, None) if padded_left else slice(width)
        rows = torch.from_numpy(positions).to(mask.device)
        yield (
            positions,
            {
                name: value[rows, columns] if torch.is_tensor(value) and value.shape == mask.shape else value
                for name, value in features.items()
            },
        )


def padded(rows: Sequence[Sequence[int]], fill: int, *, left: bool = False) -> torch.Tensor:
    """Rows of different lengths as one tensor (rows, longest), int64, filled up at one side.

    Example:
        >>> padded([[5, 6], [7]], 0, left=True).tolist()
        [[5, 6], [0, 7]]
    """
    import torch  # noqa: PLC0415  # takes seconds

    width = max(map(len, rows))
    filled = np.full((len(rows), width), fill, np.int64)
    for place, row in enumerate(rows):
        filled[place, width - len(row) if left else 0 :][: len(row)] = row
    return torch.from_numpy(filled)
