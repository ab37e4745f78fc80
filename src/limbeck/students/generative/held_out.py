"""How surprised a generator is by identifiers that it has not learnt: whether it generalises, and to what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from limbeck.indexes.fm_index import View
from limbeck.students.generative.generator import Generator, log_probabilities
from limbeck.students.generative.targets import GenerationTargets


@dataclass(frozen=True, slots=True)
class HeldOutLoss:
    """Of the identifiers of one view.

    Attributes:
        examples: that were looked at.
        first: mean negative log-probability of their first token, in nats: whether the query is understood.
        further: likewise of the tokens behind it, end markers included: whether it can write; None where all
            identifiers have one token.
    """

    examples: int
    first: float
    further: float | None


def held_out_losses(
    generator: Generator[Any],
    targets: GenerationTargets,
    markers: Mapping[str, View],
    *,
    limit: int = 512,
    batch_size: int = 64,
    seed: int = 0,
) -> dict[str, HeldOutLoss]:
    """Measures a generator on identifiers of questions that it has not been trained on.

    Args:
        generator: not in training mode.
        targets: of those questions.
        markers: of the views, by name.
        limit: examples of each view that are looked at, drawn by the seed.
        batch_size: examples that are read together.
        seed: of the draw.

    Returns:
        By name of the view; a view without targets is not in it.

    Example:
        >>> held_out_losses(generator, dev_targets, markers)["title"].first  # doctest: +SKIP
        6.6
    """
    found = {}
    for name, view in markers.items():
        places = np.flatnonzero(targets.prompts == view.start)
        if len(places):
            drawn = np.random.default_rng(seed).permutation(places)[:limit]
            found[name] = _loss(generator, targets, drawn.tolist(), batch_size)
    return found


@torch.inference_mode()
def _loss(generator: Generator[Any], targets: GenerationTargets, places: list[int], size: int) -> HeldOutLoss:
    first, further, count = 0.0, 0.0, 0
    for start in range(0, len(places), size):
        examples = [targets[place] for place in places[start : start + size]]
        chances = log_probabilities(
            generator,
            [example.query for example in examples],
            [example.prompt for example in examples],
            [example.target for example in examples],
        ).double()
        first -= float(chances[:, 0].sum())
        further -= float(chances[:, 1:].sum())  # behind a target's end there are zeros
        count += sum(len(example.target) - 1 for example in examples)
    return HeldOutLoss(len(places), first / len(places), further / count if count else None)
