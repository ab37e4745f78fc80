"""The weights of what was generated, as the index's aggregation takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from limbeck.indexes.fm_index import IdentifierIndex, Unigrams
from limbeck.students.generative.decoding import Generated
from limbeck.students.generative.identifiers import ViewSettings
from limbeck.students.generative.scoring import identifier_weights, log_frequencies


def weights_of(generated: Generated, views: Sequence[ViewSettings], token_count: int) -> NDArray[np.float64]:
    """The weight of each generated identifier, (identifiers,).

    Args:
        generated: what the search found.
        views: those that were generated, with their bonuses.
        token_count: tokens in the index.
    """
    place = generated.views
    weights = identifier_weights(
        torch.from_numpy(generated.log_probabilities),
        log_frequencies(torch.from_numpy(generated.counts), token_count),
        bonus=torch.tensor([view.bonus for view in views], dtype=torch.float64)[place],
        cap=torch.tensor([view.cap for view in views], dtype=torch.float64)[place],
    )
    return weights.numpy()


def token_counts(index: IdentifierIndex, width: int, excluded: Sequence[int]) -> NDArray[np.int64]:
    """How often each token occurs, (width,).

    Args:
        index: of the passages.
        width: tokens that the model knows.
        excluded: tokens that take no part; they get 0.
    """
    follow = index.continuations(index.root())
    inside = follow.tokens < width
    counts = np.zeros(width, np.int64)
    counts[follow.tokens[inside]] = follow.counts[inside]
    counts[list(excluded)] = 0
    return counts


def unigrams_of(
    first: NDArray[np.float32], counts: NDArray[np.int64], token_count: int, limit: int
) -> Unigrams:
    """The single tokens that say most about a query, with their weights, which are not squared.

    Args:
        first: (queries, vocabulary), log-probabilities of the first token.
        counts: (vocabulary,), occurrences; a token without any takes no part.
        token_count: tokens in the index.
        limit: how many a query, at most.
    """
    occurring = np.flatnonzero(counts)
    weights = identifier_weights(
        torch.from_numpy(first[:, occurring]).double(),
        log_frequencies(torch.from_numpy(counts[occurring]), token_count),
        squared=False,
    )
    best = weights.topk(min(limit, len(occurring)))
    taken = best.values > 0
    lengths = taken.sum(1).numpy()
    return Unigrams(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        occurring[best.indices[taken].numpy()].astype(np.uint32),
        best.values[taken].numpy(),
    )
