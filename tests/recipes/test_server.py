"""What a recipe may ask of a server besides the question."""

from __future__ import annotations

import datetime as dt

import pytest
from pydantic import ValidationError

from limbeck.recipes import ServerMember, ServerWriterRecipe

SERVER = {"kind": "server", "url": "http://localhost:8000/v1", "model": "m"}
QUIET = {"chat_template_kwargs": {"enable_thinking": False}}


@pytest.mark.parametrize("section", [ServerMember, ServerWriterRecipe])
def test_further_keys_go_along_and_what_a_request_costs_cannot_be_changed(section):
    assert section.model_validate(SERVER | {"options": QUIET}).options == QUIET
    with pytest.raises(ValidationError, match=r"options\.max_tokens: this is set for each request"):
        section.model_validate(SERVER | {"options": {"max_tokens": 9}})
    # YAML reads it so where it stands without quotes, and JSON cannot hold it.
    with pytest.raises(ValidationError, match="not a valid JSON value"):
        section.model_validate(SERVER | {"options": {"stop": dt.date(2024, 1, 1)}})


def test_the_seed_of_a_question_is_the_writers():
    assert ServerMember.model_validate(SERVER | {"options": {"seed": 1}}).options == {"seed": 1}
    with pytest.raises(ValidationError, match=r"options\.seed"):
        ServerWriterRecipe.model_validate(SERVER | {"options": {"seed": 1}})


def test_without_further_keys_the_questions_are_those_of_earlier_runs():
    assert "options" not in ServerWriterRecipe.model_validate(SERVER).settings
    assert (
        ServerWriterRecipe.model_validate(SERVER | {"options": QUIET}).answering.settings["options"] == QUIET
    )
