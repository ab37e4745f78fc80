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

from collections.abc import Sequence
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


#: The student's logits and the teacher's scores of some lists: the positive, then its hard negatives.
Sample = Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]


def sampled_scores(
    student: DenseStudent, lists: Sequence[TrainingList], *, queries: Queries, passages: Passages
) -> Sample:
    """What student and teacher say of evenly spaced lists, easy negatives left out.

    Args:
        student: at step 0.
        lists: what it will learn from.
        queries: texts of the queries.
        passages: texts of the passages as training sees them.
    """
    found = []
    for row in islice(lists, 0, None, max(1, -(-len(lists) // SAMPLE))):
        listed = row.passage_ids[: row.hard + 1]
        logits = student.score(queries.text(row.query_id), passages.contents(passages.rows(listed)))
        found.append((logits.astype(np.float64), np.asarray(row.scores[: row.hard + 1], np.float64)))
    return found


def spread_ratio(sample: Sample) -> float:
    """What the teacher's scores are to be multiplied by, to spread as far as the student's logits do.

    The mean standard deviation of a list's logits over that of its teacher scores; 1 where no list has hard
    negatives, for then there is nothing to match.

    Raises:
        InputError: the teacher, or the student, gives every passage of each list the same score.
    """
    spreads = [(np.std(logits), np.std(scores)) for logits, scores in sample if len(logits) > 1]
    if not spreads:
        return 1.0
    mine, taught = np.mean(spreads, axis=0)
    if not (taught > 0 and mine > 0):
        raise InputError(
            f"the {'student' if taught > 0 else 'teacher'} gives all passages of a list the same score",
            expected="scores that differ, so that their spread can be matched",
            remedy="look at teach/candidates.arrow, or set `loss.teacher_scale` in the recipe",
        )
    return float(mine / taught)


def level_offset(sample: Sample) -> float:
    """What is to be added to the student's logits, for their sigmoid to be the teacher's in the mean.

    The solution `b` of `mean σ(z_S + b) = mean σ(s_T)`: the bias of a logistic calibration whose slope is 1.
    It is 0 where there are no lists; the training then says that there is nothing to learn.

    Example:
        >>> round(level_offset([(np.array([14.0]), np.array([-4.6]))]), 6)
        -18.6
    """
    if not sample:
        return 0.0
    logits, scores = (np.concatenate(values) for values in zip(*sample, strict=True))
    goal = np.clip(expit(scores).mean(), _SURE, 1 - _SURE)
    low, high = logit(goal) - logits.max(), logit(goal) - logits.min()
    # A margin, for at the ends rounding may leave either sign.
    return float(brentq(lambda offset: expit(logits + offset).mean() - goal, low - 1, high + 1))
