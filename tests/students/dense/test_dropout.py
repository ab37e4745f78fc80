"""Another dropout during training: everywhere, in every kind of backbone, and undone afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from limbeck.students.dense.adapters import LoraSettings
from limbeck.students.dense.dropout import dropout
from limbeck.students.dense.student import DenseStudent
from tests.students.dense.test_training import QUICK, SMALL, train
from tests.tiny_models import tiny_encoder
from tests.trainings import weights

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "pad_token_id": 0,
}
BACKBONES = {
    "bert": {},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "roberta": {},
    "mpnet": {},
    "deberta-v2": {},
    "modernbert": {"attention_dropout": 0.3, "embedding_dropout": 0.3, "mlp_dropout": 0.3},
    "qwen2": {"attention_dropout": 0.3, "num_key_value_heads": 1},
}


def differs(model: nn.Module) -> bool:
    """Whether two passes of a model in training differ."""
    tokens = {"input_ids": torch.arange(5, 45)[None], "attention_mask": torch.ones(1, 40, dtype=torch.long)}
    with torch.no_grad():
        one, other = (model(**tokens)[0] for _ in range(2))
    return not torch.equal(one, other)


@pytest.mark.parametrize("kind", BACKBONES)
def test_without_dropout_two_passes_agree_and_afterwards_they_differ_again(kind: str):
    torch.manual_seed(0)
    sizes = {} if kind == "distilbert" else SIZES
    config = AutoConfig.for_model(kind, **sizes | {"vocab_size": 50} | BACKBONES[kind])
    model = AutoModel.from_config(config).train()
    assert differs(model)
    with dropout(model, 0.0):
        assert not differs(model)
    assert differs(model)
    with dropout(model, None):
        assert differs(model)


def test_what_was_dropped_before_is_dropped_again_after_an_error():
    model = nn.Sequential(nn.Dropout(0.1), nn.Sequential(nn.Dropout(0.4)))

    def stop() -> None:
        with dropout(model, 0.25):
            assert [model[0].p, model[1][0].p] == [0.25, 0.25]
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stop()
    assert [model[0].p, model[1][0].p] == [0.1, 0.4]


def test_adapters_keep_their_own(tiny_encoder_path: Path):
    pytest.importorskip("peft")
    student = DenseStudent.start(str(tiny_encoder_path), **SMALL, lora=LoraSettings(rank=2, dropout=0.3))
    shares = {name: part for name, part in student.model.named_modules() if isinstance(part, nn.Dropout)}
    adapted = {name for name in shares if "lora_" in name}
    assert adapted
    with dropout(student.model, 0.2):
        assert {shares[name].p for name in adapted} == {0.3}
        assert {shares[name].p for name in shares.keys() - adapted} == {0.2}


def test_a_training_drops_what_it_is_told(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, world):
    """Without dropout a backbone that has it learns as one that has none."""
    with_it = tiny_encoder(tmp_path_factory.mktemp("with"), dropout=0.5)
    without = tiny_encoder(tmp_path_factory.mktemp("without"))
    quick = replace(QUICK, epochs=1)
    told = weights(train(with_it, world, tmp_path / "told", replace(quick, dropout=0.0))[0].model)
    plain = weights(train(without, world, tmp_path / "plain", quick)[0].model)
    own = weights(train(with_it, world, tmp_path / "own", quick)[0].model)
    assert all(torch.equal(value, plain[name]) for name, value in told.items())
    assert any(not torch.equal(value, plain[name]) for name, value in own.items())
