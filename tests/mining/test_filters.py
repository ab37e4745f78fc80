from __future__ import annotations

import pytest

from limbeck.data import Judgements, Rankings
from limbeck.errors import InputError
from limbeck.mining import drop_likely_positives, without_positives

JUDGED = Judgements([("q1", "a", 2), ("q1", "b", 1), ("q1", "z", 0)])


def test_without_positives():
    rankings = Rankings.from_dict({"q1": {"a": 3, "x": 2, "z": 1}, "q2": {"a": 1}}, "bm25")
    left = without_positives(rankings, JUDGED)
    assert left.to_dict() == {"q1": {"x": 2, "z": 1}, "q2": {"a": 1}}
    assert left.source == "bm25"


def test_likely_positives_are_dropped():
    scores = {"a": 0.9, "b": 0.6, "x": 0.55, "y": 0.54, "w": 0.1, "z": 0.8}
    rankings = Rankings.from_dict({"q1": scores, "q2": {"x": 0.9}}, "teacher")
    left = drop_likely_positives(rankings, JUDGED, 0.9)
    # The lowest positive has 0.6, so what is above 0.54 goes; z was judged, q2 has no positive.
    assert left.to_dict() == {"q1": {k: scores[k] for k in ("a", "z", "b", "y", "w")}, "q2": {"x": 0.9}}


def test_a_share_needs_scores_from_zero_on():
    with pytest.raises(InputError, match="negative score -2"):
        drop_likely_positives(Rankings.from_dict({"q1": {"a": 1, "x": -2}}, "t"), JUDGED, 0.9)
    with pytest.raises(InputError, match="0 to 1"):
        drop_likely_positives(Rankings.empty(), JUDGED, 1.5)
