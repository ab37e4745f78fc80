from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.indexes.vectors import InteractionWeights, VectorIndex

from .conftest import DIM, FEATURE, HIDDEN, direct_logits, random_vectors


def test_logit_by_hand(tmp_path):
    """Two units, one feature: all of the formula in numbers that can be checked by eye."""
    weights = InteractionWeights(
        query_half=np.array([[1.0, 0.0], [0.0, 1.0]]),
        passage_half=np.array([[2.0, 0.0], [0.0, -4.0]]),
        hidden_bias=np.array([0.5, 0.0]),
        branch=np.array([[1.0, 10.0]]),
        branch_bias=np.array([-0.1]),
        output=np.array([2.0]),
        output_bias=1.0,
        cosine_scale=10.0,
        cosine_bias=-3.0,
    )
    query, passage = np.array([[0.6, 0.8]]), np.array([[0.8, 0.6]])
    # hidden: 0.6 + 1.6 + 0.5 = 2.7 and 0.8 - 2.4 < 0; feature 2.7 - 0.1 = 2.6
    # logit: 10 · (0.48 + 0.48) - 3 + 2 · 2.6 + 1
    expected = 9.6 - 3 + 5.2 + 1
    assert direct_logits(weights, query, passage)[0, 0] == pytest.approx(expected)
    index = VectorIndex.build(tmp_path / "index", [passage], ["p"], weights)
    assert index.search_exhaustive(query, 1)[1][0, 0] == pytest.approx(expected, abs=1e-5)


def test_sizes(weights):
    assert (weights.dim, weights.hidden) == (DIM, HIDDEN)
    vectors = random_vectors(3)
    np.testing.assert_allclose(
        weights.query_halves(vectors), vectors @ weights.query_half.T + weights.hidden_bias, rtol=1e-6
    )
    assert weights.passage_halves(vectors).shape == (3, HIDDEN)
    assert weights.passage_halves(vectors).dtype == np.float32


def test_weights_survive_a_file(tmp_path, weights):
    path = tmp_path / "interaction.npz"
    path.write_bytes(weights.to_bytes())
    loaded = InteractionWeights.load(path)
    for field in fields(weights):
        np.testing.assert_array_equal(getattr(loaded, field.name), getattr(weights, field.name))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "interaction.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"interaction\.npz.*cannot be read"):
        InteractionWeights.load(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("passage_half", (HIDDEN, DIM + 1)),
        ("hidden_bias", (HIDDEN + 1,)),
        ("branch_bias", (FEATURE, 1)),
        ("output", (FEATURE + 1,)),
        ("cosine_scale", (1,)),
        ("branch", (HIDDEN,)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(weights, name, shape):
    with pytest.raises(InputError, match="shapes"):
        replace(weights, **{name: np.zeros(shape)})


def test_nan_is_refused(weights):
    with pytest.raises(InputError, match="'output' contain NaN"):
        replace(weights, output=np.full(FEATURE, np.nan))
