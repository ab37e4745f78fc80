"""Features of pairs: those that the score was read from, computed once."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import (
    Qwen2Config,
    Qwen2ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from limbeck.teachers import (
    CrossEncoderTeacher,
    EnsembleTeacher,
    FeatureTeacher,
    ScoreCache,
    cross_encoder,
    feature_blocks,
    feature_teacher,
    score_pairs,
    score_pairs_with_features,
    text_pairs,
)
from tests.teachers.conftest import CountingTeacher
from tests.tiny_models import VOCABULARY, tiny_tokenizer

PAIRS = [
    ("where is paris", "paris is the capital of france"),
    ("cat", "the cat"),
    ("where is paris", "a dog " * 30),
    ("blue fish", "x"),
]


class CountingFeatures(CountingTeacher):
    """Its feature is the length of the two texts, and how often it was asked before."""

    def score_with_features(self, pairs):
        before = len(self.asked)
        scores = self.score(pairs)
        return scores, np.array([[len(q), len(p), before] for q, p in pairs], np.float32)


@pytest.fixture
def exact(monkeypatch):
    """Everything in float32."""
    monkeypatch.setattr(cross_encoder, "autocast", lambda device: nullcontext())


@pytest.fixture
def cache(tmp_path):
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        yield cache


def saved(path, model, side="right"):
    model.save_pretrained(path)
    tiny_tokenizer(side).save_pretrained(path)
    return path


SIZES = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 140,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "num_labels": 1,
}


def test_the_score_is_the_head_on_the_feature(tiny_cross_encoder_path, exact):
    teacher = CrossEncoderTeacher(tiny_cross_encoder_path, batch_tokens=64)
    assert isinstance(teacher, FeatureTeacher)
    scores, features = teacher.score_with_features(PAIRS)
    assert features.shape == (4, 32)
    head = teacher.model.model.classifier
    read = head(torch.from_numpy(features)).squeeze(1).detach().numpy()
    np.testing.assert_allclose(read, scores, atol=1e-5)
    np.testing.assert_allclose(teacher.score(PAIRS), scores, atol=1e-5)
    # The hook is gone, and nothing is asked of nobody.
    assert not head._forward_pre_hooks
    assert teacher.score_with_features([])[1].shape == (0, 32)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_decoder_s_feature_is_the_state_at_its_last_real_token(tmp_path, exact, side):
    torch.manual_seed(0)
    config = Qwen2Config(**SIZES, num_key_value_heads=1)
    path = saved(tmp_path / "model", Qwen2ForSequenceClassification(config), side)
    teacher = CrossEncoderTeacher(CrossEncoder(str(path), device="cpu"))
    scores, features = teacher.score_with_features(PAIRS)
    head = teacher.model.model.score
    np.testing.assert_allclose(features @ head.weight[0].detach().numpy(), scores, atol=1e-4)
    alone = np.concatenate([teacher.score_with_features([pair])[1] for pair in PAIRS])
    np.testing.assert_allclose(alone, features, atol=1e-4)


def test_a_head_of_two_layers_is_read_before_its_last(tmp_path, exact):
    torch.manual_seed(0)
    path = saved(tmp_path / "model", RobertaForSequenceClassification(RobertaConfig(**SIZES)))
    teacher = CrossEncoderTeacher(CrossEncoder(str(path), device="cpu"))
    scores, features = teacher.score_with_features(PAIRS)
    read = teacher.model.model.classifier.out_proj(torch.from_numpy(features)).squeeze(1).detach().numpy()
    np.testing.assert_allclose(read, scores, atol=1e-5)


def test_which_member_has_features(tiny_cross_encoder_path, refused):
    plain, featured = CountingTeacher(), CountingFeatures("featured")
    ensemble = EnsembleTeacher([plain, featured], [1, 1], [0, 0], [1, 1])
    assert feature_teacher(ensemble) is featured
    assert feature_teacher(featured) is featured
    refused(lambda: feature_teacher(EnsembleTeacher([plain], [1], [0], [1])), "no features to imitate")
    refused(lambda: feature_teacher(plain), "no features to imitate")


def test_of_several_members_with_features_the_one_that_counts_most_gives_them(cache):
    members = [CountingTeacher(), CountingFeatures(), CountingFeatures(), CountingFeatures()]
    ensemble = EnsembleTeacher(members, [3, 0, 2, 1], [0] * 4, [1] * 4)
    assert feature_teacher(ensemble) is members[2]


def test_features_are_computed_once_and_bring_their_scores(cache):
    teacher = CountingFeatures()
    scores, features = score_pairs_with_features(teacher, [PAIRS[1], PAIRS[0], PAIRS[1]], cache)
    assert teacher.asked == [PAIRS[1], PAIRS[0]]
    assert features.dtype == np.float16
    assert features[:, :2].tolist() == [[3, 7], [14, 30], [3, 7]]
    again, same = score_pairs_with_features(teacher, PAIRS[:3], cache)
    assert teacher.asked == [PAIRS[1], PAIRS[0], PAIRS[2]]
    assert same[:, 2].tolist() == [0, 0, 2]
    assert again[:2].tolist() == scores[1::-1].tolist()
    assert score_pairs(teacher, PAIRS[:3], cache).tolist() == again.tolist()
    assert len(teacher.asked) == 3


def test_a_score_that_was_there_before_its_feature_stays(cache):
    teacher = CountingFeatures()
    (first,) = score_pairs(teacher, PAIRS[:1], cache)
    teacher.score_with_features = lambda pairs: (
        np.full(len(pairs), 99.0),
        np.ones((len(pairs), 2), np.float32),
    )
    scores, features = score_pairs_with_features(teacher, PAIRS[:2], cache)
    assert scores.tolist() == [first, 99.0]
    assert features.tolist() == [[1, 1], [1, 1]]
    assert score_pairs(teacher, PAIRS[:2], cache).tolist() == [first, 99.0]


@pytest.mark.parametrize(
    ("features", "message"),
    [(np.ones((1, 3)), "features of shape"), (np.array([[1.0], [np.nan]]), "not finite")],
)
def test_broken_features_are_refused_and_nothing_is_kept(cache, refused, features, message):
    teacher = CountingFeatures()
    teacher.score_with_features = lambda pairs: (np.zeros(len(pairs)), features)
    refused(lambda: score_pairs_with_features(teacher, PAIRS[:2], cache), message)
    assert len(cache) == 0


@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_blocks_follow_the_pairs(candidates, queries, passages, cache, chunk):
    teacher = CountingFeatures()
    done = []
    pairs = text_pairs(candidates, queries, passages)
    found = np.concatenate(list(feature_blocks(teacher, pairs, cache, chunk=chunk, progress=done.append)))
    texts = [
        (queries.text(query), passages[int(passages.rows([passage])[0])].content)
        for query, passage in candidates.pairs()
    ]
    assert found[:, :2].tolist() == [[len(query), len(content)] for query, content in texts]
    assert sum(done) == len(candidates) == 12
    assert not list(feature_blocks(teacher, [], cache))
