"""Tiny language models, one of each family."""

from __future__ import annotations

import pytest

from tests.tiny_models import tiny_llm


@pytest.fixture(scope="session")
def llm_path(tmp_path_factory):
    """Gives the folder of a tiny language model of a family; each is made once."""
    made = {}

    def call(family="qwen2", *, chat=False):
        if (family, chat) not in made:
            made[family, chat] = tiny_llm(tmp_path_factory.mktemp("llm") / "model", family, chat=chat)
        return made[family, chat]

    return call
