from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from limbeck.errors import InputError
from limbeck.teachers import FeatureTeacher
from limbeck.teachers.llm import PROMPTS, LLMTeacher, Prompt, load_language_model
from tests.tiny_models import LLM_FAMILIES, metaspace_tokenizer, tiny_llm

PROMPT = Prompt("Which? {query}\nPassage: {passage}\nAnswer:", ("yes",), ("no",))
QUERIES = ["where is paris", "cat", "a long question of the king and the queen in the red house"]
PASSAGES = ["paris is the capital of france", "cat", "a dog and a cat " * 9, "x", "", "blue fish in the sea"]
PAIRS = [(query, passage) for passage in PASSAGES for query in QUERIES] + [("asked once", "a dog")]


def by_hand(path, pairs):
    """The library's own forward of each whole prompt by itself, and all of its logits."""
    model = AutoModelForCausalLM.from_pretrained(path).eval()
    teacher = LLMTeacher(load_language_model(path, device="cpu"), PROMPT)
    scores, features = [], []
    for prefix, suffix in teacher.encoder.encode(pairs):
        with torch.no_grad():
            ids = torch.tensor([[*prefix, *suffix]])
            logits = model(ids).logits[0, -1].double()
            features.append(model.base_model(ids).last_hidden_state[0, -1].numpy())
        yes, no = (logits[list(side)].logsumexp(0) for side in teacher.answers)
        scores.append(float(yes - no))
    return np.array(scores), np.stack(features)


@pytest.mark.parametrize("family", LLM_FAMILIES)
def test_a_shared_prefix_changes_nothing(llm_path, family):
    model = load_language_model(llm_path(family), device="cpu")
    shared = LLMTeacher(model, PROMPT, batch_size=4)
    plain = LLMTeacher(model, PROMPT, batch_size=4, share_prefix=False)
    assert shared.shares_prefix == (family != "mamba")
    assert not plain.shares_prefix
    expected, expected_features = by_hand(llm_path(family), PAIRS)
    assert np.ptp(expected) > 0.1
    for teacher in (shared, plain):
        scores, features = teacher.score_with_features(PAIRS)
        assert scores == pytest.approx(expected, abs=1e-4)
        assert features == pytest.approx(expected_features, abs=1e-4)


@pytest.mark.parametrize("family", [family for family in LLM_FAMILIES if family != "mamba"])
def test_queries_of_few_passages_go_together(llm_path, family):
    model = load_language_model(llm_path(family), device="cpu")
    queries = [*"abcd", "where is paris", *"fg", "what is a cat in the sea"]
    pairs = [(query, passage) for query in queries for passage in ("cat", "blue fish in the sea", "")]
    teacher = LLMTeacher(model, PROMPT, batch_size=9)
    calls = []
    hook = model.model.register_forward_pre_hook(
        lambda _, given, named: calls.append(len(named["input_ids"])), with_kwargs=True
    )
    scores = teacher.score(pairs)
    hook.remove()
    # The longest first; six queries have one length, and three of them fill a batch.
    assert calls == [1, 3, 1, 3, 3, 9, 3, 9]
    assert scores == pytest.approx(LLMTeacher(model, PROMPT, share_prefix=False).score(pairs), abs=1e-4)


def test_scores_do_not_depend_on_what_else_is_asked(llm_path):
    teacher = LLMTeacher(load_language_model(llm_path(), device="cpu"), PROMPT)
    assert isinstance(teacher, FeatureTeacher)
    together = teacher.score(PAIRS)
    assert together == pytest.approx([teacher.score([pair])[0] for pair in PAIRS], abs=1e-4)
    assert teacher.score(PAIRS[::-1])[::-1] == pytest.approx(together, abs=1e-4)
    assert teacher.score([]).shape == (0,)


def test_the_model_keeps_its_head(llm_path):
    model = load_language_model(llm_path(), device="cpu")
    teacher = LLMTeacher(model, PROMPT)
    teacher.score(PAIRS[:3])
    assert model.model(torch.tensor([[5, 6]])).logits.shape == (1, 2, 512)


def test_what_tells_teachers_apart(llm_path, tmp_path):
    def version(path, **options):
        return LLMTeacher(load_language_model(path, device="cpu", options=options), PROMPT).version

    path = llm_path()
    assert version(shutil.copytree(path, tmp_path / "copy")) == version(path)
    assert version(path, dtype="bfloat16") != version(path)
    assert version(tiny_llm(tmp_path / "other", seed=1)) != version(path)
    metaspace_tokenizer().save_pretrained(tmp_path / "copy")
    assert version(tmp_path / "copy") != version(path)
    model = load_language_model(path, device="cpu")
    assert LLMTeacher(model, PROMPT, max_length=100).version != LLMTeacher(model, PROMPT).version
    assert "{query}\nPassage: {passage}\nAnswer:[yes: yes; no: no]" in LLMTeacher(model, PROMPT).prompt


def test_chat_models_are_asked_as_a_user_asks(llm_path):
    model = load_language_model(llm_path(chat=True), device="cpu")
    chat, plain = (LLMTeacher(model, PROMPT, chat=chat) for chat in ("auto", "never"))
    assert chat.prompt.startswith("<|start|>user\nWhich? {query}")
    assert chat.prompt != plain.prompt
    assert abs(chat.score(PAIRS) - plain.score(PAIRS)).max() > 1e-3


def test_long_passages_are_shortened_and_counted(llm_path):
    teacher = LLMTeacher(load_language_model(llm_path(), device="cpu"), PROMPT, max_length=80)
    ends = teacher.score([("cat", "dog " * 200 + "queen"), ("cat", "dog " * 200 + "king"), ("cat", "dog")])
    assert teacher.shortened == 2
    assert ends[0] == ends[1] != ends[2]


def test_more_tokens_than_the_model_reads(llm_path):
    with pytest.raises(InputError, match=r"max_length is 600, but .* reads 512 tokens"):
        LLMTeacher(load_language_model(llm_path(), device="cpu"), PROMPT, max_length=600)


def test_what_is_no_causal_language_model(tiny_encoder_path, tiny_cross_encoder_path, tmp_path):
    for path in (tiny_encoder_path, tiny_cross_encoder_path):
        with pytest.raises(InputError, match="is no causal language model"):
            load_language_model(path, device="cpu")
    with pytest.raises(InputError, match="no language model can be loaded"):
        load_language_model(tmp_path / "nothing", device="cpu")


def test_a_masked_language_model_looks_ahead(tmp_path):
    from transformers import BertForMaskedLM  # noqa: PLC0415

    from tests.tiny_models import tiny_config, tiny_tokenizer  # noqa: PLC0415

    BertForMaskedLM(tiny_config()).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="depends on the words after it"):
        load_language_model(tmp_path, device="cpu")


def test_quantisation_without_its_package(llm_path):
    options = {"quantization_config": {"load_in_4bit": True}}
    with pytest.raises(InputError, match="bitsandbytes"):
        load_language_model(llm_path(), device="cpu", options=options)


def test_broken_weights(llm_path):
    model = load_language_model(llm_path(), device="cpu")
    teacher = LLMTeacher(model, PROMPT)
    model.model.get_output_embeddings().weight.data.fill_(float("nan"))
    with pytest.raises(
        InputError, match="the teacher 'llm' gave the score nan to the query 'where is paris'"
    ):
        teacher.score(PAIRS)


@pytest.mark.parametrize("key", PROMPTS)
def test_the_built_in_prompts_are_scored(llm_path, key):
    teacher = LLMTeacher(load_language_model(llm_path(), device="cpu"), PROMPTS[key])
    scores = teacher.score([("cat", "the cat"), ("cat", "a dog"), ("猫", "狗")])
    assert len(set(scores.tolist())) == 3


def test_tokenizers_of_other_makes(llm_path, tmp_path):
    path = shutil.copytree(llm_path("llama"), tmp_path / "copy")
    metaspace_tokenizer().save_pretrained(path)
    assert AutoTokenizer.from_pretrained(path).tokenize("yes") == ["▁yes"]
    scores, _ = by_hand(path, PAIRS)
    assert LLMTeacher(load_language_model(path, device="cpu"), PROMPT).score(PAIRS) == pytest.approx(
        scores, abs=1e-4
    )
