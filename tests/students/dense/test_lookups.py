"""Sparse lookups: the same gradients as dense ones, however often and in whatever way a table is read."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from limbeck.students.dense.lookups import sparse_lookups


@pytest.fixture
def table() -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(10, 3, padding_idx=0)


def losses(table: nn.Embedding) -> list[torch.Tensor]:
    """Two lookups, of tokens that come twice, of padding, and of some that both have."""
    looked_up = [table(torch.tensor(ids)) for ids in ([[1, 2, 2, 0]], [[2, 5, 9]])]
    return [(rows**2).sum() for rows in looked_up]


def test_gradients_are_those_of_dense_lookups(table: nn.Embedding):
    sum(losses(table)).backward()
    expected = table.weight.grad.clone()
    assert expected[[1, 2, 5, 9]].ne(0).all()
    assert expected[[0, 3]].eq(0).all()
    table.weight.grad = None
    with sparse_lookups(table):
        sum(losses(table)).backward()
        assert not table.weight.grad.is_sparse
    torch.testing.assert_close(table.weight.grad, expected)


def test_gradients_add_up_over_backward_passes(table: nn.Embedding):
    for loss in losses(table):
        loss.backward()
    expected = table.weight.grad.clone()
    table.weight.grad = None
    with sparse_lookups(table):
        for loss in losses(table):
            loss.backward()
    torch.testing.assert_close(table.weight.grad, expected)


def test_a_table_that_a_head_is_tied_to(table: nn.Embedding):
    def loss() -> torch.Tensor:
        return (table(torch.tensor([[1, 2]])) @ table.weight.T).sum()

    loss().backward()
    expected = table.weight.grad.clone()
    table.weight.grad = None
    with sparse_lookups(table):
        loss().backward()
    torch.testing.assert_close(table.weight.grad, expected)


def test_tables_whose_gradients_are_made_otherwise_are_left_alone():
    scaled = nn.Embedding(4, 2, scale_grad_by_freq=True)
    computed = nn.utils.parametrizations.weight_norm(nn.Embedding(4, 2))
    with sparse_lookups(nn.ModuleList([scaled, computed])):
        (scaled(torch.tensor([1, 1])).sum() + computed(torch.tensor([1, 1])).sum()).backward()
    assert scaled.weight.grad[1].tolist() == [1.0, 1.0]


def test_nothing_is_left_behind(table: nn.Embedding):
    frozen = nn.Embedding(4, 2).requires_grad_(requires_grad=False)
    with sparse_lookups(nn.ModuleList([table, frozen])):
        assert (table.sparse, frozen.sparse) == (True, False)
    assert not table.sparse
    sum(losses(table)).backward()
    assert not table.weight.grad.is_sparse


def test_nothing_is_left_behind_by_a_failure(table: nn.Embedding):
    with pytest.raises(IndexError), sparse_lookups(table):
        table(torch.tensor([10]))
    assert not table.sparse
