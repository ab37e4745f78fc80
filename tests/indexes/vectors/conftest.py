"""Small corpora of vectors and random interaction weights."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.indexes.vectors import InteractionWeights

DIM, HIDDEN, FEATURE = 16, 24, 6


def unit(values):
    values = np.asarray(values, dtype=np.float64)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def random_vectors(count, seed=0, dim=DIM):
    return unit(np.random.default_rng(seed).standard_normal((count, dim)))


def random_weights(seed=0, cosine_scale=5.0, strength=3.0):
    generator = np.random.default_rng(seed)
    return InteractionWeights(
        query_half=generator.standard_normal((HIDDEN, DIM)) * strength,
        passage_half=generator.standard_normal((HIDDEN, DIM)) * strength,
        hidden_bias=generator.standard_normal(HIDDEN),
        branch=generator.standard_normal((FEATURE, HIDDEN)) / HIDDEN**0.5,
        branch_bias=generator.standard_normal(FEATURE),
        output=generator.standard_normal(FEATURE),
        output_bias=0.25,
        cosine_scale=cosine_scale,
        cosine_bias=-0.5,
    )


def direct_logits(weights, query_vectors, passage_vectors):
    """The formula, pair by pair, in double precision and without splitting the first layer."""
    first = np.concatenate([weights.query_half, weights.passage_half], axis=1).astype(np.float64)
    logits = np.empty((len(query_vectors), len(passage_vectors)))
    for i, query in enumerate(query_vectors.astype(np.float64)):
        for j, passage in enumerate(passage_vectors.astype(np.float64)):
            hidden = np.maximum(0, first @ np.concatenate([query, passage]) + weights.hidden_bias)
            feature = np.maximum(0, weights.branch @ hidden + weights.branch_bias)
            cosine = weights.cosine_scale * (query @ passage) + weights.cosine_bias
            logits[i, j] = cosine + weights.output @ feature + weights.output_bias
    return logits


@pytest.fixture
def weights():
    return random_weights()
