"""The shares of several sets in an epoch, and the order of their batches."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, ConcatDataset, RandomSampler

from limbeck.students.dense.sampling import TemperatureSampler, batch_shares

SIZES = (12, 4, 2)


class Rows(list):
    """A data set of so many rows."""


def sampler(temperature: float, epoch: int = 0) -> TemperatureSampler:
    generator = torch.Generator()
    sets = [Rows(range(size)) for size in SIZES]
    inner = [BatchSampler(RandomSampler(one, generator=generator), 2, drop_last=False) for one in sets]
    options = {"temperature": temperature, "generator": generator, "seed": 3}
    made = TemperatureSampler(ConcatDataset(sets), inner, **options)
    made.set_epoch(epoch)
    return made


@given(st.lists(st.integers(1, 500), min_size=1, max_size=6), st.floats(0.5, 50))
def test_shares_sum_to_what_there_is(batches: list[int], temperature: float):
    shares = batch_shares(batches, temperature)
    assert shares.sum() == sum(batches)
    assert (shares >= 0).all()
    exact = [size ** (1 / temperature) for size in batches]
    for share, weight in zip(shares, exact, strict=True):
        assert abs(share - sum(batches) * weight / sum(exact)) < 1 + 1e-6


def test_temperature_one_gives_each_its_own_and_a_high_one_evens_out():
    assert batch_shares([90, 10], 1).tolist() == [90, 10]
    assert batch_shares([90, 10], 2).tolist() == [75, 25]
    assert batch_shares([90, 10], 1e9).tolist() == [50, 50]


def test_each_batch_is_of_one_set_and_at_temperature_one_every_row_comes_once():
    batches = list(sampler(1.0))
    bounds = [range(12), range(12, 16), range(16, 18)]
    assert all(any(set(batch) <= set(bound) for bound in bounds) for batch in batches)
    assert Counter(row for batch in batches for row in batch) == Counter(range(18))


def test_small_sets_repeat_at_a_high_temperature():
    made = sampler(1e9)
    batches = list(made)
    assert len(batches) == len(made) == 9
    assert Counter(row for batch in batches for row in batch if row >= 16) == Counter({16: 3, 17: 3})


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_order_depends_on_seed_and_epoch_alone(epoch: int):
    assert list(sampler(2.0, epoch)) == list(sampler(2.0, epoch))
    assert list(sampler(2.0, epoch)) != list(sampler(2.0, epoch + 1))
