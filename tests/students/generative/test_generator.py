"""What all kinds of generators share."""

from __future__ import annotations

import pytest
import torch

from limbeck.errors import InputError
from limbeck.students.generative.generator import SETTINGS, readable_tokens
from limbeck.students.generative.model import load_saved_generator

VIEW = "title"


def longest(generator) -> int | None:
    """The longest identifier that a generator accepts beside its queries; None for any."""
    if (
        readable_tokens(generator.model if generator.kind == "causal" else generator.model.get_decoder())
        is None
    ):
        return None
    with pytest.raises(InputError) as refused:
        generator.require_lengths(10**6)
    expected = str(refused.value.expected)
    limit = int(expected.split(maxsplit=1)[0])
    if generator.kind == "causal":  # it says how long queries may be
        return 10**6 - (generator.max_query_length - limit)
    return limit


def test_the_longest_texts_that_are_accepted_can_be_read(generator):
    length = longest(generator)
    if length is None:
        generator.require_lengths(10**6)
        return
    generator.require_lengths(length)
    with pytest.raises(InputError, match=r"and this takes \d+ tokens of a model that reads \d+"):
        generator.require_lengths(length + 1)
    marker = generator.vocabulary.markers([VIEW])[VIEW]
    token = generator.vocabulary.encode(["cat"])[0][0]
    query = "cat " * (2 * generator.max_query_length)
    inputs = generator.training_inputs([query], [marker.start], [[token] * length + [marker.end]])
    inputs.pop("labels")
    with torch.inference_mode():
        assert torch.isfinite(generator.model(**inputs).logits).all()


def test_a_saved_generator_that_lost_its_settings_is_not_taken_for_a_new_model(bart, tmp_path):
    bart.save(tmp_path)
    assert load_saved_generator(tmp_path, device="cpu").max_query_length == bart.max_query_length
    (tmp_path / SETTINGS).unlink()
    with pytest.raises(InputError, match=r"no saved generator here.*generator\.json among its files"):
        load_saved_generator(tmp_path, device="cpu")
