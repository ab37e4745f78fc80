"""Recipes name the losses without importing them, which would import torch."""

from __future__ import annotations

from typing import get_args

from limbeck.losses import LIST_LOSSES
from limbeck.recipes import ListLossRecipe


def test_recipes_name_every_loss_on_rank_lists_and_no_other():
    names = get_args(ListLossRecipe.model_fields["kind"].annotation)
    assert list(names) == sorted(LIST_LOSSES)
