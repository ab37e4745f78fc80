"""The passes before and after an 8-bit product, against what NumPy makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from limbeck.indexes.vectors.kernels import ZERO_POINT, branch_logits, quantize_hidden

FINITE = st.floats(-(2.0**96), 2.0**96, width=32, allow_subnormal=False)
SMALL = st.floats(-8, 8, width=32, allow_subnormal=False)


def quantized(halves: np.ndarray, query_half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    out, steps = np.full(halves.shape, 7, np.int8), np.full(len(halves), -1, np.float32)
    quantize_hidden(halves, query_half, out, steps)
    return out.astype(np.int64) + ZERO_POINT, steps


@settings(deadline=None)  # the first example waits for the compiler
@example(halves=np.full((1, 9), 1e-30, np.float32), query_half=np.zeros(9, np.float32))
@given(
    halves=arrays(np.float32, st.tuples(st.integers(0, 5), st.just(9)), elements=FINITE),
    query_half=arrays(np.float32, 9, elements=FINITE),
)
def test_a_unit_is_off_by_half_a_step_at_most_and_the_largest_by_nothing(halves, query_half):
    counts, steps = quantized(halves, query_half)
    hidden = np.maximum(halves + query_half, 0).astype(np.float64)
    wide = steps.astype(np.float64)[:, None]
    assert ((counts >= 0) & (counts <= 255)).all()
    assert (np.abs(counts * wide - hidden) <= wide * 0.501 + 1e-30).all()
    for row, largest in zip(counts, hidden.max(1, initial=0), strict=True):
        assert row.max() == (255 if largest > np.float32(1e-30) else 0)


def test_steps_of_a_hand_worked_passage():
    counts, steps = quantized(
        np.array([[1.0, -3.0, 50.0, 101.0], [-9, -9, -60, -9]], np.float32),
        np.array([1, 1, 1, 1], np.float32) * np.float32(0.5),
    )
    # The largest unit, 101.5, is 255 steps of 0.398; 1.5 are 3.77 of them, 50.5 are 126.87. Nothing is left
    # of the second passage.
    assert counts.tolist() == [[4, 0, 127, 255], [0, 0, 0, 0]]
    np.testing.assert_allclose(steps, [101.5 / 255, 0], rtol=1e-6)


@pytest.mark.parametrize("short", [0, 1])
def test_nothing_is_written_behind_an_output(short):
    rows = [3, 3]
    rows[short] = 2
    out, steps = np.empty((rows[0], 4), np.int8), np.empty(rows[1], np.float32)
    with pytest.raises(ValueError, match="another length"):
        quantize_hidden(np.ones((3, 4), np.float32), np.ones(4, np.float32), out, steps)


@settings(deadline=None)
@given(st.data(), st.integers(0, 4), st.integers(1, 5))
def test_logits_of_a_product(data, passages, features):
    def drawn(shape, kind=np.float32, elements=SMALL):
        return data.draw(arrays(kind, shape, elements=elements))

    products = drawn((passages, features), np.int32, st.integers(-(10**6), 10**6))
    taken = drawn(features, np.int32, st.integers(-(10**6), 10**6))
    steps, branch_steps = np.abs(drawn(passages)) * 1e-3, np.abs(drawn(features)) * 1e-3
    bias, output, out = drawn(features), drawn(features), np.full(passages, np.nan, np.float32)
    terms = np.stack([taken, branch_steps, bias, output]).astype(np.float32)
    branch_logits(products, steps.astype(np.float32), terms, out)
    expected = np.maximum(steps[:, None] * branch_steps * (products + taken) + bias, 0) @ output
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
