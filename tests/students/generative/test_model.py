"""Models of every kind: what they become, and that they come back as they were."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from transformers import BartForConditionalGeneration, BertModel, EncoderDecoderModel

from limbeck.errors import InputError
from limbeck.students.generative.causal import CausalGenerator
from limbeck.students.generative.generator import IGNORED, log_probabilities
from limbeck.students.generative.model import load_generator
from limbeck.students.generative.seq2seq import Seq2SeqGenerator
from tests.students.generative.worlds import KINDS, load_tiny, save_tiny
from tests.tiny_models import VOCABULARY

QUERIES = ["cat dog", "what is the capital of france"]
TARGETS = [[60, 61, 62], [70]]


def prompts(generator):
    return [view.start for view in generator.vocabulary.markers(["title", "body"]).values()]


def test_every_model_becomes_a_generator(tiny_paths):
    made = {kind: load_tiny(path) for kind, path in tiny_paths.items()}
    assert {kind: generator.kind for kind, generator in made.items()} == {
        "bart": "seq2seq", "t5": "seq2seq", "bert": "seq2seq", "qwen": "causal",
    }  # fmt: skip
    assert isinstance(made["bert"].model, EncoderDecoderModel)
    for generator in made.values():
        assert not generator.model.training
        assert generator.model.get_output_embeddings().weight.shape[0] >= len(generator.vocabulary)


def test_the_embeddings_that_were_there_stay(tiny_paths):
    before = BartForConditionalGeneration.from_pretrained(tiny_paths["bart"]).get_input_embeddings().weight
    after = load_tiny(tiny_paths["bart"]).model.get_input_embeddings().weight
    assert torch.equal(after[: len(before)], before)
    assert len(after) == len(before) + 6


def test_a_start_can_be_chosen_and_is_the_same_for_a_seed(tiny_paths):
    causal = load_tiny(tiny_paths["bert"], start="causal")
    assert isinstance(causal, CausalGenerator)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (load_tiny(tiny_paths["bert"], seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)  # nobody else's random numbers are used
    states = [generator.model.state_dict() for generator in (one, same, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(not torch.equal(value, states[2][name]) for name, value in states[0].items())


def test_the_halves_of_an_encoder_keep_their_first_layers(tiny_paths, tmp_path):
    whole = BertModel.from_pretrained(tiny_paths["bert"]).encoder.layer
    generator = load_tiny(tiny_paths["bert"], encoder_layers=1, decoder_layers=None)
    reading, writing = generator.model.encoder.encoder.layer, generator.model.decoder.bert.encoder.layer
    assert (len(whole), len(reading), len(writing)) == (2, 1, 2)
    assert torch.equal(reading[0].output.dense.weight, whole[0].output.dense.weight)
    assert torch.equal(writing[1].output.dense.weight, whole[1].output.dense.weight)
    generator.save(tmp_path / "saved")
    assert len(load_generator(tmp_path / "saved").model.encoder.encoder.layer) == 1
    # More than there are is all of them.
    assert len(load_tiny(tiny_paths["bert"], encoder_layers=9).model.encoder.encoder.layer) == 2


def test_saved_and_loaded_it_says_the_same(generator, tmp_path):
    generator.save(tmp_path / "saved")
    again = load_generator(tmp_path / "saved", device="cpu")
    assert type(again) is type(generator)
    assert again.vocabulary.fingerprint == generator.vocabulary.fingerprint
    with torch.inference_mode():
        first, expected = (one.start(QUERIES, prompts(one))[0] for one in (again, generator))
    assert torch.equal(first, expected)


def test_a_saved_generator_keeps_its_settings_and_takes_further_views(tiny_paths, tmp_path):
    load_tiny(tiny_paths["bart"], max_query_length=5, views=["title", "body"]).save(tmp_path / "saved")
    again = load_tiny(tmp_path / "saved", views=["title", "body", "summary"], max_query_length=9)
    assert again.max_query_length == 5
    assert len(again.vocabulary) == len(VOCABULARY) + 6
    assert again.model.get_input_embeddings().weight.shape[0] == len(VOCABULARY) + 6


def test_log_probabilities_are_those_of_the_steps(generator):
    with torch.inference_mode():
        found = log_probabilities(generator, QUERIES, prompts(generator), TARGETS)
        assert found.shape == (2, 3)
        assert found[1, 1:].tolist() == [0, 0]
        chances, state = generator.start(QUERIES, prompts(generator))
        torch.testing.assert_close(found[:, 0], chances[[0, 1], [60, 70]], atol=1e-4, rtol=1e-4)
        for place in (1, 2):
            chances, state = generator.step(state, np.array([0]), np.array([TARGETS[0][place - 1]]))
            torch.testing.assert_close(found[0, place], chances[0, TARGETS[0][place]], atol=1e-4, rtol=1e-4)


def test_log_probabilities_are_differentiable_and_normalised(generator):
    every = [[token] for token in range(generator.model.get_output_embeddings().weight.shape[0])]
    found = log_probabilities(generator, ["cat"] * len(every), prompts(generator)[:1] * len(every), every)
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-4)
    found[7].sum().backward()
    assert any(
        value.grad is not None and value.grad.abs().sum() > 0 for value in generator.model.parameters()
    )
    generator.model.zero_grad(set_to_none=True)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_stand_under_the_targets_alone(tiny_paths, kind):
    generator = load_tiny(tiny_paths[kind])
    labels = generator.training_inputs(QUERIES, prompts(generator), TARGETS)["labels"]
    assert [row[row != IGNORED].tolist() for row in labels] == TARGETS


def test_a_long_query_is_cut(tiny_paths):
    generator = load_tiny(tiny_paths["bart"], max_query_length=4)
    long, cut = "cat dog bird fish sea river " * 50, "cat dog bird fish"
    with torch.inference_mode():
        found, expected = (generator.start([text], prompts(generator)[:1])[0] for text in (long, cut))
    assert torch.equal(found, expected)
    with pytest.raises(InputError, match="max_query_length is 0"):
        load_tiny(tiny_paths["bart"], max_query_length=0)


@pytest.mark.parametrize("query", ["猫", "", "\u200b", "🦊 Кот"])
def test_queries_in_another_script_are_answered(generator, query):
    with torch.inference_mode():
        chances, _ = generator.start([query, "cat"], prompts(generator))
    assert torch.isfinite(chances[:, :50]).all()


def test_loading_prints_nothing(tiny_paths, capfd, caplog):
    with caplog.at_level(logging.WARNING):
        load_tiny(tiny_paths["bert"])
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_bad_input(tiny_paths, tmp_path):
    with pytest.raises(InputError, match="no generator can be loaded"):
        load_tiny(tmp_path)
    with pytest.raises(InputError, match="the start is 'prefix'"):
        load_tiny(tiny_paths["bart"], start="prefix")
    with pytest.raises(InputError, match="there is no backbone"):
        load_generator("./nowhere")
    load_tiny(tiny_paths["bart"]).save(tmp_path / "saved")
    settings = tmp_path / "saved" / "generator.json"
    settings.write_text(json.dumps({"version": 99, "kind": "seq2seq", "max_query_length": 3}))
    with pytest.raises(InputError, match="settings of the generator cannot be read"):
        load_tiny(tmp_path / "saved")


def test_a_saved_generator_without_its_weights_is_refused(tmp_path):
    folder = save_tiny("bart", tmp_path / "bart")
    generator = load_tiny(folder)
    generator.save(tmp_path / "saved")
    weights = tmp_path / "saved" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="no generator can be loaded"):
        load_tiny(tmp_path / "saved")
    from safetensors.torch import save_file  # noqa: PLC0415

    state = {
        name: value.clone() for name, value in generator.model.state_dict().items() if "layers.1" in name
    }
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match="lacks"):
        load_tiny(tmp_path / "saved")
    assert isinstance(generator, Seq2SeqGenerator)
