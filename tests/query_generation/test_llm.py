"""A causal language model as a writer: what it is asked, what it draws, and how answers are read."""

from __future__ import annotations

import pytest

from limbeck.data import Passage
from limbeck.errors import InputError
from limbeck.query_generation.llm import LLMWriter
from limbeck.query_generation.prompts import PROMPTS, check_prompt, filled, question_in
from limbeck.query_generation.sampling import Sampling
from limbeck.teachers.llm.loading import load_language_model
from tests.tiny_models import tiny_llm

PASSAGES = [
    Passage("d1", "paris is the capital of france"),
    Passage("d2", "the cat", "cat"),
    Passage("d3", "read the file and sort the list by number " * 2),
]
SHORT = "ask {passage}?"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_language_model(tiny_llm(tmp_path_factory.mktemp("llm")), device="cpu")


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return load_language_model(tiny_llm(tmp_path_factory.mktemp("chat"), chat=True), device="cpu")


def writer(model, **options):
    options = {"max_passage_length": 40, "max_query_length": 8, "sampling": Sampling(top_k=20)} | options
    return LLMWriter(model, SHORT, **options)


def test_what_is_drawn_depends_on_seed_and_passage_alone(model):
    expected = writer(model, batch_size=3).write(PASSAGES, 3)
    assert [writer(model).write([passage], 3)[0] for passage in PASSAGES] == expected
    assert writer(model, batch_size=2).write(PASSAGES[::-1], 3) == expected[::-1]
    assert any(len(texts) > 1 for texts in expected)
    assert writer(model, sampling=Sampling(top_k=20, seed=1)).write(PASSAGES, 3) != expected
    likeliest = writer(model, sampling=Sampling(top_k=1)).write(PASSAGES, 3)
    assert all(len(texts) <= 1 for texts in likeliest)


def test_the_likeliest_answer_is_that_of_the_library(model):
    inputs = model.tokenizer([filled(SHORT, PASSAGES[0].content)], return_tensors="pt")
    written = model.model.generate(**inputs, do_sample=False, max_new_tokens=8, pad_token_id=0)
    answer = model.tokenizer.decode(written[0, inputs.input_ids.shape[1] :], skip_special_tokens=True)
    (found,) = writer(model, sampling=Sampling(top_k=1)).write(PASSAGES[:1], 1)
    assert found == ([" ".join(question_in(answer).split())] if question_in(answer) else [])


def test_long_passages_are_shortened_and_the_question_is_not(model):
    long = "word " * 500
    short = writer(model, max_passage_length=5)
    kept = short._shortened(long)
    assert long.startswith(kept)
    assert len(model.tokenizer(kept, add_special_tokens=False).input_ids) == 5
    assert model.tokenizer.decode(short._tokens(kept), skip_special_tokens=True).endswith(f"{kept}?")


def test_a_chat_model_is_asked_in_its_template(chat):
    text = chat.tokenizer.decode(writer(chat)._tokens("the cat"))
    expected = chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": "ask the cat?"}], tokenize=False, add_generation_prompt=True
    )
    assert text == expected
    assert writer(chat).write(PASSAGES, 1)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0].content + 1 }}", "chat template cannot hold"),
        ("{{ 1 / 0 }}", "chat template cannot hold"),
        ("{{ raise_exception('a system turn first') }}", "a system turn first"),
        ("nothing", "chat template, .*0 placeholders"),
    ],
)
def test_a_chat_template_that_cannot_hold_the_prompt(template, message, chat, monkeypatch):
    monkeypatch.setattr(chat.tokenizer, "chat_template", template)
    with pytest.raises(InputError, match=message):
        writer(chat)


@pytest.mark.parametrize("name", ["model", "chat"])
def test_special_tokens_in_a_passage_are_text(name, request):
    asked = writer(request.getfixturevalue(name))
    tokenizer = asked.model.tokenizer
    end = tokenizer.eos_token
    plain, spelt = asked._tokens("the cat"), asked._tokens(f"the {end} cat {end}{end}")
    special = set(tokenizer.all_special_ids)
    assert [token for token in spelt if token in special] == [token for token in plain if token in special]
    assert tokenizer.decode(spelt) == tokenizer.decode(plain).replace("the cat", f"the {end} cat {end}{end}")
    short = writer(asked.model, max_passage_length=3)
    assert len(short._tokens(short._shortened(end * 9))) - len(short._tokens("")) <= 3


def test_settings_tell_one_writer_from_another(model):
    assert writer(model).settings() == writer(model, batch_size=1).settings()
    assert writer(model).settings() != writer(model, max_query_length=7).settings()


@pytest.mark.parametrize(
    ("answer", "question"),
    [
        ('1. "How long do cats sleep?"', "How long do cats sleep?"),
        ("\n\n  Question: who barks \n\nThe passage says", "who barks"),
        ("- what is 2. about", "what is 2. about"),
        ("问题：“猫在哪里？”", "猫在哪里？"),
        (" \n ", ""),
        ("3.14 is what", "3.14 is what"),
    ],
)
def test_how_an_answer_is_read(answer, question):
    assert question_in(answer) == question


def test_prompts(refused):
    for prompt in PROMPTS.values():
        assert check_prompt(prompt) == prompt
    assert filled(SHORT, "{passage} {x}") == "ask {passage} {x}?"
    refused(lambda: check_prompt("ask"), "0 placeholders")
    refused(lambda: check_prompt(SHORT * 2), "2 placeholders")


def test_bad_settings(model, refused):
    refused(lambda: writer(model, max_query_length=0), "max_query_length is 0")
    refused(lambda: writer(model, max_passage_length=10**6), "reads")
    refused(lambda: writer(model).write(PASSAGES, 0), "count is 0")
