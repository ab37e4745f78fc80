"""The stage of the student's plain competitor."""

from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.errors import InputError
from limbeck.pipeline import Run, RunFolder
from limbeck.pipeline.pairs import distilling
from limbeck.trainers import TrainingOutcome
from tests.pipeline.pairs.tiny_pairs import pair_recipe
from tests.pipeline.tiny_corpus import run_recipe


def test_a_competitor_that_diverged_is_not_kept(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def diverge(model, sets, **_: object) -> TrainingOutcome:
        assert list(sets) == ["tiny"]
        next(model.parameters()).data.fill_(float("nan"))
        return TrainingOutcome(1)

    recipe = pair_recipe(pairs, tiny_encoder_path)
    run_recipe(recipe, tmp_path / "run", until="pair-data")
    monkeypatch.setattr(distilling, "fine_tune_on_labels", diverge)
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(InputError, match=r"diverged.*lower pair_baseline\.learning_rate"):
        distilling.fine_tune_baseline(Run(recipe, RunFolder(tmp_path / "run")), work)
    assert not list(work.iterdir())
