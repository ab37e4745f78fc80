"""Batches of about as many tokens each, by hand and as properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.batching import default_tokens, narrowed, padded, token_batches

LENGTHS = st.lists(st.integers(0, 40), max_size=30)


@given(LENGTHS, st.integers(1, 100))
def test_every_text_once_longest_first_and_within_the_budget(lengths, tokens):
    batches = token_batches(lengths, tokens)
    order = np.concatenate([np.zeros(0, int), *batches])
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[at] for at in order] == sorted(lengths, reverse=True)
    for batch in batches:
        widest = max(lengths[at] for at in batch)
        assert len(batch) * widest <= tokens or len(batch) == 1
    # A batch takes all that it can.
    for batch in batches[:-1]:
        assert (len(batch) + 1) * max(1, lengths[batch[0]]) > tokens


@pytest.mark.parametrize("side", ["left", "right"])
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=12), tokens=st.integers(1, 40))
def test_narrowing_cuts_padding_alone(side, lengths, tokens):
    width = max(lengths)
    mask, ids = torch.zeros(len(lengths), width, dtype=torch.long), torch.zeros(len(lengths), width)
    for row, length in enumerate(lengths):
        columns = slice(length) if side == "right" else slice(width - length, None)
        mask[row, columns] = 1
        ids[row, columns] = torch.arange(1, length + 1) + 100.0 * row
    features = {"input_ids": ids, "attention_mask": mask, "modality": "text", "other": torch.ones(1)}
    seen = []
    for positions, batch in narrowed(features, tokens):
        assert batch["modality"] == "text"
        assert batch["other"].shape == (1,)
        assert batch["input_ids"].shape == (len(positions), max(lengths[at] for at in positions))
        for at, row_ids, row_mask in zip(positions, batch["input_ids"], batch["attention_mask"], strict=True):
            assert row_ids[row_mask > 0].tolist() == ids[at][mask[at] > 0].tolist()
        seen += positions.tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_a_gpu_gets_larger_batches_than_a_cpu():
    assert default_tokens(torch.device("cuda")) > default_tokens(torch.device("cpu"))


def test_rows_are_filled_up_at_one_side():
    assert padded([[5, 6], [7], []], 9).tolist() == [[5, 6], [7, 9], [9, 9]]
    assert padded([[5, 6], [7], []], 9, left=True).tolist() == [[5, 6], [9, 7], [9, 9]]
