"""What training on passage scores minimises: a loss on rank lists, and the loss of generation beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from torch import Tensor

from limbeck.errors import InputError
from limbeck.losses import LIST_LOSSES, ListLoss, distilled_rank_net, positive_margin
from limbeck.losses.pairwise import RELATIVE_MARGIN
from limbeck.students.generative.ranking.lists import QueryLists
from limbeck.students.generative.ranking.matches import Matches

#: Published margins of the squared identifier scores: DGR's m and n, and LTRGR's m is the same.
MARGIN, DISTANCE_MARGIN = 300.0, 100.0
#: Published weights of the generation loss beside those margins: DGR, LTRGR.
GENERATION_WEIGHT, LTRGR_GENERATION_WEIGHT = 500.0, 1000.0
#: Without a unit, the generation loss stands in the same proportion to the margin.
RELATIVE_GENERATION_WEIGHT = GENERATION_WEIGHT * RELATIVE_MARGIN / MARGIN
#: Losses that look at the order alone or bring the scores of a list to one spread themselves.
_SCALE_FREE = {"distilled_rank_net", "positive_margin", "rank_imitation"}
#: Lists whose spread is looked at; the mean of their deviations is then known to a few per cent.
_SAMPLE = 256


@dataclass(frozen=True)
class RankingObjective:
    """A loss on lists, and the weight of the generation loss.

    Args:
        name: of the list loss.
        list_loss: on student's and teacher's scores (batch, list).
        generation_weight: of the generation loss; 0 leaves it out.
        student_scale: what passage scores are multiplied by: squared odds run into hundreds, where a softmax
            sees one passage alone.
        teacher_scale: what the teacher's scores are multiplied by.

    Raises:
        InputError: a negative weight, or a scale that is not above 0.
    """

    name: str
    list_loss: ListLoss
    generation_weight: float = RELATIVE_GENERATION_WEIGHT
    student_scale: float = 1.0
    teacher_scale: float = 1.0

    def __post_init__(self) -> None:
        if not (self.generation_weight >= 0 and self.student_scale > 0 and self.teacher_scale > 0):
            raise InputError(
                f"the generation weight is {self.generation_weight}, the scales are {self.student_scale} and "
                f"{self.teacher_scale}",
                expected="a weight of 0 or more, and scales above 0",
            )

    def __call__(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """The rank loss of scores (batch, list); the mask is True for a real entry."""
        return self.list_loss(self.student_scale * student, self.teacher_scale * teacher, mask)


def ranking_objective(
    name: str = "distilled_rank_net",
    lists: Sequence[QueryLists] = (),
    matches: Matches | None = None,
    *,
    published: bool = False,
    generation_weight: float | None = None,
) -> RankingObjective:
    """A loss by its name, in units that suit the student.

    `distilled_rank_net` is DGR's, `positive_margin` LTRGR's, which does not look at the teacher; they and
    `rank_imitation` bring the scores of a list to one spread. For the other losses of `limbeck.losses` the
    passage scores and the teacher's are divided by the mean standard deviation that they have in the lists
    before training.

    Args:
        name: one of `limbeck.losses.LIST_LOSSES`.
        lists: what will be learnt; needed for the losses that take a scale.
        matches: of the lists; needed with them.
        published: takes the published margins, 300 and 100, in units of the score.
        generation_weight: None takes the published one for published margins, 500 for DGR and 1000 for LTRGR;
            without a unit, the one that stands to the margin as that does.

    Raises:
        InputError: an unknown loss, published margins of a loss that has none, or scores that are all equal.

    Example:
        >>> objective = ranking_objective("positive_margin", published=True)
        >>> objective.generation_weight
        1000.0
    """
    if name not in LIST_LOSSES:
        raise InputError(f"there is no loss '{name}'", expected=" or ".join(sorted(LIST_LOSSES)))
    losses: dict[str, tuple[ListLoss, float]] = {
        "distilled_rank_net": (
            partial(distilled_rank_net, margin=MARGIN, distance_margin=DISTANCE_MARGIN),
            GENERATION_WEIGHT,
        ),
        "positive_margin": (partial(positive_margin, margin=MARGIN), LTRGR_GENERATION_WEIGHT),
    }
    if published and name not in losses:
        raise InputError(
            f"the loss '{name}' has no published margins", expected=f"published margins of {sorted(losses)}"
        )
    _, weight = losses.get(name, (None, GENERATION_WEIGHT))
    if not published:
        weight *= RELATIVE_GENERATION_WEIGHT / GENERATION_WEIGHT
    weight = weight if generation_weight is None else generation_weight
    if published:
        return RankingObjective(name, losses[name][0], weight)
    if name in _SCALE_FREE:
        return RankingObjective(name, LIST_LOSSES[name], weight)
    student, teacher = spreads(lists, matches)
    return RankingObjective(name, LIST_LOSSES[name], weight, 1 / student, 1 / teacher)


def spreads(lists: Sequence[QueryLists], matches: Matches | None) -> tuple[float, float]:
    """How far scores lie apart in a list: the mean standard deviation of the student's and the teacher's.

    Args:
        lists: evenly spaced ones are looked at.
        matches: with the student's scores before training.

    Raises:
        InputError: no lists or no matches, or either gives all passages of each list the same score.
    """
    if not len(lists) or matches is None:
        raise InputError(
            "the loss needs to know how far scores lie apart", expected="lists, with their matches"
        )
    stride = max(1, -(-len(lists) // _SAMPLE))
    mine, taught = [], []
    for row in islice(lists, 0, None, stride):
        mine.append(np.std([matches.of(row.query_id, passage).score for passage in row.passage_ids]))
        taught.append(np.std([*row.positive_scores, *row.negative_scores]))
    for name, found in (("student", mine), ("teacher", taught)):
        if not np.mean(found) > 0:
            raise InputError(
                f"the {name} gives all passages of each list the same score",
                expected="scores that differ, so that their unit is known",
                remedy="take a loss that looks at the order alone, such as 'distilled_rank_net'",
            )
    return float(np.mean(mine)), float(np.mean(taught))
