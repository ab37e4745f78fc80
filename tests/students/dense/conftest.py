"""A small world to learn from: passages and queries of a few words, and a teacher's scores of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from limbeck.data import Judgements, Passage, Passages, Queries, Query
from limbeck.students.dense.lists import TrainingList
from limbeck.students.dense.student import DenseStudent

# Models this small lose time to threads, and sums in another order differ in their last bits.
torch.set_num_threads(1)

PASSAGES = 24
TEXTS = [
    "cat dog bird",
    "fish sea river",
    "berlin germany capital city",
    "paris france",
    "red green blue",
    "sum list number",
    "read file write",
    "sort list string number open close",
]


@dataclass(frozen=True)
class World:
    passages: Passages
    queries: Queries
    judgements: Judgements
    lists: list[TrainingList]


def make_world(folder: Path) -> World:
    """24 passages, 8 queries; each query has one positive, two hard negatives and one easy one."""
    texts = [
        f"{TEXTS[row % 8]} {' '.join(TEXTS[(row + 3) % 8].split()[: row // 8])}" for row in range(PASSAGES)
    ]
    passages = Passages.write(
        folder / "passages.arrow", [Passage(f"p{row}", text) for row, text in enumerate(texts)]
    )
    queries = Queries.write(
        folder / "queries.arrow", [Query(f"q{row}", " ".join(TEXTS[row].split()[:2])) for row in range(8)]
    )
    lists = [
        TrainingList(
            f"q{row}",
            [f"p{row}", f"p{row + 8}", f"p{(row + 1) % 8}", f"p{16 + (row + 4) % 8}"],
            [4.0, 1.5, -1.0, -3.0],
            2,
            [f"p{row}"],
        )
        for row in range(8)
    ]
    return World(passages, queries, Judgements((f"q{row}", f"p{row}", 1) for row in range(8)), lists)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def student(tiny_encoder_path: Path) -> DenseStudent:
    """A fresh student at step 0."""
    return DenseStudent.start(
        str(tiny_encoder_path), max_length=32, heads=4, hidden=16, features=8, device="cpu"
    )
