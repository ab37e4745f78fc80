"""Attention in float32 within real architectures of transformers, tiny and random."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    LlamaConfig,
    T5Config,
)

from limbeck import attention
from limbeck.attention import float32_attention

IDS = torch.tensor([[5, 6, 7, 8, 9, 1], [5, 9, 1, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def bert(**other):
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = BertConfig(vocab_size=10, **SMALL, **quiet, **other)
    return AutoModelForSequenceClassification.from_config(config), {"labels": torch.tensor([0, 1])}


def llama():
    config = LlamaConfig(vocab_size=10, num_key_value_heads=1, **SMALL)
    return AutoModelForCausalLM.from_config(config), {"labels": IDS}


def t5():
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    config = T5Config(vocab_size=10, dropout_rate=0.0, decoder_start_token_id=0, **sizes)
    return AutoModelForSeq2SeqLM.from_config(config), {"labels": IDS}


def bart():
    sides = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    config = BartConfig(
        vocab_size=10,
        d_model=16,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        dropout=0.0,
        pad_token_id=0,
        **sides,
    )
    return AutoModelForSeq2SeqLM.from_config(config), {"labels": IDS}


def gradients(model, labels, *, bf16):
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        model(input_ids=IDS, attention_mask=MASK, **labels).loss.backward()
    return {
        name: weights.grad.clone() for name, weights in model.named_parameters() if weights.grad is not None
    }


@pytest.fixture
def seen(monkeypatch):
    """What attention is given while it runs: the precision of query and mask, and what is around it."""
    found = []
    original = attention.sdpa_attention_forward

    def note(module, query, key, value, mask, **options):
        tensors = [query, key, value, mask, *options.values()]
        numbers = [one for one in tensors if isinstance(one, torch.Tensor) and one.is_floating_point()]
        found.append(({one.dtype for one in numbers}, torch.is_autocast_enabled("cpu")))
        return original(module, query, key, value, mask, **options)

    monkeypatch.setattr(attention, "sdpa_attention_forward", note)
    return found


@pytest.mark.parametrize("make", [bert, llama, bart])
def test_in_a_training_in_bfloat16_attention_sees_float32(make, seen):
    torch.manual_seed(0)
    model, labels = make()
    model.train()
    with float32_attention():
        found = gradients(model, labels, bf16=True)
    assert all(bool(one.isfinite().all()) for one in found.values())
    assert seen
    assert all(kinds == {torch.float32} and not autocast for kinds, autocast in seen)


@pytest.mark.parametrize("make", [bert, llama, bart, t5])
def test_without_autocast_nothing_changes(make):
    torch.manual_seed(0)
    model, labels = make()
    expected = gradients(model.train(), labels, bf16=False)
    with float32_attention():
        found = gradients(model, labels, bf16=False)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_what_gradient_checkpointing_computes_again_is_the_same():
    torch.manual_seed(0)
    model, labels = bert()
    model.train()
    with float32_attention():
        expected = gradients(model, labels, bf16=True)
        model.gradient_checkpointing_enable()
        found = gradients(model, labels, bf16=True)
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_numbers_that_are_added_to_the_mask_are_wide_too(seen):
    half = torch.ones(1, 2, 3, 4, dtype=torch.bfloat16)
    bias = torch.zeros(1, 2, 3, 3, dtype=torch.bfloat16)
    found, _ = attention._attention(torch.nn.Module(), half, half, half, None, position_bias=bias)
    assert found.dtype == torch.bfloat16
    assert found.float().eq(1).all()
    assert seen == [({torch.float32}, False)]


def test_afterwards_attention_is_what_it_was(seen):
    model, labels = bert()

    def train():
        with float32_attention(), float32_attention():
            gradients(model, labels, bf16=True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    during = len(seen)
    assert during
    gradients(model, labels, bf16=True)
    assert len(seen) == during


def test_attention_of_another_kind_stays(seen):
    model, labels = bert(attn_implementation="eager")
    with float32_attention():
        gradients(model, labels, bf16=True)
    assert not seen
