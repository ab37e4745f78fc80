"""The first layer of the interaction in one pass over memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def add_relu_bf16(
    halves: NDArray[np.float32], query_half: NDArray[np.float32], out: NDArray[np.uint16]
) -> None:
    """Writes ReLU(halves + query_half) as bfloat16, rounded to the nearest and to even.

    Args:
        halves: (passages, hidden), finite.
        query_half: (hidden,), finite.
        out: (passages, hidden), the upper halves of float32 numbers, which is what bfloat16 is.
    """
    row = np.empty(halves.shape[1], np.float32)
    bits = row.view(np.uint32)
    for passage in range(halves.shape[0]):
        # Two loops, for the compiler turns each into vector instructions, and not both in one.
        for unit in range(halves.shape[1]):
            total = halves[passage, unit] + query_half[unit]
            row[unit] = total if total > np.float32(0) else np.float32(0)
        for unit in range(halves.shape[1]):
            upper_is_odd = (bits[unit] >> np.uint32(16)) & np.uint32(1)
            out[passage, unit] = np.uint16((bits[unit] + np.uint32(0x7FFF) + upper_is_odd) >> np.uint32(16))
