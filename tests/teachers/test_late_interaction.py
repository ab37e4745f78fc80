"""Late interaction against its definition, token by token."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from limbeck.teachers import LateInteractionTeacher, Teacher
from limbeck.teachers.late_interaction import _mean_of_best

PAIRS = [("where is paris", "paris is the capital of france"), ("cat", "the cat"), ("cat", "a dog " * 20)]


def test_mean_of_best_by_hand():
    query = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    passage = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    # The first token finds (1, 0): 1. The second finds (0, 1): 0.8.
    assert _mean_of_best(query, passage) == pytest.approx(0.9)
    assert _mean_of_best(query[:0], passage) == 0.0
    assert _mean_of_best(query, passage[:0]) == 0.0


def test_scores_equal_the_definition(tiny_encoder_path):
    teacher = LateInteractionTeacher(tiny_encoder_path, scale=10, batch_size=2)
    assert isinstance(teacher, Teacher)
    model = SentenceTransformer(str(tiny_encoder_path), device="cpu")

    def states(text: str) -> np.ndarray:
        ids = model.tokenizer(text, truncation=True, max_length=model.max_seq_length, return_tensors="pt")
        with torch.inference_mode():
            hidden = model[0].auto_model(**ids).last_hidden_state[0, 1:-1].numpy()  # less [CLS] and [SEP]
        return hidden / np.linalg.norm(hidden, axis=1, keepdims=True)

    wanted = [10 * (states(query) @ states(passage).T).max(1).mean() for query, passage in PAIRS]
    assert teacher.score(PAIRS) == pytest.approx(wanted, abs=0.1)
    assert teacher.score(PAIRS[::-1])[::-1] == pytest.approx(wanted, abs=0.1)
    assert teacher.score([]).shape == (0,)


def test_a_text_without_a_token_scores_nothing(tiny_encoder_path):
    assert LateInteractionTeacher(tiny_encoder_path).score([("", "a dog")]) == pytest.approx([0.0])
