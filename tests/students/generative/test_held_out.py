from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.indexes.fm_index import Ragged
from limbeck.students.generative.generator import log_probabilities
from limbeck.students.generative.held_out import held_out_losses
from limbeck.students.generative.targets import GenerationTargets

QUERIES = ["cat dog", "what is the capital of france"]


def targets_of(rows, prompts, owners):
    return GenerationTargets(
        QUERIES, np.array(owners, np.int32), np.array(prompts, np.int64), Ragged.from_rows(rows)
    )


def test_it_is_the_mean_over_first_and_over_further_tokens(generator):
    markers = generator.vocabulary.markers(["title", "body"])
    body = markers["body"].start
    rows, owners = [[60, 61, 62], [70], [71, 72]], [0, 1, 1]
    loss = held_out_losses(generator, targets_of(rows, [body] * 3, owners), markers, batch_size=2)
    assert list(loss) == ["body"]
    with torch.no_grad():
        each = [
            log_probabilities(generator, [QUERIES[owner]], [body], [row])[0].tolist()
            for row, owner in zip(rows, owners, strict=True)
        ]
    assert loss["body"].examples == 3
    assert loss["body"].first == pytest.approx(-sum(row[0] for row in each) / 3, abs=1e-4)
    assert loss["body"].further == pytest.approx(-sum(sum(row[1:]) for row in each) / 3, abs=1e-4)


def test_a_limit_draws_and_single_tokens_have_nothing_further(bart):
    markers = bart.vocabulary.markers(["title"])
    start = markers["title"].start
    targets = targets_of([[60], [61], [62], [63]], [start] * 4, [0, 0, 1, 1])
    loss = held_out_losses(bart, targets, markers, limit=2)["title"]
    assert loss.examples == 2
    assert loss.further is None
