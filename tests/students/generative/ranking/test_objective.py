"""Objectives by name: published constants, units, and what cannot be had."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.losses import LIST_LOSSES, distilled_rank_net, positive_margin
from limbeck.students.generative.ranking.lists import QueryLists
from limbeck.students.generative.ranking.objective import RankingObjective, ranking_objective, spreads

SCORES = torch.tensor([[400.0, 900.0, 100.0]], dtype=torch.float64)
TEACHER = torch.tensor([[3.0, 2.0, 1.0]], dtype=torch.float64)
MASK = torch.ones(1, 3, dtype=torch.bool)


def test_dgr_with_published_constants_by_hand():
    objective = ranking_objective(published=True)
    assert (objective.name, objective.generation_weight) == ("distilled_rank_net", 500)
    # Pairs (0, 1): 3 · (500 + 300); (0, 2): 3 · (-300 + 300 + 100); (1, 2): met. The mean of the two.
    assert objective(SCORES, TEACHER, MASK).item() == pytest.approx((2400 + 300) / 2)


def test_ltrgr_with_published_constants_by_hand():
    objective = ranking_objective("positive_margin", published=True)
    assert objective.generation_weight == 1000
    assert objective(SCORES, TEACHER, MASK).item() == pytest.approx((800 + 0) / 2)


@pytest.mark.parametrize("loss", [distilled_rank_net, positive_margin])
def test_without_a_unit_by_default(loss):
    objective = ranking_objective(loss.__name__)
    assert objective.generation_weight == pytest.approx({"d": 2 / 3, "p": 4 / 3}[loss.__name__[0]])
    expected = loss(SCORES, TEACHER, MASK)
    assert torch.equal(objective(SCORES, TEACHER, MASK), expected)
    torch.testing.assert_close(objective(7 * SCORES, TEACHER, MASK), expected)


def test_other_losses_take_the_spreads_of_the_base(base):
    mine, taught = spreads(base.lists, base.matches)
    rows = list(base.lists)
    scores = [[base.matches.of(row.query_id, passage).score for passage in row.passage_ids] for row in rows]
    assert mine == pytest.approx(np.mean([np.std(of_list) for of_list in scores]))
    assert taught == pytest.approx(np.mean([np.std([*r.positive_scores, *r.negative_scores]) for r in rows]))
    objective = ranking_objective("kl_divergence", base.lists, base.matches, generation_weight=0.0)
    assert objective.generation_weight == 0
    expected = LIST_LOSSES["kl_divergence"](SCORES / mine, TEACHER / taught, MASK)
    torch.testing.assert_close(objective(SCORES, TEACHER, MASK), expected)


@pytest.mark.parametrize("name", sorted(LIST_LOSSES))
def test_every_loss_gives_a_finite_number_and_gradient(base, name):
    objective = ranking_objective(name, base.lists, base.matches)
    scores = SCORES.clone().requires_grad_()
    value = objective(scores, TEACHER, MASK)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(scores.grad).all()


def test_bad_input(base, refused):
    refused(lambda: ranking_objective("hinge"), "no loss 'hinge'")
    refused(lambda: ranking_objective("kl_divergence", published=True), "no published margins")
    refused(lambda: ranking_objective("kl_divergence"), "how far scores lie apart")
    flat = [QueryLists("q0", ["d0"], ["d1"], [2.0], [2.0])]
    refused(lambda: ranking_objective("list_net", flat, base.matches), "teacher gives all passages")
    with pytest.raises(InputError, match="generation weight is -1"):
        RankingObjective("mine", positive_margin, -1)
    with pytest.raises(InputError, match="above 0"):
        RankingObjective("mine", positive_margin, student_scale=0)
