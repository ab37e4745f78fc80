from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from limbeck.indexes.vectors.scoring import Best, best_positions

# few values, so that ties abound
scores = st.lists(st.integers(-2, 2), min_size=1, max_size=30)


@given(scores, st.integers(1, 35), st.integers(1, 8))
def test_best_of_blocks_is_best_of_all(values, k, block):
    best = Best(k)
    for start in range(0, len(values), block):
        best.add(start, np.array(values[start : start + block], dtype=np.float32))
    rows, found = best.result()
    expected = sorted(range(len(values)), key=lambda row: (-values[row], row))[:k]
    assert rows.tolist() == expected
    assert found.tolist() == [values[row] for row in expected]


@given(scores.filter(lambda values: len(values) > 1), st.data())
def test_best_positions_prefer_the_earlier_of_equals(values, data):
    k = data.draw(st.integers(1, len(values) - 1))
    expected = sorted(range(len(values)), key=lambda row: (-values[row], row))[:k]
    assert best_positions(np.array(values, dtype=np.float32), k).tolist() == sorted(expected)
