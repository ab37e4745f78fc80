"""A small corpus that the tests of mining share."""

from __future__ import annotations

import pytest

from limbeck.data import Passage, Passages, Queries, Query

TEXTS = {
    "d1": ("Cats", "The cat sat on the mat."),
    "d2": ("", "A dog barks at the cat."),
    "d3": ("", "Fish swim in the sea."),
    "d4": ("Dogs", "Dogs run and dogs bark all day."),
    "d5": ("", "!!!"),
}


@pytest.fixture
def passages(tmp_path):
    return Passages.write(
        tmp_path / "passages.arrow", (Passage(id_, text, title) for id_, (title, text) in TEXTS.items())
    )


@pytest.fixture
def queries(tmp_path):
    asked = [("q1", "which dog barks"), ("q2", "cats"), ("q3", "zebra"), ("q4", "fish in the sea")]
    return Queries.write(tmp_path / "queries.arrow", (Query(*query) for query in asked))
