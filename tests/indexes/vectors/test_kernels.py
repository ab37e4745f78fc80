"""The first layer in bfloat16 against what torch makes of it, bit by bit."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from limbeck.indexes.vectors.kernels import add_relu_bf16

FINITE = st.floats(-(2.0**96), 2.0**96, width=32, allow_subnormal=False)


@settings(deadline=None)  # the first example waits for the compiler
@given(
    halves=arrays(np.float32, st.tuples(st.integers(0, 5), st.just(9)), elements=FINITE),
    query_half=arrays(np.float32, 9, elements=FINITE),
)
def test_it_is_the_sum_the_relu_and_the_rounding_of_torch(halves, query_half):
    out = np.full(halves.shape, 0xFFFF, np.uint16)
    add_relu_bf16(halves, query_half, out)
    expected = (torch.from_numpy(halves) + torch.from_numpy(query_half)).relu().bfloat16()
    found = torch.from_numpy(out).view(torch.bfloat16)
    # As numbers, since ReLU leaves torch a negative zero now and then.
    assert torch.equal(found.float(), expected.float())


def test_halfway_it_rounds_to_even():
    # bfloat16 keeps 8 bits: between 1 and 1 + 2^-7 lies 1 + 2^-8, and its even neighbour is 1.
    sums = np.array([[1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20]], np.float32)
    out = np.empty(sums.shape, np.uint16)
    add_relu_bf16(sums, np.zeros(3, np.float32), out)
    assert torch.from_numpy(out).view(torch.bfloat16).tolist() == [[1.0, 1 + 2**-6, 1 + 2**-7]]
