"""The inner loop of the checksum of a file; compiled. `file_format` says what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limbeck.indexes.fm_index.kernels.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compiled
def mix(words: NDArray[np.uint64], lanes: NDArray[np.uint64]) -> None:  # pragma: no cover - compiled
    """Takes words (8 * n,) into the eight lanes."""
    prime = np.uint64(0x9E3779B97F4A7C15)
    a, b, c, d, e, f, g, h = lanes
    for index in range(0, len(words), 8):
        a = (a ^ words[index]) * prime
        b = (b ^ words[index + 1]) * prime
        c = (c ^ words[index + 2]) * prime
        d = (d ^ words[index + 3]) * prime
        e = (e ^ words[index + 4]) * prime
        f = (f ^ words[index + 5]) * prime
        g = (g ^ words[index + 6]) * prime
        h = (h ^ words[index + 7]) * prime
    lanes[:] = (a, b, c, d, e, f, g, h)
