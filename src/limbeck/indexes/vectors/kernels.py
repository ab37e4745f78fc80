"""What an 8-bit scan does beside its product, each in one pass over memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What is taken from a hidden unit's count, 0 to 255, so that it fits the signed numbers of a product.
ZERO_POINT = 128
# A passage whose units are all below this counts as silent; 255 over it is still finite.
_SILENT = np.float32(1e-30)


@njit(nogil=True, cache=True)
def quantize_hidden(
    halves: NDArray[np.float32],
    query_half: NDArray[np.float32],
    out: NDArray[np.int8],
    steps: NDArray[np.float32],
) -> None:
    """Writes ReLU(halves + query_half) as counts of 255 steps from 0 to the largest unit of a passage.

    Args:
        halves: (passages, hidden), finite.
        query_half: (hidden,), finite.
        out: (passages, hidden), the counts less `ZERO_POINT`.
        steps: (passages,), how large a step is.

    Raises:
        ValueError: an output has another length; compiled code would write over what lies behind it.
    """
    if not halves.shape[0] == out.shape[0] == steps.shape[0]:
        raise ValueError("the outputs have another length than the passages")
    row = np.empty(halves.shape[1], np.float32)
    bits = row.view(np.int32)
    peak = np.empty(1, np.float32)
    peak_bits = peak.view(np.int32)
    for passage in range(halves.shape[0]):
        # Three loops, for the compiler turns each into vector instructions, and not all in one. Numbers from
        # 0 on are in the order of their bits, whose maximum it can take in any order.
        for unit in range(halves.shape[1]):
            total = halves[passage, unit] + query_half[unit]
            row[unit] = total if total > np.float32(0) else np.float32(0)
        largest_bits = np.int32(0)
        for unit in range(halves.shape[1]):
            largest_bits = max(largest_bits, bits[unit])
        peak_bits[0] = largest_bits
        scale = np.float32(255) / peak[0] if peak[0] > _SILENT else np.float32(0)
        for unit in range(halves.shape[1]):
            out[passage, unit] = np.int8(np.int32(row[unit] * scale + np.float32(0.5)) - ZERO_POINT)
        steps[passage] = peak[0] / np.float32(255)


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def branch_logits(
    products: NDArray[np.int32],
    steps: NDArray[np.float32],
    features: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Writes output · ReLU(branch · h + branch_bias), given the 8-bit product of branch and h.

    Args:
        products: (passages, feature), of what `quantize_hidden` wrote and the branch's counts.
        steps: (passages,), of `quantize_hidden`.
        features: (4, feature): what `ZERO_POINT` took from every product; how large a step of the branch's
            weights is; its bias; the output's weight.
        out: (passages,).
    """
    taken, branch_steps, bias, output = features[0], features[1], features[2], features[3]
    for passage in range(products.shape[0]):
        logit = np.float32(0)
        for feature in range(products.shape[1]):
            counted = np.float32(products[passage, feature]) + taken[feature]
            value = steps[passage] * branch_steps[feature] * counted + bias[feature]
            logit += output[feature] * (value if value > np.float32(0) else np.float32(0))
        out[passage] = logit
