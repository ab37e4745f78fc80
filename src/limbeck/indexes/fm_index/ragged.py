"""Rows of different lengths as two flat arrays, the form in which compiled code takes and gives them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Tokens = Sequence[int] | NDArray[Any]

#: The highest token id.
LAST_TOKEN = 2**32 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """Rows of token ids, one after another.

    Args:
        offsets: (rows + 1,) int64; row `i` is `values[offsets[i]:offsets[i + 1]]`.
        values: (tokens,) uint32.

    Raises:
        InputError: offsets that do not fit the values, or values that are not token ids.

    Example:
        >>> rows = Ragged.from_rows([[5, 6], [], [7]])
        >>> rows[0].tolist(), len(rows), rows.lengths.tolist()
        ([5, 6], 3, [2, 0, 1])
    """

    offsets: NDArray[np.int64]
    values: NDArray[np.uint32]

    def __post_init__(self) -> None:
        # Compiled code reads where the offsets say.
        offsets, values = (
            integer_array(self.offsets, name="the offsets"),
            token_array(self.values, name="a row"),
        )
        if (
            offsets.ndim != 1
            or not len(offsets)
            or offsets[0]
            or offsets[-1] != len(values)
            or ((offsets[1:] < offsets[:-1]).any())
        ):
            raise InputError("the offsets do not fit", expected=f"rising integers from 0 to {len(values)}")
        object.__setattr__(self, "offsets", np.ascontiguousarray(offsets))
        object.__setattr__(self, "values", np.ascontiguousarray(values))

    @classmethod
    def from_rows(cls, rows: Iterable[Tokens], *, name: str = "row") -> Ragged:
        """Join sequences of token ids.

        Args:
            rows: lists or arrays.
            name: what a row is, for the error.

        Raises:
            InputError: a token id is not an integer between 0 and 2³² - 1.
        """
        rows = list(rows)
        offsets = np.zeros(len(rows) + 1, np.int64)
        if not all(isinstance(row, Sized) for row in rows):
            raise InputError(
                f"a {name} is not a sequence of token ids", expected="lists or arrays of integers"
            )
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        if all(isinstance(row, np.ndarray) for row in rows):
            checked = [token_array(row, name=f"{name} {index}") for index, row in enumerate(rows)]
            return cls(offsets, np.concatenate(checked) if checked else np.zeros(0, np.uint32))
        try:
            return cls(offsets, token_array(list(chain.from_iterable(rows)), name=name))
        except InputError:
            for index, row in enumerate(rows):  # slowly, to say which one it is
                token_array(row, name=f"{name} {index}")
            raise

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens in each row, (rows,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.uint32]:
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[NDArray[np.uint32]]:
        return (self[row] for row in range(len(self)))

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        """These rows, in this order, as a new object."""
        offsets, picked = pick(self.offsets, rows)
        return Ragged(offsets, self.values[picked])


def pick(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where chosen rows of a ragged array lie.

    Args:
        offsets: (all rows + 1,).
        rows: (rows,).

    Returns:
        The offsets of the chosen rows in the result, (rows + 1,), and the place of each of their values.
    """
    starts = offsets[rows]
    lengths = offsets[np.asarray(rows) + 1] - starts
    chosen = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=chosen[1:])
    return chosen, np.arange(chosen[-1]) + np.repeat(starts - chosen[:-1], lengths)


def token_array(tokens: Tokens, *, name: str = "a passage") -> NDArray[np.uint32]:
    """Token ids as uint32, (tokens,).

    Raises:
        InputError: one of them is not an integer between 0 and 2³² - 1; `name` says where it stands.
    """
    expected = "integers between 0 and 4294967295"
    try:
        values = np.asarray(tokens)
    except ValueError:
        raise InputError(f"{name} is not a flat sequence of token ids", expected=expected) from None
    if values.dtype == np.uint32 and values.ndim == 1:
        return values
    if values.ndim != 1:
        raise InputError(f"{name} is not a flat sequence of token ids", expected=expected)
    if not len(values):
        return np.zeros(0, np.uint32)
    if values.dtype.kind not in "iu":
        raise InputError(f"{name} has a token id that is not an integer", expected=expected)
    wrong = np.flatnonzero((values < 0) | (values > LAST_TOKEN))
    if len(wrong):
        raise InputError(f"{name} has the token id {values[wrong[0]]}", expected=expected)
    return values.astype(np.uint32)


def integer_array(values: ArrayLike, *, name: str) -> NDArray[np.int64]:
    """Integers as int64, of any shape; those beyond 2⁶³ - 1 become that, which is nobody's number.

    Raises:
        InputError: they are not integers that 64 bits hold; `name` says what they are.
    """
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise InputError(f"{name} are not integers", expected="integers")
    if array.dtype == np.uint64:
        array = np.minimum(array, np.uint64(2**63 - 1))
    return array.astype(np.int64, copy=False)
