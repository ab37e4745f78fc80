"""Rows of different lengths."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.indexes.fm_index import Ragged


def test_rows_come_back_as_they_were_given():
    rows = [[1, 2], [], [2**32 - 1]]
    for given in (rows, [np.array(row, np.int64) for row in rows], (tuple(row) for row in rows)):
        ragged = Ragged.from_rows(given)
        assert [row.tolist() for row in ragged] == rows
        assert ragged.lengths.tolist() == [2, 0, 1]
        assert ragged.values.dtype == np.uint32
    assert ragged[-1].tolist() == [2**32 - 1]
    with pytest.raises(IndexError):
        ragged[3]


def test_chosen_rows():
    ragged = Ragged.from_rows([[1, 2], [], [3], [4, 5, 6]])
    assert [row.tolist() for row in ragged.take(np.array([3, 1, 3]))] == [[4, 5, 6], [], [4, 5, 6]]
    assert len(ragged.take(np.zeros(0, np.int64))) == 0
    assert len(Ragged.from_rows([])) == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1], [2**32]], "row 1 has the token id 4294967296"),
        ([[1], [-1]], "row 1 has the token id -1"),
        ([[1], ["a"]], "row 1 has a token id that is not an integer"),
        ([[1], [2**70]], "row 1 has a token id that is not an integer"),
        ([[1], [[2]]], "not a flat sequence"),
        ([np.array([0.5])], "row 0 has a token id that is not an integer"),
    ],
)
def test_what_is_no_token_id_is_refused(rows, message):
    with pytest.raises(InputError, match=message):
        Ragged.from_rows(rows)
