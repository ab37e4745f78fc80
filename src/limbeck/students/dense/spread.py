"""How far the scores of a list lie apart, in the teacher's unit and in the student's.

A loss that compares distributions or margins (KL, ListNet, MarginMSE) teaches two things at once: the order
of a list and how far apart its entries are. An ensemble of rankers that disagree spreads its lists less than
any one of them; a student that takes over its scores as they are spends its training on moving all passages
closer together, and ranks worse at the end than at the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from limbeck.data import Passages, Queries
from limbeck.errors import InputError
from limbeck.students.dense.lists import TrainingList
from limbeck.students.dense.student import DenseStudent

#: Lists that are looked at; the mean of their deviations is then known to a few per cent.
SAMPLE = 64


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
    stride = max(1, -(-len(lists) // SAMPLE))
    mine, taught = [], []
    for row in islice(lists, 0, None, stride):
        listed = row.passage_ids[: row.hard + 1]
        if len(listed) > 1:
            logits = student.score(queries.text(row.query_id), passages.contents(passages.rows(listed)), task)
            mine.append(float(np.std(logits)))
            taught.append(float(np.std(row.scores[: row.hard + 1])))
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
