"""Teachers that are neural networks, with tiny random ones."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer
from torch.nn import Identity
from transformers import RobertaConfig, RobertaForSequenceClassification

from limbeck.data import Judgements
from limbeck.encoders import model_digest
from limbeck.errors import InputError
from limbeck.teachers import (
    BiEncoderTeacher,
    CrossEncoderTeacher,
    FineTuning,
    ScoreCache,
    Teacher,
    cross_encoder,
    fine_tune_cross_encoder,
    score_pairs,
)
from tests.tiny_models import WORDS, tiny_cross_encoder, tiny_tokenizer
from tests.trainings import Interrupt, Interrupted, Steps, leave_half

PAIRS = [
    ("where is paris", "paris is the capital of france"),
    ("cat", "the cat"),
    ("where is paris", "a dog " * 30),
    ("blue fish", "x"),
    ("cat", "paris is the capital of france"),
]


def test_cross_encoder_gives_logits_in_the_order_asked(tiny_cross_encoder_path):
    teacher = CrossEncoderTeacher(tiny_cross_encoder_path, batch_tokens=64)
    assert isinstance(teacher, Teacher)
    scores = teacher.score(PAIRS)
    assert scores.dtype == np.float64
    assert teacher.score(PAIRS[::-1])[::-1] == pytest.approx(scores, abs=1e-2)
    # The library's own answer, in float32 and through its sigmoid.
    by_library = CrossEncoder(str(tiny_cross_encoder_path), device="cpu").predict(PAIRS)
    assert 1 / (1 + np.exp(-scores)) == pytest.approx(by_library, abs=1e-2)
    assert teacher.score([]).shape == (0,)


def test_cross_encoder_scores_hardly_depend_on_the_batch(tiny_cross_encoder_path):
    teacher = CrossEncoderTeacher(tiny_cross_encoder_path)
    together = teacher.score(PAIRS)
    alone = np.concatenate([teacher.score([pair]) for pair in PAIRS])
    assert together == pytest.approx(alone, abs=1e-2)


def test_in_float32_the_logits_are_those_of_the_library(tiny_cross_encoder_path, monkeypatch):
    monkeypatch.setattr(cross_encoder, "autocast", lambda device: nullcontext())
    monkeypatch.setattr(cross_encoder, "TOKENISED_AT_ONCE", 8)  # so that the pairs are more than one block
    teacher = CrossEncoderTeacher(tiny_cross_encoder_path, batch_tokens=50, max_length=40)
    pairs = [(f"where is {query}", f"{query} " * count) for query in WORDS[:5] for count in (1, 30, 4, 9)]
    library = CrossEncoder(str(tiny_cross_encoder_path), device="cpu", max_length=40)
    expected = library.predict(pairs, activation_fn=Identity())
    assert len(set(np.round(expected, 4))) > 10
    assert teacher.score(pairs) == pytest.approx(expected, abs=1e-5)


def test_a_model_that_would_join_its_pairs_is_asked_for_padded_ones(tiny_cross_encoder_path):
    model = CrossEncoder(str(tiny_cross_encoder_path), device="cpu")
    model[0].can_flatten_inputs = True
    teacher = CrossEncoderTeacher(model)
    assert not model[0].can_flatten_inputs
    assert teacher.score(PAIRS).shape == (5,)


def test_cross_encoder_versions(tiny_cross_encoder_path, tmp_path):
    version = CrossEncoderTeacher(tiny_cross_encoder_path).version
    copy = shutil.copytree(tiny_cross_encoder_path, tmp_path / "copy")
    assert CrossEncoderTeacher(copy).version == version
    assert CrossEncoderTeacher(copy, max_length=32).version != version
    assert CrossEncoderTeacher(tiny_cross_encoder(tmp_path, seed=1)).version != version


def test_what_is_no_cross_encoder(tmp_path, tiny_encoder_path):
    with pytest.raises(InputError, match="no model can be loaded"):
        CrossEncoderTeacher(tmp_path / "nothing")


def test_a_cross_encoder_that_reads_less_than_it_should(tiny_cross_encoder_path):
    with pytest.raises(InputError, match="reads at most 128 tokens, and max_length is 129"):
        CrossEncoderTeacher(str(tiny_cross_encoder_path), max_length=129)


def test_positions_that_are_never_a_tokens_are_not_counted(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    tokenizer = tiny_tokenizer()
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=34,
        pad_token_id=tokenizer.pad_token_id,
        type_vocab_size=2,
        num_labels=1,
        **sizes,
    )
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    most = 34 - tokenizer.pad_token_id - 1
    with pytest.raises(InputError, match=f"reads at most {most} tokens, and max_length is 34"):
        CrossEncoderTeacher(str(tmp_path), max_length=34)
    assert CrossEncoderTeacher(str(tmp_path), max_length=most).score([("cat", "a dog " * 30)]).shape == (1,)


def test_precision_and_place_and_use_do_not_change_the_digest(tiny_encoder_path, tmp_path):
    model = SentenceTransformer(str(tiny_encoder_path), device="cpu")
    digest = model_digest(model)
    model.encode(["cat", "dog " * 100])
    assert model_digest(model) == digest
    shutil.copytree(tiny_encoder_path, tmp_path / "elsewhere")
    assert model_digest(SentenceTransformer(str(tmp_path / "elsewhere"), device="cpu")) == digest
    rounded = model_digest(model.bfloat16())
    assert model_digest(model.float()) == rounded != digest


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "cls"}),
        ("config_sentence_transformers.json", {"prompts": {"query": "ask: ", "document": "tell: "}}),
        ("config.json", {"hidden_act": "relu"}),
    ],
)
def test_no_score_of_a_model_passes_for_that_of_a_changed_one(tiny_encoder_path, tmp_path, file, change):
    changed = tmp_path / "changed"
    shutil.copytree(tiny_encoder_path, changed)
    content = json.loads((changed / file).read_text())
    assert set(content) & set(change), content
    (changed / file).write_text(json.dumps(content | change))
    pairs = [("cat", "a dog"), ("dog", "cat mat")]
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        score_pairs(BiEncoderTeacher(tiny_encoder_path), pairs, cache)
        teacher = BiEncoderTeacher(changed)
        np.testing.assert_array_equal(score_pairs(teacher, pairs, cache), teacher.score(pairs))
    assert teacher.version != BiEncoderTeacher(tiny_encoder_path).version


@pytest.mark.parametrize("kind", [BiEncoderTeacher, CrossEncoderTeacher])
def test_another_vocabulary_makes_another_teacher(tiny_encoder_path, tiny_cross_encoder_path, tmp_path, kind):
    given = tiny_encoder_path if kind is BiEncoderTeacher else tiny_cross_encoder_path
    changed = tmp_path / "changed"
    shutil.copytree(given, changed)
    content = json.loads((changed / "tokenizer.json").read_text())
    words = content["model"]["vocab"]
    words["cat"], words["dog"] = words["dog"], words["cat"]
    (changed / "tokenizer.json").write_text(json.dumps(content))
    assert kind(changed).version != kind(given).version


def test_bi_encoder_is_the_scaled_cosine_and_encodes_a_text_once(tiny_encoder_path, monkeypatch):
    teacher = BiEncoderTeacher(tiny_encoder_path, scale=10)
    model = SentenceTransformer(str(tiny_encoder_path), device="cpu")
    queries, passages = (model.encode([pair[side] for pair in PAIRS]) for side in (0, 1))
    assert teacher.score(PAIRS) == pytest.approx(10 * (queries * passages).sum(axis=1), abs=0.1)
    encoded = []
    original = type(teacher.model).encode_query
    monkeypatch.setattr(
        type(teacher.model),
        "encode_query",
        lambda self, texts, **k: encoded.append(texts) or original(self, texts, **k),
    )
    teacher.score(PAIRS)
    assert encoded == [["where is paris", "cat", "blue fish"]]
    assert teacher.score([]).shape == (0,)
    assert teacher.version != BiEncoderTeacher(tiny_encoder_path, scale=20).version


SETTINGS = FineTuning(
    steps=6, batch_size=2, negatives=2, max_length=32, checkpoint_every=2, learning_rate=1e-3, seed=3
)


@pytest.fixture
def training(candidates, queries, passages, judgements):
    return candidates, queries, passages, judgements


def test_fine_tuning_goes_on_to_the_same_weights(tiny_encoder_path, training, tmp_path):
    whole = fine_tune_cross_encoder(tiny_encoder_path, *training, tmp_path / "whole", SETTINGS)
    with pytest.raises(Interrupted):
        fine_tune_cross_encoder(
            tiny_encoder_path, *training, tmp_path / "part", SETTINGS, callbacks=[Interrupt(5)]
        )
    leave_half(tmp_path / "part", 5)
    rest = Steps()
    again = fine_tune_cross_encoder(
        tiny_encoder_path, *training, tmp_path / "part", SETTINGS, callbacks=[rest]
    )
    assert rest.seen == [5, 6]  # from the checkpoint at step 4
    scores, resumed = (CrossEncoderTeacher(folder).score(PAIRS) for folder in (whole, again))
    assert resumed.tolist() == scores.tolist()
    assert sorted(path.name for path in (tmp_path / "part").iterdir()) == ["limbeck.json", "model"]
    # Done is done; other settings are another run.
    ready = Steps()
    fine_tune_cross_encoder(tiny_encoder_path, *training, tmp_path / "part", SETTINGS, callbacks=[ready])
    assert not ready.seen


def test_fine_tuning_learns_and_other_settings_start_anew(tiny_encoder_path, training, tmp_path):
    settings = FineTuning(
        steps=60, batch_size=4, negatives=3, max_length=32, learning_rate=3e-3, head_learning_rate=3e-3
    )
    _, queries, passages, judgements = training
    fine_tune_cross_encoder(tiny_encoder_path, *training, tmp_path, SETTINGS)
    folder = fine_tune_cross_encoder(tiny_encoder_path, *training, tmp_path, settings)
    teacher = CrossEncoderTeacher(folder)
    for query in queries:
        scores = dict(
            zip(passages.ids(), teacher.score([(query.text, p.content) for p in passages]), strict=True)
        )
        positives = judgements.relevant(query.id)
        others = [score for passage_id, score in scores.items() if passage_id not in positives]
        assert min(scores[passage_id] for passage_id in positives) > max(others)


def test_nothing_to_learn_from(tiny_encoder_path, training, tmp_path):
    candidates, queries, passages, _ = training
    with pytest.raises(InputError, match="no training query has a relevant passage"):
        fine_tune_cross_encoder(
            tiny_encoder_path,
            candidates,
            queries,
            passages,
            Judgements([("q1", "d1", 0)]),
            tmp_path,
            SETTINGS,
        )
