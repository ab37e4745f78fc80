"""How teacher scores and student logits are brought to one unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from limbeck.errors import InputError
from limbeck.students.dense.units import SAMPLE, level_offset, sampled_scores, spread_ratio


def own_scores(student, world, row, factor, shift):
    """A teacher that says what the student says, in another unit."""
    texts = world.passages.contents(world.passages.rows(row.passage_ids))
    return (factor * student.score(world.queries.text(row.query_id), texts) + shift).tolist()


def ratio(student, world, lists):
    return spread_ratio(sampled_scores(student, lists, queries=world.queries, passages=world.passages))


def test_a_teacher_in_another_unit_is_brought_back(student, world):
    lists = [replace(row, scores=own_scores(student, world, row, 0.25, 7.0)) for row in world.lists]
    assert ratio(student, world, lists) == pytest.approx(4.0, rel=1e-3)


def test_it_is_the_ratio_of_the_mean_deviations_without_easy_negatives(student, world):
    lists = world.lists[:3]
    mine, taught = [], []
    for row in lists:
        listed = row.passage_ids[: row.hard + 1]
        texts = world.passages.contents(world.passages.rows(listed))
        mine.append(np.std(student.score(world.queries.text(row.query_id), texts)))
        taught.append(np.std(row.scores[: row.hard + 1]))
    assert ratio(student, world, lists) == pytest.approx(np.mean(mine) / np.mean(taught), rel=1e-3)


def test_many_lists_are_sampled_evenly(student, world):
    first = replace(world.lists[0], scores=own_scores(student, world, world.lists[0], 0.5, 0.0))
    other = replace(first, scores=[0.0] * len(first.scores))
    # Every second list is looked at; the others would halve the teacher's spread.
    assert ratio(student, world, [first, other] * SAMPLE) == pytest.approx(2.0, rel=1e-3)


def test_a_teacher_that_ties_everything_is_refused(student, world):
    lists = [replace(row, scores=[1.0] * len(row.scores)) for row in world.lists]
    with pytest.raises(InputError, match="teacher gives all passages of a list the same score"):
        ratio(student, world, lists)


def test_lists_without_hard_negatives_leave_the_teacher_as_it_is(student, world):
    lists = [replace(row, hard=0) for row in world.lists]
    assert ratio(student, world, lists) == 1.0


def offset(student, world, lists):
    return level_offset(sampled_scores(student, lists, queries=world.queries, passages=world.passages))


def test_a_student_above_its_teacher_is_brought_down(student, world):
    lists = [replace(row, scores=own_scores(student, world, row, 1.0, -7.0)) for row in world.lists]
    assert offset(student, world, lists) == pytest.approx(-7.0, abs=1e-3)


def test_with_the_offset_the_probabilities_agree_in_the_mean(student, world):
    found = offset(student, world, world.lists)
    mine, taught = [], []
    for row in world.lists:
        listed = row.passage_ids[: row.hard + 1]
        texts = world.passages.contents(world.passages.rows(listed))
        mine.extend(expit(student.score(world.queries.text(row.query_id), texts) + found))
        taught.extend(expit(row.scores[: row.hard + 1]))
    assert np.mean(mine) == pytest.approx(np.mean(taught), abs=1e-4)


@pytest.mark.parametrize("sure", [-2000.0, 2000.0])
def test_a_teacher_that_is_sure_of_everything_asks_for_no_infinite_logit(student, world, sure):
    lists = [replace(row, scores=[sure] * len(row.scores)) for row in world.lists]
    assert abs(offset(student, world, lists)) < 100


def test_without_lists_nothing_is_moved(student, world):
    assert offset(student, world, []) == 0.0
    assert ratio(student, world, []) == 1.0


def test_a_single_passage_has_a_level_too(student, world):
    row = replace(world.lists[0], hard=0)
    text = world.passages.contents(world.passages.rows(row.passage_ids[:1]))
    logit = float(student.score(world.queries.text(row.query_id), text)[0])
    row = replace(row, scores=[0.7] * len(row.scores))
    assert offset(student, world, [row]) == pytest.approx(0.7 - logit, abs=1e-3)
