"""A small collection, and a teacher that counts what it is asked."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.data import Judgements, Passage, Passages, Queries, Query, Rankings

TEXTS = [
    ("d1", "Cats", "The cat sat on the mat."),
    ("d2", "", "A dog barks at the cat."),
    ("d3", "", "Fish swim in the sea."),
    ("d4", "Dogs", "Dogs run and dogs bark all day."),
]
ASKED = [("q1", "which dog barks"), ("q2", "cats"), ("q3", "fish in the sea")]


class CountingTeacher:
    """The number of characters that query and passage share; remembers all pairs that it was asked."""

    prompt = ""

    def __init__(self, name="counting", version="1"):
        self.name = name
        self.version = version
        self.asked = []

    def score(self, pairs):
        self.asked += pairs
        return np.array([len(set(query) & set(passage)) for query, passage in pairs], float)


@pytest.fixture
def passages(tmp_path):
    return Passages.write(tmp_path / "passages.arrow", (Passage(i, text, title) for i, title, text in TEXTS))


@pytest.fixture
def queries(tmp_path):
    return Queries.write(tmp_path / "queries.arrow", (Query(*query) for query in ASKED))


@pytest.fixture
def judgements():
    return Judgements([("q1", "d2", 1), ("q1", "d4", 2), ("q2", "d1", 1), ("q3", "d3", 1)])


@pytest.fixture
def candidates():
    """All passages for all queries, in a poor order."""
    everything = {passage_id: float(at) for at, (passage_id, _, _) in enumerate(TEXTS)}
    return Rankings.from_dict({query_id: everything for query_id, _ in ASKED}, "bm25")


@pytest.fixture
def counting():
    return CountingTeacher()
