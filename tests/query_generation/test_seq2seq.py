"""A model that writes questions: what it reads, how it draws, and that only seed and passage decide."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BartForConditionalGeneration, EncoderDecoderModel, GenerationConfig

from limbeck.query_generation.sampling import Draw, Sampling, gumbel_noise
from limbeck.query_generation.seq2seq import QueryGenerator
from limbeck.students.generative.generator import IGNORED
from tests.students.generative.worlds import save_tiny
from tests.tiny_models import VOCABULARY
from tests.trainings import assert_same, weights

KINDS = ("bart", "t5", "bert")
TEXTS = [
    "paris is the capital of france",
    "cat",
    "the fish in the sea and the bird by the river",
    "read the file and sort the list",
    "queen of germany",
]
CAT, DOG, FISH = (VOCABULARY.index(word) for word in ("cat", "dog", "fish"))
LIKELIEST = Sampling(top_k=1)


def start(path, **options):
    options = {"max_passage_length": 20, "max_query_length": 6} | options
    return QueryGenerator.start(path, device="cpu", **options)


@pytest.fixture(scope="module", params=KINDS)
def generator(request, tiny_paths):
    """Do not train it."""
    return start(tiny_paths[request.param])


@pytest.fixture(scope="module")
def bart(tiny_paths):
    return start(tiny_paths["bart"])


def plain_questions(generator, text, count, sampling):
    """The rule said again: no batch, no cache, no library; every prefix is read from its beginning."""
    vocabulary, questions = generator.vocabulary, []
    noise = gumbel_noise([text], (count, generator.max_query_length, sampling.top_k), sampling.seed)
    barred = set(range(3)) | {4} | set(range(len(VOCABULARY), 2 * len(VOCABULARY)))  # all but [SEP], the end
    for draw in range(count):
        written = []
        while len(written) < generator.max_query_length and 3 not in written:
            inputs = generator.training_inputs([text], ["cat"])
            inputs.pop("labels")
            prompt = inputs["decoder_input_ids"][0, : -len(vocabulary.encode(["cat"])[0])].tolist()
            inputs["decoder_input_ids"] = torch.tensor([[*prompt, *written]])
            with torch.inference_mode():
                logits = generator.model(**inputs).logits[0, -1].double().numpy()
            logits = logits / sampling.temperature
            logits[[token for token in barred if token < len(logits)]] = -np.inf
            order = np.argsort(-logits, kind="stable")[: sampling.top_k]
            chances = np.exp(logits[order]) / np.exp(logits[order]).sum()
            before = np.cumsum(chances) - chances
            sums = np.log(chances) + noise[draw, len(written)]
            sums[1:][before[1:] >= sampling.top_p] = -np.inf
            written.append(int(order[sums.argmax()]))
        questions.append(vocabulary.decode(written))
    return [question for question in dict.fromkeys(questions) if question]


def test_a_draw_by_hand():
    # Tokens 2, 0 and 3 are the likeliest of those that may be drawn: probabilities 1/2, 1/4, 1/4 and less.
    scores = torch.tensor([[0.25, 0.9, 0.5, 0.2, 0.05]]).log().repeat(4, 1)
    noise = torch.tensor([
        [[0.0, 0.0, 0.0]],  # 2 is the likeliest
        [[0.0, 0.8, 0.0]],  # log 0.25 + 0.8 > log 0.5
        [[0.0, 0.8, 1.2]],  # log 0.2 + 1.2 > log 0.25 + 0.8
        [[0.0, 0.6, 0.9]],  # log 0.25 + 0.6, log 0.2 + 0.9 < log 0.5
    ])  # fmt: skip
    history = torch.zeros(4, 2, dtype=torch.int64)
    barred = torch.tensor([1])

    def drawn(sampling):
        found = Draw(noise, 2, sampling, barred)(history, scores)
        assert (found > -torch.inf).sum(1).tolist() == [1, 1, 1, 1]
        return found.argmax(1).tolist()

    assert drawn(Sampling(top_k=3)) == [2, 0, 3, 2]
    # The first two make up 0.75 / 0.95 = 0.79 of the three, the first alone 0.53.
    assert drawn(Sampling(top_k=3, top_p=0.78)) == [2, 0, 0, 2]
    assert drawn(Sampling(top_k=3, top_p=0.5)) == [2, 2, 2, 2]
    # Twice as hot, log 0.25 / 2 + 0.6 = -0.09 and log 0.2 / 2 + 0.9 = 0.10 beat log 0.5 / 2 = -0.35.
    assert drawn(Sampling(top_k=3, temperature=2.0)) == [2, 0, 3, 3]


def test_draws_have_the_distribution_of_the_model():
    chances = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    noise = gumbel_noise([f"text {number}" for number in range(400)], (50, 1, 4), seed=3)
    assert noise.shape == (20000, 1, 4)
    scores = torch.tensor(chances).log().float().repeat(20000, 1)
    draw = Draw(torch.from_numpy(noise), 1, Sampling(top_k=4), torch.tensor([], dtype=torch.int64))
    found = draw(torch.zeros(20000, 1, dtype=torch.int64), scores).argmax(1)
    shares = np.bincount(found, minlength=5) / 20000
    np.testing.assert_allclose(shares, [*(chances[:4] / 0.95), 0], atol=0.01)


@pytest.mark.parametrize("sampling", [LIKELIEST, Sampling(seed=4), Sampling(top_p=0.6, temperature=1.5)])
def test_questions_are_those_of_the_plain_rule(generator, sampling):
    found = generator.generate(TEXTS, 3, sampling=sampling, batch_size=2)
    assert found == [plain_questions(generator, text, 3, sampling) for text in TEXTS]


def test_seed_and_passage_alone_decide(generator):
    sampling = Sampling(seed=7)
    expected = generator.generate(TEXTS, 4, sampling=sampling)
    assert all(len(questions) > 1 for questions in expected)
    torch.manual_seed(99)
    assert generator.generate(TEXTS[::-1], 4, sampling=sampling, batch_size=1) == expected[::-1]
    assert generator.generate(TEXTS[2:3] * 2, 4, sampling=sampling, batch_size=3) == expected[2:3] * 2
    more = generator.generate(TEXTS, 6, sampling=sampling)
    assert [questions[: len(few)] for questions, few in zip(more, expected, strict=True)] == expected
    assert generator.generate(TEXTS, 4, sampling=Sampling(seed=8)) != expected


def test_nobody_elses_random_numbers_are_used(bart):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    bart.generate(TEXTS[:1], 2)
    assert torch.equal(torch.rand(1), expected)


def test_questions_are_clean(generator):
    for questions in generator.generate(TEXTS, 20, sampling=Sampling(top_k=200, temperature=5.0)):
        assert len(set(questions)) == len(questions) > 5
        for question in questions:
            assert question == " ".join(question.split()) != ""
            assert not any(token in question for token in VOCABULARY[:5])


def test_tokens_that_the_tokenizer_does_not_have_are_not_drawn(tmp_path, bart):
    folder = save_tiny("bart", tmp_path / "bart")
    model = BartForConditionalGeneration.from_pretrained(folder)
    model.resize_token_embeddings(len(VOCABULARY) + 30)
    with torch.no_grad():
        model.final_logits_bias = torch.zeros(1, len(VOCABULARY) + 30)
        model.final_logits_bias[:, len(VOCABULARY) :] = 50.0
    model.save_pretrained(folder)
    assert start(folder).generate(TEXTS, 3) == bart.generate(TEXTS, 3)


def test_a_model_that_ends_at_once_writes_nothing(tmp_path):
    folder = save_tiny("bart", tmp_path / "bart")
    model = BartForConditionalGeneration.from_pretrained(folder)
    model.final_logits_bias[:, 3] = 50.0
    model.save_pretrained(folder)
    assert start(folder).generate(TEXTS, 3) == [[]] * len(TEXTS)


def test_settings_that_a_model_brings_for_other_work_are_not_used(tiny_paths, tmp_path, bart):
    folder = save_tiny("bart", tmp_path / "bart")
    GenerationConfig(
        decoder_start_token_id=3, eos_token_id=3, pad_token_id=0, num_beams=4, min_length=6, max_length=7,
        no_repeat_ngram_size=1, length_penalty=2.0, forced_bos_token_id=CAT, repetition_penalty=3.0,
    ).save_pretrained(folder)  # fmt: skip
    found, expected = (one.generate(TEXTS, 3) for one in (start(folder), bart))
    assert found == expected


@pytest.mark.parametrize(
    ("kind", "before"),
    [("bart", [3, 2]), ("t5", [0, 2]), ("bert", [2])],  # the start and [CLS]; for BERT they are one
)
def test_inputs_by_hand(tiny_paths, kind, before):
    generator = start(tiny_paths[kind], max_passage_length=3, max_query_length=3)
    inputs = generator.training_inputs(["cat dog", "dog cat fish bird"], ["fish", "cat dog fish"])
    assert inputs["input_ids"].tolist() == [
        [2, CAT, DOG, 3, 0],
        [2, DOG, CAT, FISH, 3],
    ]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1] * 5]
    # A question that is too long is cut, and does not end where it is cut.
    unasked = [IGNORED] * (len(before) - 1)
    assert inputs["labels"].tolist() == [[*unasked, FISH, 3, IGNORED], [*unasked, CAT, DOG, FISH]]
    assert inputs["decoder_input_ids"].tolist() == [[*before, FISH, 0], [*before, CAT, DOG]]


def test_nothing_is_asked_about_an_empty_passage(generator):
    for nothing in ("", " \n ", "\u0000"):
        found = generator.generate([nothing, TEXTS[0]], 2)
        assert found == [[], *generator.generate(TEXTS[:1], 2)]
    assert generator.generate([], 2) == []


def test_a_long_passage_is_cut(bart):
    long = "cat dog bird fish " * 200
    cut = " ".join(long.split()[:20])
    assert bart.generate([long], 1, sampling=LIKELIEST) == bart.generate([cut], 1, sampling=LIKELIEST)


def test_saved_and_loaded_it_writes_the_same(generator, tmp_path):
    generator.save(tmp_path / "saved")
    again = QueryGenerator.load(tmp_path / "saved", device="cpu")
    assert again.settings() == generator.settings()
    assert (again.max_passage_length, again.max_query_length) == (20, 6)
    assert again.generate(TEXTS, 3) == generator.generate(TEXTS, 3)
    again.save(tmp_path / "saved")  # over itself
    assert_same(
        weights(QueryGenerator.load(tmp_path / "saved", device="cpu").model), weights(generator.model)
    )


def test_an_encoder_becomes_one_and_is_the_same_for_a_seed(tiny_paths):
    one, same, other = (start(tiny_paths["bert"], seed=seed) for seed in (1, 1, 2))
    assert isinstance(one.model, EncoderDecoderModel)
    assert_same(weights(one.model), weights(same.model))
    with pytest.raises(AssertionError):
        assert_same(weights(one.model), weights(other.model))


def test_nothing_is_printed(tiny_paths, tmp_path, capfd, caplog):
    with caplog.at_level(logging.WARNING):
        generator = start(tiny_paths["bert"])
        generator.generate(TEXTS, 2)
        generator.save(tmp_path / "saved")
        QueryGenerator.load(tmp_path / "saved", device="cpu")
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_models_that_cannot_become_one(tiny_paths, tmp_path, refused):
    refused(lambda: start(tiny_paths["qwen"]), "of the kind 'causal'")
    refused(lambda: start(tmp_path), "no generator can be loaded")
    file = tmp_path / "model.bin"
    file.write_text("x")
    refused(lambda: start(file), "there is no backbone")
    refused(lambda: start(tiny_paths["bart"], max_passage_length=0), "max_passage_length is 0")
    refused(lambda: start(tiny_paths["bart"], max_query_length=0), "max_query_length is 0")
    # 128 positions: [CLS] and [SEP] around a passage; the start and [CLS] before a question.
    start(tiny_paths["bart"], max_passage_length=126, max_query_length=126)
    refused(lambda: start(tiny_paths["bart"], max_passage_length=127), "max_passage_length is 127")
    refused(lambda: start(tiny_paths["bart"], max_query_length=127), "max_query_length is 127")
    start(tiny_paths["t5"], max_passage_length=1000)


def test_folders_that_are_not_a_saved_one(tiny_paths, tmp_path, refused, bart):
    refused(lambda: QueryGenerator.load(tmp_path / "nowhere"), "no such folder")
    other = Path(tiny_paths["bart"])
    refused(lambda: QueryGenerator.load(other), "there is no query generator", name=other.name)
    file = tmp_path / "file"
    file.write_text("x")
    refused(lambda: QueryGenerator.load(file), "this is a file")
    refused(lambda: bart.save(file), "this is a file")
    bart.save(tmp_path / "saved")
    noted = tmp_path / "saved" / "query_generator.json"
    whole = json.loads(noted.read_text())
    for text in ("{", "[]", json.dumps(whole | {"version": 99}), json.dumps({"version": 1})):
        noted.write_text(text)
        refused(
            lambda: QueryGenerator.load(tmp_path / "saved"), "cannot be read", name="query_generator.json"
        )
    noted.write_text(json.dumps(whole))
    state = load_file(tmp_path / "saved" / "model.safetensors")
    half = {name: value for name, value in state.items() if "layers.1" not in name}
    save_file(half, tmp_path / "saved" / "model.safetensors", metadata={"format": "pt"})
    refused(lambda: QueryGenerator.load(tmp_path / "saved"), "lacks")


def test_bad_numbers(bart, refused):
    refused(lambda: bart.generate(TEXTS, 0), "count is 0")
    refused(lambda: bart.generate(TEXTS, 1, batch_size=0), "batch_size is 0")
    refused(lambda: Sampling(top_k=0), "top_k is 0")
    refused(lambda: Sampling(top_p=0.0), "top_p is 0")
    refused(lambda: Sampling(top_p=1.1), "top_p is 1.1")
    refused(lambda: Sampling(temperature=0.0), "the temperature is 0")
