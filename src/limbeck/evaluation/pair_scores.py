"""What one system scores on a set of pairs, as a file: a line a pair, in the order of the set.

    split   row  label  score
    dev     0    1.0    0.8312
    test    0    0.0    -1.25

Numbers are written so that they come back as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limbeck.data.formats.fields import columns, finite_number
from limbeck.errors import InputError
from limbeck.files import Records, first_line, write_text

Split = Literal["dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
COLUMNS = ("split", "row", "label", "score")

_EXPECTED = "a first line of split, row, label, score, separated by tabs"


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """The pairs of a split with what a system makes of them.

    Attributes:
        labels: shape (pairs,): similarities, or 0 and 1.
        scores: shape (pairs,), larger for pairs that are more alike.

    Raises:
        InputError: for other shapes, no pair, NaN or infinity.
    """

    labels: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __init__(self, labels: ArrayLike, scores: ArrayLike) -> None:
        for name, sample in (("labels", labels), ("scores", scores)):
            values = np.asarray(sample, dtype=np.float64)
            if values.ndim != 1 or not len(values):
                raise InputError(f"{name} have the shape {values.shape}", expected="one a pair")
            bad = np.flatnonzero(~np.isfinite(values))
            if len(bad):
                raise InputError(
                    f"the {name[:-1]} of pair {bad[0] + 1} is {values[bad[0]]}", expected="a finite number"
                )
            object.__setattr__(self, name, values)
        if len(self.labels) != len(self.scores):
            raise InputError(f"there are {len(self.scores)} scores for {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)


def write_pair_scores(path: Path, splits: Mapping[Split, ScoredPairs]) -> None:
    """Write the scores of one system, atomically.

    Args:
        path: the file, `.tsv` or `.tsv.gz`.
        splits: `dev` and `test`, or one of them.

    Raises:
        InputError: for another split.

    Example:
        >>> write_pair_scores(Path("teacher.tsv"), {"test": ScoredPairs([5.0, 0.0], [0.9, 0.1])})
    """
    unknown = next((name for name in splits if name not in SPLITS), None)
    if unknown is not None:
        raise InputError(f"there is no split {unknown!r}", expected=" or ".join(SPLITS))
    with write_text(path) as stream:
        stream.write("\t".join(COLUMNS) + "\n")
        for split, pairs in splits.items():
            rows = zip(pairs.labels.tolist(), pairs.scores.tolist(), strict=True)
            stream.writelines(
                f"{split}\t{row}\t{label!r}\t{score!r}\n" for row, (label, score) in enumerate(rows)
            )


def read_pair_scores(path: Path) -> dict[Split, ScoredPairs]:
    """Read what `write_pair_scores` wrote.

    Raises:
        InputError: with file and line, for another heading, another split, rows that do not count up from 0
            in each split, a label or score that is no finite number.

    Example:
        >>> read_pair_scores(Path("teacher.tsv"))["test"].scores.tolist()
        [0.9, 0.1]
    """
    if tuple(first_line(path).split("\t")) != COLUMNS:
        raise InputError("these are no scores of pairs", path=path, line=1, expected=_EXPECTED)
    found: dict[Split, tuple[list[float], list[float]]] = {}

    def parse(line: str) -> tuple[Split, float, float]:
        split, row, label, score = columns(line.split("\t"), COLUMNS, separator="tabs")
        if split not in SPLITS:
            raise InputError(f"the split is {split!r}", expected=" or ".join(SPLITS))
        so_far = len(found.get(split, ([], []))[0])
        if row != str(so_far):
            raise InputError(f"the row is {row!r}", expected=f"{so_far}, the next one of {split}")
        return split, finite_number(label, "label"), finite_number(score, "score")

    for split, label, score in Records(path, parse, skip=1):
        labels, scores = found.setdefault(split, ([], []))
        labels.append(label)
        scores.append(score)
    return {split: ScoredPairs(labels, scores) for split, (labels, scores) in found.items()}
