"""Tokens as they come: which ids there are, and their codes in the text; compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limbeck.indexes.fm_index.kernels.compiling import compiled

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray


@compiled
def mark_seen(tokens: NDArray[np.uint32], seen: NDArray[np.bool_]) -> bool:  # pragma: no cover - compiled
    """Marks the ids of tokens (n,) in `seen` (table,); whether some are beyond it."""
    beyond = False
    size = np.uint32(len(seen))
    for token in tokens:
        if token < size:
            seen[token] = True
        else:
            beyond = True
    return beyond


@compiled
def encode(  # noqa: PLR0917
    tokens: NDArray[np.uint32],
    starts: NDArray[np.uint32],
    passage: int,
    position: int,
    table: NDArray[np.uint32],
    alphabet: NDArray[np.uint32],
    text: NDArray[Any],
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Writes the codes of tokens (n,) into `text` from `position` on, passing over passage ends.

    Args:
        tokens: ids, all in the alphabet.
        starts: (passages + 1,), where each passage starts in the text.
        passage: the passage in which `position` lies.
        position: where the first code goes.
        table: (ids,), the codes of small ids.
        alphabet: (codes,), all ids, ascending.
        text: (length + PADDING,) zeros; written to.

    Returns:
        The passage and position to go on with.
    """
    small = len(table)
    for index in range(len(tokens)):
        while position + 1 >= starts[passage + 1]:  # at an end: the 0 stays
            position += 1
            passage += 1
        token = np.int64(tokens[index])
        if token < small:
            text[position] = table[token]
        else:
            text[position] = np.searchsorted(alphabet, np.uint32(token)) + 1
        position += 1
    return passage, position
