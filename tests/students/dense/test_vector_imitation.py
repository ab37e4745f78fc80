"""An encoder that learns the vectors of another."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from limbeck.encoders import encode
from limbeck.errors import InputError
from limbeck.students.dense.backbone import load_backbone
from limbeck.students.dense.training import TrainingSettings
from limbeck.students.dense.vector_imitation import VectorGoals, VectorLoss, imitate_vectors
from tests.students.dense.conftest import TEXTS
from tests.tiny_models import tiny_encoder

SETTINGS = TrainingSettings(epochs=30, batch_size=4, learning_rate=3e-3, checkpoint_every=10)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_encoder(tmp_path_factory.mktemp("teacher"), seed=5)), device="cpu")


class Fixed(torch.nn.Module):
    """Gives the vectors that it was made with, whatever the texts."""

    device = torch.device("cpu")

    def __init__(self, vectors: list[list[float]]) -> None:
        super().__init__()
        self.vectors = torch.tensor(vectors)

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": self.vectors[features["input_ids"][:, 0]]}


def test_the_loss_is_one_minus_the_cosine_by_hand():
    model = Fixed([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    goals = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
    texts = {"input_ids": torch.tensor([[0], [1], [2]]), "attention_mask": torch.ones(3, 1)}
    # Cosines of 1, 0 and 1/√2; the rows of the goals are told by the labels.
    loss = VectorLoss(model, goals)([texts], torch.tensor([1, 0, 2]))
    assert float(loss) == pytest.approx((0 + 1 + 1 - math.sqrt(0.5)) / 3, abs=1e-6)
    opposite = VectorLoss(model, goals)([{name: one[:1] for name, one in texts.items()}], torch.tensor([3]))
    assert float(opposite) == pytest.approx(2)


def test_an_encoder_comes_near_the_vectors_of_another(
    teacher: SentenceTransformer, tiny_encoder_path: Path, tmp_path: Path
):
    model = load_backbone(str(tiny_encoder_path), 32, "cpu", layers=1)
    goals = VectorGoals(TEXTS, encode(teacher, TEXTS))
    before = (encode(model, TEXTS) * goals.vectors).sum(axis=1)
    outcome = imitate_vectors(model, {"texts": goals}, settings=SETTINGS, work_dir=tmp_path)
    after = (encode(model, TEXTS) * goals.vectors).sum(axis=1)
    assert outcome.steps == 60
    assert after.mean() > 0.9 > before.mean() + 0.2


def test_queries_are_encoded_with_the_prompt_of_queries(
    teacher: SentenceTransformer, tiny_encoder_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = load_backbone(str(tiny_encoder_path), 32, "cpu")
    model.prompts = {"query": "find: ", "document": "text: "}
    asked = []
    plain = model.preprocess

    def preprocess(texts, prompt=None, **options):
        asked.extend((text, prompt) for text in texts if prompt is not None)  # the library tries others
        return plain(texts, prompt=prompt, **options)

    monkeypatch.setattr(model, "preprocess", preprocess)
    vectors = encode(teacher, TEXTS)
    goals = {
        "queries": VectorGoals(TEXTS[:2], vectors[:2], query=True),
        "passages": VectorGoals(TEXTS[2:], vectors[2:]),
    }
    settings = TrainingSettings(epochs=1, batch_size=2, learning_rate=1e-3)
    imitate_vectors(model, goals, settings=settings, work_dir=tmp_path)
    assert set(asked) == {(text, "find: ") for text in TEXTS[:2]} | {(text, "text: ") for text in TEXTS[2:]}


def test_what_cannot_be_imitated_is_refused(tiny_encoder_path: Path, tmp_path: Path):
    model = load_backbone(str(tiny_encoder_path), 32, "cpu")
    wide = VectorGoals(["cat"], np.ones((1, 7), np.float32))
    with pytest.raises(InputError, match=r"sts: the teacher's bi-encoder has vectors of 7 dimensions"):
        imitate_vectors(model, {"sts": wide}, settings=SETTINGS, work_dir=tmp_path)
    with pytest.raises(InputError, match="sts: there are no texts"):
        imitate_vectors(
            model, {"sts": VectorGoals([], wide.vectors[:0])}, settings=SETTINGS, work_dir=tmp_path
        )
