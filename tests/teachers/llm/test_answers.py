from __future__ import annotations

import math

import pytest
import torch

from limbeck.errors import InputError
from limbeck.teachers.llm import PROMPTS, Prompt
from limbeck.teachers.llm.answers import answer_tokens, yes_minus_no
from tests.tiny_models import byte_bpe_tokenizer, metaspace_tokenizer, tiny_tokenizer


def asked(yes, no):
    return Prompt("{query} {passage}?", tuple(yes), tuple(no))


def test_spellings_of_a_byte_level_vocabulary():
    tokenizer = byte_bpe_tokenizer()
    yes, no = answer_tokens(tokenizer, PROMPTS["asymmetric", "en"])
    tokens = set(tokenizer.convert_ids_to_tokens(yes))
    assert {"yes", "Ġyes"} <= tokens  # whole words, with and without the space before them
    assert not {"Ġ"} & tokens
    assert not set(yes) & set(no)


def test_spellings_where_the_tokenizer_puts_a_space_before_each_text():
    tokenizer = metaspace_tokenizer()
    yes, no = answer_tokens(tokenizer, PROMPTS["asymmetric", "en"])
    assert "▁yes" in tokenizer.convert_ids_to_tokens(yes)
    # "▁" alone begins " YES" as it begins " NO", and says nothing.
    assert tokenizer.convert_tokens_to_ids("▁") not in {*yes, *no}


def test_chinese_answers():
    for make in (byte_bpe_tokenizer, metaspace_tokenizer):
        for task in ("symmetric", "asymmetric"):
            yes, no = answer_tokens(make(), PROMPTS[task, "zh"])
            assert yes
            assert no


def test_answers_that_begin_alike():
    # Letter by letter, both begin with "a".
    with pytest.raises(InputError, match="'abc' and 'axe' begin with the same token 'a'"):
        answer_tokens(tiny_tokenizer(), asked(["abc"], ["axe"]))


def test_answers_that_the_tokenizer_cannot_write():
    with pytest.raises(InputError, match=r"no token for 'yes' .*是"):
        answer_tokens(tiny_tokenizer(), PROMPTS["symmetric", "zh"])


def test_probabilities_of_spellings_are_added_up():
    # e^1 + e^2 for yes against e^0 for no; the sigmoid is yes's share.
    logits = torch.tensor([[1.0, 2.0, 0.0]])
    score = float(yes_minus_no(logits, 2))
    total = math.exp(1) + math.exp(2)
    assert score == pytest.approx(math.log(total), abs=1e-6)
    assert 1 / (1 + math.exp(-score)) == pytest.approx(total / (total + 1), abs=1e-6)
