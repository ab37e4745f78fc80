"""The student as a whole: step 0 is the backbone, it saves and loads, encoders and decoders serve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer

from limbeck.errors import InputError
from limbeck.students.dense.backbone import load_backbone, pooling_module, training_prompts
from limbeck.students.dense.interaction import InteractionModule
from limbeck.students.dense.pooling import PMA
from limbeck.students.dense.student import DenseStudent
from tests.tiny_models import tiny_decoder, tiny_encoder, tiny_tokenizer

TEXTS = ["the cat", "paris is a city in france", "sort the list of numbers by size"]
SMALL = {"max_length": 32, "heads": 4, "hidden": 16, "features": 8, "device": "cpu"}


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_step_zero_is_the_backbone(tmp_path, pooling):
    path = str(tiny_encoder(tmp_path, pooling=pooling))
    student, backbone = DenseStudent.start(path, **SMALL), load_backbone(path, 32, "cpu")
    with torch.inference_mode():
        expected = backbone(backbone.preprocess(TEXTS))["sentence_embedding"]
        found = student.model(student.model.preprocess(TEXTS))["sentence_embedding"]
    assert torch.equal(found, expected)


def test_step_zero_scores_by_cosine(student):
    vectors = student.encode(TEXTS)
    query = student.encode(["a city"], query=True)[0]
    np.testing.assert_allclose(student.score("a city", TEXTS), 20 * vectors @ query, rtol=1e-2, atol=0.1)


def test_a_decoder_that_pads_on_the_left_starts_as_it_is(tmp_path):
    path = str(tiny_decoder(tmp_path))
    student, backbone = DenseStudent.start(path, **SMALL), load_backbone(path, 32, "cpu")
    with torch.inference_mode():
        inputs = backbone.preprocess(TEXTS)
        assert inputs["attention_mask"][0].tolist()[0] == 0
        together = student.model(dict(inputs))["sentence_embedding"]
        assert torch.equal(together, backbone(dict(inputs))["sentence_embedding"])
        alone = student.model(student.model.preprocess(TEXTS[:1]))["sentence_embedding"]
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)


def test_a_backbone_in_bfloat16_learns_in_float32(tmp_path):
    path = str(tiny_decoder(tmp_path, dtype=torch.bfloat16))
    student = DenseStudent.start(path, **SMALL)
    assert {weights.dtype for weights in student.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("make", [tiny_encoder, tiny_decoder])
def test_a_backbone_of_its_first_layers_computes_what_they_give(tmp_path, make):
    path = str(make(tmp_path))
    whole, short = load_backbone(path, 32, "cpu"), load_backbone(path, 32, "cpu", layers=1)
    with torch.inference_mode():
        inputs = whole.preprocess(TEXTS)
        states = short[0](dict(inputs))["token_embeddings"]
        tokens = {key: inputs[key] for key in ("input_ids", "attention_mask")}
        expected = whole.transformers_model(**tokens, output_hidden_states=True).hidden_states[1]
        if make is tiny_decoder:  # a decoder normalises what its last layer gives
            expected = whole.transformers_model.norm(expected)
    torch.testing.assert_close(states, expected)


@pytest.mark.parametrize("make", [tiny_encoder, tiny_decoder])
def test_a_saved_student_of_first_layers_stays_one(tmp_path, make):
    student = DenseStudent.start(str(make(tmp_path)), layers=1, **SMALL)
    student.save(tmp_path / "student")
    plain = SentenceTransformer(str(tmp_path / "student"), device="cpu", trust_remote_code=True)
    assert plain.transformers_model.config.num_hidden_layers == 1
    assert (
        plain.transformers_model.state_dict().keys() == student.model.transformers_model.state_dict().keys()
    )
    np.testing.assert_array_equal(plain.encode(TEXTS), student.model.encode(TEXTS))


@pytest.mark.parametrize("layers", [0, 3])
def test_more_layers_than_there_are_cannot_be_kept(tiny_encoder_path, layers, refused):
    refused(lambda: load_backbone(str(tiny_encoder_path), 32, layers=layers), "has 2 transformer layers")


def test_a_static_model_is_no_backbone(tmp_path, refused):
    static = StaticEmbedding(tiny_tokenizer().backend_tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[static]).save(str(tmp_path / "static"))
    refused(lambda: load_backbone(str(tmp_path / "static"), 32), "is no transformer")


VARIANTS = [
    {"pooling": "mean"},
    {"pooling": "lasttoken"},
    {"pooling": "cls"},
    {"interaction": "cosine"},
    {"branches": "shared"},
    {"pooling": "cls", "interaction": "cosine"},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: ",".join(variant.values()))
def test_a_variant_saves_and_loads(tiny_encoder_path, tmp_path, variant):
    student = DenseStudent.start(str(tiny_encoder_path), **variant, **SMALL)
    waken(student)
    student.save(tmp_path / "student")
    again = DenseStudent.load(tmp_path / "student", "cpu")
    assert [type(module) for module in again.model] == [type(module) for module in student.model]
    np.testing.assert_array_equal(again.encode(TEXTS), student.encode(TEXTS))
    for task in ("symmetric", "asymmetric"):
        np.testing.assert_array_equal(again.score("a", TEXTS, task), student.score("a", TEXTS, task))
        found, expected = again.interaction_weights(task), student.interaction_weights(task)
        np.testing.assert_array_equal(found.branch, expected.branch)
        assert found.cosine_scale == expected.cosine_scale


@pytest.mark.parametrize("make", [tiny_encoder, tiny_decoder])
@pytest.mark.parametrize("pooling", ["mean", "lasttoken", "cls"])
def test_a_plain_pooling_is_that_of_the_token_states(tmp_path, make, pooling):
    student = DenseStudent.start(str(make(tmp_path)), pooling=pooling, **SMALL)
    with torch.inference_mode():
        inputs = student.model.preprocess(TEXTS)
        found = student.model(dict(inputs))["sentence_embedding"]
        states = student.model[0](dict(inputs))["token_embeddings"]
    for row, mask in enumerate(inputs["attention_mask"].bool()):
        real = states[row][mask]
        vector = {"mean": real.mean(0), "lasttoken": real[-1], "cls": real[0]}[pooling]
        torch.testing.assert_close(found[row], torch.nn.functional.normalize(vector, dim=0))


def test_vectors_have_length_one(student):
    np.testing.assert_allclose(np.linalg.norm(student.encode(TEXTS), axis=1), 1, atol=1e-5)


def waken(student):
    torch.manual_seed(1)
    for module in (student.model[1], student.interaction):
        for weights in module.parameters():
            torch.nn.init.normal_(weights, std=0.3)


def test_a_saved_student_loads_as_a_plain_model(student, tmp_path):
    waken(student)
    student.model.prompts = {"query": "what is ", "document": ""}
    student.save(tmp_path / "student")
    plain = SentenceTransformer(str(tmp_path / "student"), device="cpu", trust_remote_code=True)
    again = DenseStudent.load(tmp_path / "student", "cpu")
    inputs = student.model.preprocess(TEXTS)
    with torch.inference_mode():
        expected = student.model(dict(inputs))["sentence_embedding"]
        for model in (plain, again.model):
            assert torch.equal(model(dict(model.preprocess(TEXTS)))["sentence_embedding"], expected)
    assert plain.max_seq_length == 32
    np.testing.assert_array_equal(again.encode(TEXTS), student.encode(TEXTS))
    np.testing.assert_array_equal(again.encode(TEXTS, query=True), student.encode(TEXTS, query=True))
    np.testing.assert_array_equal(again.score("cat", TEXTS), student.score("cat", TEXTS))


@pytest.mark.parametrize("start", ["cosine", "random"])
def test_interaction_weights_are_those_of_the_module(tiny_encoder_path, start):
    student = DenseStudent.start(str(tiny_encoder_path), interaction_start=start, **SMALL)
    weights = student.interaction_weights()
    assert weights.query_half.shape == weights.passage_half.shape == (16, 32)
    assert weights.branch.shape == (8, 16)
    assert weights.cosine_scale == (20 if start == "cosine" else 0)


def test_prompts_of_the_backbone_are_kept(tiny_encoder_path, tmp_path):
    backbone = SentenceTransformer(
        str(tiny_encoder_path), device="cpu", prompts={"query": "what is ", "passage": "the "}
    )
    backbone.save(str(tmp_path / "prompted"))
    student = DenseStudent.start(str(tmp_path / "prompted"), **SMALL)
    assert student.model.prompts["query"] == "what is "
    np.testing.assert_array_equal(student.encode(["a cat"], query=True), student.encode(["what is a cat"]))


def test_prompts_as_the_library_resolves_them(tiny_encoder_path):
    model = SentenceTransformer(str(tiny_encoder_path), device="cpu")
    assert training_prompts(model) == ("", "")
    model.prompts = {"query": "q ", "corpus": "c ", "passage": "p "}
    assert training_prompts(model) == ("q ", "p ")


def test_start_is_the_same_for_a_seed_and_leaves_the_callers_random_numbers(tiny_encoder_path):
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    first = DenseStudent.start(str(tiny_encoder_path), seed=1, **SMALL).interaction.query_half.weight
    assert torch.equal(torch.rand(3), expected)
    again = DenseStudent.start(str(tiny_encoder_path), seed=1, **SMALL).interaction.query_half.weight
    other = DenseStudent.start(str(tiny_encoder_path), seed=2, **SMALL).interaction.query_half.weight
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_student_is_transformer_pma_normalisation_interaction(student):
    names = [type(module).__name__ for module in student.model]
    assert names == ["Transformer", "PMA", "Normalize", "InteractionModule"]
    assert isinstance(student.model[1], PMA)
    assert isinstance(student.interaction, InteractionModule)


def test_a_backbone_without_normalisation_gets_one(tiny_encoder_path):
    plain = str(Path(tiny_encoder_path).parent / "backbone")
    student = DenseStudent.start(plain, **SMALL)
    np.testing.assert_allclose(np.linalg.norm(student.encode(TEXTS), axis=1), 1, atol=1e-5)


def test_heads_that_do_not_divide_are_the_users_error(tiny_encoder_path):
    with pytest.raises(InputError, match=r"5 attention heads .* 32 dimensions[\s\S]*student\.heads"):
        DenseStudent.start(str(tiny_encoder_path), **SMALL | {"heads": 5})


def test_a_model_without_interaction_is_no_student(tiny_encoder_path):
    with pytest.raises(InputError, match="no interaction module"):
        DenseStudent.load(tiny_encoder_path)


def test_an_empty_folder_is_no_student(tmp_path):
    with pytest.raises(InputError, match="no student here"):
        DenseStudent.load(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "gone", "config"])
def test_a_damaged_student_is_named(student, tmp_path, damage):
    student.save(tmp_path)
    weights = tmp_path / "1_PMA" / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:50])
    elif damage == "gone":
        weights.unlink()
    else:
        (tmp_path / "modules.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        DenseStudent.load(tmp_path)


def test_backbone_errors(tmp_path, tiny_encoder_path):
    with pytest.raises(InputError, match="no backbone in the folder"):
        load_backbone(str(tmp_path / "nowhere"), 32)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="could not be loaded"):
        load_backbone(str(tmp_path), 32)
    with pytest.raises(InputError, match="at most 128 tokens, and max_length is 129"):
        load_backbone(str(tiny_encoder_path), 129)
    assert load_backbone(str(tiny_encoder_path), 128, "cpu").max_seq_length == 128


def test_pooling_errors(tiny_encoder_path):
    transformer = Transformer(str(Path(tiny_encoder_path).parent / "backbone"))
    with pytest.raises(InputError, match="no pooling"):
        pooling_module(SentenceTransformer(modules=[transformer], device="cpu"))
    both = Pooling(32, ("mean", "max"))
    with pytest.raises(InputError, match="mean, max"):
        pooling_module(SentenceTransformer(modules=[transformer, both], device="cpu"))
