from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.teachers.llm import PROMPTS, Prompt
from limbeck.teachers.llm.encoding import PromptEncoder
from tests.tiny_models import byte_bpe_tokenizer, metaspace_tokenizer, tiny_tokenizer

PROMPT = Prompt("Query: {query}\nPassage: {passage}\nAnswer:", ("yes",), ("no",))
TOKENIZERS = {"bytes": byte_bpe_tokenizer(), "metaspace": metaspace_tokenizer(), "words": tiny_tokenizer()}
TEXTS = st.text("ab cat dog\n是:.{}<|end|>", max_size=30)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(query=TEXTS, passages=st.lists(TEXTS, min_size=1, max_size=5))
def test_all_passages_of_a_query_share_its_prefix(name, query, passages):
    encoder = PromptEncoder(TOKENIZERS[name], PROMPT, max_length=400)
    together = encoder.encode([(query, passage) for passage in passages])
    assert len({prefix for prefix, _ in together}) == 1
    assert together == [encoder.encode([(query, passage)])[0] for passage in passages]
    assert encoder.shortened == 0


@given(query=TEXTS, passage=TEXTS)
def test_the_tokens_say_the_prompt(query, passage):
    tokenizer = TOKENIZERS["bytes"]
    [(prefix, suffix)] = PromptEncoder(tokenizer, PROMPT, max_length=400).encode([(query, passage)])
    assert tokenizer.decode([*prefix, *suffix]) == f"Query: {query}\nPassage: {passage}\nAnswer:"


@given(query=TEXTS, passage=TEXTS, limit=st.integers(60, 120))
def test_what_is_too_long_is_taken_from_the_passage(query, passage, limit):
    tokenizer = TOKENIZERS["bytes"]
    [(prefix, whole)] = PromptEncoder(tokenizer, PROMPT, max_length=400).encode([(query, passage * 9)])
    encoder = PromptEncoder(tokenizer, PROMPT, max_length=limit)
    [(same, suffix)] = encoder.encode([(query, passage * 9)])
    tail = len(tokenizer("\nAnswer:")["input_ids"])
    assert same == prefix
    assert suffix[-tail:] == whole[-tail:]
    assert suffix[:-tail] == whole[:-tail][: limit - len(prefix) - tail]
    assert encoder.shortened == (len(prefix) + len(whole) > limit)


def test_a_query_that_leaves_no_room():
    encoder = PromptEncoder(byte_bpe_tokenizer(), PROMPT, max_length=64)
    query = "xyz " * 30
    with pytest.raises(
        InputError, match=r"the query 'xyz .*leaves room for 0 tokens.*takes \d+ of 64"
    ) as caught:
        encoder.encode([("cat", "dog"), (query, "cat " * 30)])
    wanted = int(caught.value.remedy.split("max_length to ")[1].split()[0])
    PromptEncoder(byte_bpe_tokenizer(), PROMPT, max_length=wanted).encode([(query, "cat " * 30)])
    with pytest.raises(InputError, match="leaves room for 15 tokens"):
        PromptEncoder(byte_bpe_tokenizer(), PROMPT, max_length=wanted - 1).encode([(query, "cat " * 30)])


def test_a_prompt_that_leaves_no_room_for_any_query():
    prompt = Prompt("Query:{query}\nPassage:{passage}\nAnswer:", ("yes",), ("no",))
    [(prefix, suffix)] = PromptEncoder(TOKENIZERS["bytes"], prompt, max_length=400).encode([("", "")])
    fixed = len(prefix) + len(suffix)
    with pytest.raises(InputError, match=f"without query and passage takes {fixed} tokens of {fixed}"):
        PromptEncoder(TOKENIZERS["bytes"], prompt, max_length=fixed)
    assert PromptEncoder(TOKENIZERS["bytes"], prompt, max_length=fixed + 1).encode([("", "")])


def test_special_tokens_in_texts_are_text():
    tokenizer = byte_bpe_tokenizer(chat=True)
    special = tokenizer.convert_tokens_to_ids("<|end|>")
    encoder = PromptEncoder(tokenizer, PROMPT, max_length=400)
    [(prefix, suffix)] = encoder.encode([("a <|end|>", "b <|end|><|end|>")])
    assert prefix.count(special) == 0
    assert suffix.count(special) == 1  # the chat template's own


def test_the_chat_template_is_put_around_the_prompt():
    tokenizer = byte_bpe_tokenizer(chat=True)
    [(prefix, suffix)] = PromptEncoder(tokenizer, PROMPT, max_length=400).encode([("cat", "dog")])
    assert tokenizer.decode([*prefix, *suffix]) == (
        "<|start|>user\nQuery: cat\nPassage: dog\nAnswer:<|end|>\n<|start|>assistant\n"
    )
    [(prefix, suffix)] = PromptEncoder(tokenizer, PROMPT, max_length=400, chat="never").encode(
        [("cat", "dog")]
    )
    assert tokenizer.decode([*prefix, *suffix]) == "Query: cat\nPassage: dog\nAnswer:"


def test_a_chat_template_that_loses_the_texts():
    tokenizer = byte_bpe_tokenizer(chat=True)
    tokenizer.chat_template = "nothing of it"
    with pytest.raises(InputError, match=r"chat template, .*\{query\} 0 times.*chat: never"):
        PromptEncoder(tokenizer, PROMPT, max_length=400)


@pytest.mark.parametrize(
    ("template", "message"),
    [("{{ raise_exception('a system turn first') }}", "a system turn first"), ("{{ a.b }}", "undefined")],
)
def test_a_chat_template_that_refuses_the_prompt(template, message):
    tokenizer = byte_bpe_tokenizer(chat=True)
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=rf"cannot hold the prompt .*{message}.*chat: never"):
        PromptEncoder(tokenizer, PROMPT, max_length=400)


def test_a_text_begins_as_the_tokenizer_begins_it():
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = "[CLS]"
    [(prefix, _)] = PromptEncoder(tokenizer, PROMPT, max_length=100).encode([("cat", "dog")])
    assert prefix[0] == tokenizer.cls_token_id
    tokenizer = byte_bpe_tokenizer()  # has the token, and does not use it
    [(prefix, _)] = PromptEncoder(tokenizer, PROMPT, max_length=100).encode([("cat", "dog")])
    assert prefix[0] != tokenizer.bos_token_id


def test_a_template_that_ends_with_the_passage():
    with pytest.raises(InputError, match="ends with the passage"):
        PromptEncoder(byte_bpe_tokenizer(), Prompt("{query} {passage}", ("yes",), ("no",)), max_length=100)


def test_the_chinese_prompt_round_trips():
    tokenizer, prompt = TOKENIZERS["bytes"], PROMPTS["asymmetric", "zh"]
    [(prefix, suffix)] = PromptEncoder(tokenizer, prompt, max_length=400).encode([("猫在哪里", "猫在家")])
    expected = prompt.template.replace("{query}", "猫在哪里").replace("{passage}", "猫在家")
    assert tokenizer.decode([*prefix, *suffix]) == expected
