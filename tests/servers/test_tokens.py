from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from limbeck.errors import InputError
from limbeck.servers import TokenCounter

TEXTS = ["", "the cat sat on the mat", "是不是能", "naïve café 🐈 x"]


@given(st.text(), st.integers(0, 30))
def test_a_guess_never_cuts_through_a_character(text, tokens):
    counter = TokenCounter()
    short = counter.shorten(text, tokens)
    assert text.startswith(short)
    assert counter.count(short) <= tokens
    if counter.count(text) <= tokens:
        assert short == text
    else:
        assert counter.count(text[: len(short) + 1]) > tokens


def test_a_tokenizer_counts_and_shortens(served_model):
    counter, tokenizer = TokenCounter(str(served_model)), AutoTokenizer.from_pretrained(served_model)
    for text in TEXTS:
        count = len(tokenizer(text)["input_ids"])
        assert counter.count(text) == count
        assert counter.shorten(text, count) == text
        for tokens in range(count):
            short = counter.shorten(text, tokens)
            assert text.startswith(short)
            assert counter.count(short) <= tokens + 2  # a character's own bytes may stand apart


def test_what_is_no_tokenizer(tmp_path):
    with pytest.raises(InputError, match="no tokenizer can be loaded"):
        TokenCounter(str(tmp_path))
