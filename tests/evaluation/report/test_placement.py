from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.evaluation.report.placement import Box, place_labels

BOUNDS = Box(0, 0, 600, 400)


def test_overlap_by_hand():
    assert Box(0, 0, 4, 4).overlap(Box(2, 1, 6, 3)) == 4
    assert Box(0, 0, 1, 1).overlap(Box(1, 0, 2, 1)) == 0
    assert Box(0, 0, 4, 2).outside(Box(1, 0, 9, 9)) == 2


def test_a_lonely_label_stands_to_the_right_of_its_point():
    (label,) = place_labels([(100, 100)], [(50, 10)], BOUNDS)
    assert label.box == Box(107, 95, 157, 105)
    assert not label.leader


def test_at_the_right_edge_it_stands_to_the_left():
    (label,) = place_labels([(590, 100)], [(50, 10)], BOUNDS)
    assert label.box.right == 583


def test_six_systems_in_a_narrow_frame_do_not_overlap():
    # Three of them at the same speed: the common case.
    points = [(60.0, 60.0), (180.0, 200.0), (182.0, 203.0), (181.0, 240.0), (200.0, 260.0), (270.0, 300.0)]
    markers = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    labels = place_labels(points, [(90, 28)] * 6, Box(0, 0, 310, 340), markers)
    for label in labels:
        assert label.box.outside(Box(0, 0, 310, 340)) == pytest.approx(0)
        assert all(label.box.overlap(marker) == 0 for marker in markers)
    assert all(one.box.overlap(other.box) == 0 for one, other in combinations(labels, 2))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(20, 580), st.floats(20, 380)), min_size=1, max_size=5))
def test_few_labels_always_find_free_places(points):
    labels = place_labels(points, [(70, 14)] * len(points), BOUNDS)
    assert all(label.box.outside(BOUNDS) == pytest.approx(0) for label in labels)
    assert all(one.box.overlap(other.box) < 1e-6 for one, other in combinations(labels, 2))


def test_without_a_free_place_every_label_still_gets_one():
    labels = place_labels([(10, 10)] * 4, [(500, 300)] * 4, Box(0, 0, 20, 20))
    assert len(labels) == 4
