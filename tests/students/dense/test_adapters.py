"""Adapters: step 0 is the backbone, only they and the heads learn, and a saved student has none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from limbeck.students.dense.adapters import LoraSettings, add_adapters, has_adapters, merge_adapters
from limbeck.students.dense.backbone import load_backbone
from limbeck.students.dense.student import DenseStudent
from limbeck.students.dense.training import train_student
from tests.students.dense.test_training import KL, QUICK, SMALL
from tests.tiny_models import tiny_decoder, tiny_encoder
from tests.trainings import Interrupt, Interrupted, weights

TEXTS = ["the cat", "paris is a city in france", "sort the list of numbers by size"]
LORA = LoraSettings(rank=4, dropout=0.1)
MODELS = pytest.mark.parametrize("make", [tiny_encoder, tiny_decoder])


def train(path, world, work, *, callbacks=(), settings=QUICK):
    student = DenseStudent.start(str(path), lora=LORA, **SMALL)
    before = weights(student.model)
    train_student(
        student,
        world.lists,
        queries=world.queries,
        passages=world.passages,
        objective=KL,
        settings=settings,
        work_dir=work,
        cosine_weight=0.5,
        callbacks=callbacks,
    )
    return student, before


@MODELS
def test_step_zero_is_the_backbone(tmp_path, make):
    path = str(make(tmp_path))
    student, backbone = DenseStudent.start(path, lora=LORA, **SMALL), load_backbone(path, 32, "cpu")
    assert has_adapters(student.model)
    np.testing.assert_array_equal(student.model.encode(TEXTS), backbone.encode(TEXTS))


def test_merging_by_hand(tmp_path):
    model = load_backbone(str(tiny_encoder(tmp_path)), 32, "cpu")
    before = model.transformers_model.encoder.layer[0].attention.self.query.weight.clone()
    add_adapters(model, LoraSettings(rank=2, alpha=6.0))
    layer = model.transformers_model.encoder.layer[0].attention.self.query
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.nn.init.normal_(b)
    expected = before + 6.0 / 2 * b @ a
    merge_adapters(model)
    merged = model.transformers_model.encoder.layer[0].attention.self.query
    assert type(merged) is torch.nn.Linear
    torch.testing.assert_close(merged.weight, expected)
    assert not has_adapters(model)


def test_adapters_of_an_embedding_are_merged_too(tmp_path):
    model = load_backbone(str(tiny_encoder(tmp_path)), 32, "cpu")
    add_adapters(model, LoraSettings(rank=2, target_modules=("word_embeddings",)))
    assert has_adapters(model)
    merge_adapters(model)
    assert not has_adapters(model)
    assert type(model.transformers_model.embeddings.word_embeddings) is torch.nn.Embedding


@MODELS
def test_adapters_and_heads_learn_and_the_backbone_stays(tmp_path, world, make):
    student, before = train(make(tmp_path / "backbone"), world, tmp_path / "work")
    for name, value in weights(student.model).items():
        frozen = name.startswith("0.") and "lora_" not in name
        moves = "lora_" in name or name in {"1.branch.weight", "3.outputs.asymmetric.weight"}
        assert not frozen or torch.equal(value, before[name]), name
        assert not moves or not torch.equal(value, before[name]), name


@MODELS
def test_a_saved_student_is_plain_and_says_the_same(tmp_path, world, make):
    student, _ = train(make(tmp_path / "backbone"), world, tmp_path / "work")
    student.model.eval()
    expected, scores = student.model.encode(TEXTS), student.score("a city", TEXTS)
    student.save(tmp_path / "student")
    names = student.model.state_dict().keys()
    assert not any("lora" in name or "base_layer" in name for name in names)
    again = DenseStudent.load(tmp_path / "student", "cpu")
    np.testing.assert_allclose(again.model.encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(again.score("a city", TEXTS), scores, rtol=2e-2, atol=0.1)


@pytest.mark.slow
def test_a_saved_student_loads_where_peft_is_not_installed(tmp_path):
    student = DenseStudent.start(str(tiny_decoder(tmp_path)), lora=LORA, **SMALL)
    student.save(tmp_path / "student")
    code = (
        "import sys; sys.modules['peft'] = None\n"
        "from sentence_transformers import SentenceTransformer\n"
        f"model = SentenceTransformer({str(tmp_path / 'student')!r}, device='cpu', trust_remote_code=True)\n"
        "print(model.encode(['the cat']).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 32)"


@MODELS
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, world, make):
    path = make(tmp_path / "backbone")
    whole, _ = train(path, world, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(path, world, tmp_path / "cut", callbacks=[Interrupt(4)])
    resumed, before = train(path, world, tmp_path / "cut")
    expected = weights(whole.model)
    for name, value in weights(resumed.model).items():
        assert torch.equal(value, expected[name]), name
    assert not torch.equal(before["1.branch.weight"], expected["1.branch.weight"])


def test_layers_that_are_not_there_are_refused(tiny_encoder_path, refused):
    model = load_backbone(str(tiny_encoder_path), 32, "cpu")
    refused(lambda: add_adapters(model, LoraSettings(target_modules=["q_proj"])), "no adapters can be put")
