"""How many pairs batches can bring together, against the library's own sampler."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, ConcatDataset, RandomSampler

from limbeck.pipeline.in_batch import most_met
from limbeck.recipes.dense import Training
from limbeck.students.dense.sampling import TemperatureSampler


def met(sizes: dict[str, list[int]], training: Training, epochs: int, seed: int) -> dict[str, int]:
    """Pairs of a text with the lists of others in its batches, as the trainer draws them."""
    sets = [range(len(lists)) for lists in sizes.values()]
    starts = np.cumsum([0, *map(len, sets)])
    generator = torch.Generator()
    samplers = [
        BatchSampler(RandomSampler(one, generator=generator), training.batch_size, drop_last=False)
        for one in sets
    ]
    drawn = TemperatureSampler(
        ConcatDataset(sets), samplers, temperature=training.task_temperature, generator=generator, seed=seed
    )
    found = dict.fromkeys(sizes, 0)
    for epoch in range(epochs):
        drawn.set_epoch(epoch)
        for batch in drawn:
            task = int(np.searchsorted(starts, batch[0], side="right")) - 1
            name = list(sizes)[task]
            lists = [sizes[name][row - starts[task]] for row in batch]
            found[name] += (len(lists) - 1) * sum(lists)
    return found


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=40), min_size=1, max_size=3),
    batch_size=st.integers(1, 8),
    temperature=st.sampled_from([1.0, 1.5, 2.0, 6.0]),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_no_training_meets_more(sizes, batch_size, temperature, epochs, seed):
    named = {f"task{at}": lists for at, lists in enumerate(sizes)}
    training = Training(batch_size=batch_size, task_temperature=temperature)
    bound = most_met(named, training, epochs)
    found = met(named, training, epochs, seed)
    assert all(found[name] <= bound[name] for name in named)
    even = len(named) == 1 and len(set(sizes[0])) == 1 and len(sizes[0]) % batch_size == 0
    if even:  # then every batch is as large as any
        assert found == bound


def test_a_small_task_that_is_gone_through_several_times_counts_as_often():
    training = Training(batch_size=16, task_temperature=2.0)
    # A hundred batches and ten: they share the 110 as 84 to 26, and so the small one comes up to three times.
    assert most_met({"large": [9] * 1600, "small": [9] * 160}, training, 1) == {
        "large": 84 * 15 * 16 * 9,
        "small": 26 * 15 * 16 * 9,
    }
    assert most_met({"none": [], "one": [5]}, training, 2) == {"none": 0, "one": 0}
