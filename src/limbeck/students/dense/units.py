"""Where the logits of a student lie at step 0, and how far apart, beside the teacher's scores.

A loss that compares distributions or margins (KL, ListNet, MarginMSE) teaches two things at once: the order
of a list and how far apart its entries are. An ensemble of rankers that disagree spreads its lists less than
any one of them; a student that takes over its scores as they are spends its training on moving all passages
closer together, and ranks worse at the end than at the start. `spread_ratio` mends that.

D2LLM's contrastive imitation weighs each logit by the teacher's probability, a positive by another number
than a negative. So the loss of a list grows with all its logits together, and a student that starts with
those of a scaled cosine, far above the teacher's, learns first of all to move every text away from every
other. `level_offset` mends that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from limbeck.data import Passages, Queries
from limbeck.errors import InputError
from limbeck.students.dense.lists import TrainingList
from limbeck.students.dense.student import DenseStudent

#: Lists that are looked at; the mean of their deviations is then known to a few per cent.
SAMPLE = 64
#: A teacher may be sure of everything; no logit is.
_SURE = 1e-6


def spread_ratio(
    student: DenseStudent,
    lists: Sequence[TrainingList],
    *,
    queries: Queries,
    passages: Passages,
    task: str = "asymmetric",
) -> float:
    """What the teacher's scores are to be multiplied by, to spread as far as the student's logits do.

    Args:
        student: at step 0.
        lists: what it will learn from; the positives and hard negatives of evenly spaced ones are looked at.
        queries: texts of the queries.
        passages: texts of the passages as training sees them.
        task: branch of the interaction, `"symmetric"` or `"asymmetric"`.

    Returns:
        The mean standard deviation of a list's logits over that of its teacher scores, above 0.

    Raises:
        InputError: the teacher, or the student, gives every passage of each list the same score.
    """
    mine, taught = [], []
    for logits, scores in _sampled(student, lists, queries, passages, task):
        if len(logits) > 1:
            mine.append(float(np.std(logits)))
            taught.append(float(np.std(scores)))
    if not taught:
        return 1.0  # queries with easy negatives only: there is nothing to match
    if not (np.mean(taught) > 0 and np.mean(mine) > 0):
        flat = "teacher" if not np.mean(taught) > 0 else "student"
        raise InputError(
            f"the {flat} gives all passages of a list the same score",
            expected="scores that differ, so that their spread can be matched",
            remedy="look at teach/candidates.arrow, or set `loss.teacher_scale` in the recipe",
        )
    return float(np.mean(mine) / np.mean(taught))


def level_offset(
    student: DenseStudent,
    lists: Sequence[TrainingList],
    *,
    queries: Queries,
    passages: Passages,
    task: str = "asymmetric",
) -> float:
    """What is to be added to the student's logits, for their sigmoid to be the teacher's in the mean.

    The solution `b` of `mean σ(z_S + b) = mean σ(s_T)`: the bias of a logistic calibration whose slope is 1.

    Args:
        student: at step 0.
        lists: what it will learn from; the positives and hard negatives of evenly spaced ones are looked at.
        queries: texts of the queries.
        passages: texts of the passages as training sees them.
        task: branch of the interaction, `"symmetric"` or `"asymmetric"`.
    """
    found = list(_sampled(student, lists, queries, passages, task))
    if not found:
        return 0.0  # nothing to match; the training says that there is nothing to learn
    logits, scores = (np.concatenate(values) for values in zip(*found, strict=True))
    goal = np.clip(expit(scores).mean(), _SURE, 1 - _SURE)
    ends = logit(goal) - logits.max(), logit(goal) - logits.min()
    if ends[0] == ends[1]:
        return float(ends[0])
    return float(brentq(lambda offset: expit(logits + offset).mean() - goal, ends[0] - 1, ends[1] + 1))


def _sampled(
    student: DenseStudent, lists: Sequence[TrainingList], queries: Queries, passages: Passages, task: str
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The student's logits and the teacher's scores of evenly spaced lists."""
    for row in islice(lists, 0, None, max(1, -(-len(lists) // SAMPLE))):
        listed = row.passage_ids[: row.hard + 1]
        logits = student.score(queries.text(row.query_id), passages.contents(passages.rows(listed)), task)
        yield logits.astype(np.float64), np.asarray(row.scores[: row.hard + 1], np.float64)
