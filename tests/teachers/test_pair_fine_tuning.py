"""A cross-encoder that learns from labelled pairs, in a folder that it may have learnt in before."""

from __future__ import annotations

import numpy as np

from limbeck.teachers import CrossEncoderTeacher
from limbeck.teachers.pair_fine_tuning import PairFineTuning, fine_tune_on_pairs

TEXTS = ["the cat sat", "the dog ran"] * 4, ["a cat sat", "the sea"] * 4
SETTINGS = PairFineTuning(
    batch_size=4, learning_rate=1e-3, epochs=2, checkpoint_every=100, max_length=16, log_every=1
)


def test_a_folder_of_other_labels_is_learnt_in_anew(tmp_path, tiny_cross_encoder_path):
    targets = np.array([1.0, 0.0] * 4)

    def version(labels) -> str:
        folder = fine_tune_on_pairs(
            tiny_cross_encoder_path, TEXTS, labels, tmp_path / "work", SETTINGS, device="cpu"
        )
        assert not list((tmp_path / "work").glob("checkpoint-*"))
        return CrossEncoderTeacher(folder).version

    first = version(targets)
    written = (tmp_path / "work" / "model" / "config.json").stat().st_mtime_ns
    assert version(targets) == first
    assert (tmp_path / "work" / "model" / "config.json").stat().st_mtime_ns == written
    assert version(1 - targets) != first
