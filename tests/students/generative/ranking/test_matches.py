from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.indexes.fm_index import Ragged
from limbeck.students.generative.identifiers import ViewSettings
from limbeck.students.generative.ranking.matches import Matches, MatchSettings, PassageMatches

SETTINGS = MatchSettings([ViewSettings("body", False, 10)], 0, "fingerprint")


def matches(tokens: list[list[int]], contributions: list[float]) -> PassageMatches:
    size = len(tokens)
    return PassageMatches(
        np.zeros(size, np.int64),
        Ragged.from_rows(tokens),
        np.full(size, -9.0),
        np.ones(size),
        np.arange(size),
        np.array(contributions),
    )


def test_files_join_to_one(tmp_path: Path):
    first = Matches.write(tmp_path / "a", [("q1", "p1", matches([[5, 6], [7]], [3.0, 1.5]))], SETTINGS)
    second = Matches.write(tmp_path / "b", [("q2", "p1", matches([[8]], [2.0]))], SETTINGS)
    both = Matches.joined([first, second])
    assert len(both) == 2
    assert both.of("q1", "p1").score == 4.5
    assert [row.tolist() for row in both.of("q1", "p1").tokens] == [[5, 6], [7]]
    assert both.of("q2", "p1").contributions.tolist() == [2.0]
    with pytest.raises(InputError, match="no identifiers were collected for query 'q2' and passage 'p2'"):
        both.of("q2", "p2")


def test_files_of_different_vocabularies_do_not_join(tmp_path: Path):
    first = Matches.write(tmp_path / "a", [("q1", "p1", matches([[5]], [1.0]))], SETTINGS)
    other = replace(SETTINGS, vocabulary="another")
    second = Matches.write(tmp_path / "b", [("q2", "p1", matches([[5]], [1.0]))], other)
    with pytest.raises(InputError, match="different views or vocabularies"):
        Matches.joined([first, second])
