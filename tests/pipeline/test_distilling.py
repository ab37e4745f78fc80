from __future__ import annotations

import json
from pathlib import Path

import pytest

from limbeck.losses import LIST_LOSSES
from limbeck.pipeline import stages_of
from limbeck.pipeline.run import stage_keys
from tests.pipeline.tiny_corpus import run_recipe, tiny_content, tiny_recipe

LOSSES = ["d2llm", *sorted(LIST_LOSSES)]


@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_distils(kind: str, copy: Path, corpus: Path, tiny_encoder_path: Path):
    training = tiny_content(corpus, tiny_encoder_path)["training"] | {"epochs": 0.4}
    recipe = tiny_recipe(corpus, tiny_encoder_path, loss={"kind": kind}, training=training)
    assert run_recipe(recipe, copy, until="distil").done == ["distil"]
    curve = json.loads((copy / "distil" / "curve.json").read_text())
    assert curve[-1]["step"] == 2
    assert not (copy / "distil" / "scratch").exists()


def test_tensorboard_logs_outlive_the_checkpoints(copy: Path, corpus: Path, tiny_encoder_path: Path):
    training = tiny_content(corpus, tiny_encoder_path)["training"] | {"epochs": 0.4, "tensorboard": True}
    run_recipe(tiny_recipe(corpus, tiny_encoder_path, training=training), copy, until="distil")
    assert list((copy / "distil" / "tensorboard").rglob("events.out.tfevents.*"))
    assert not list((copy / "distil").rglob("checkpoint-*"))


def test_a_published_start_and_no_cosine_part(copy: Path, corpus: Path, tiny_encoder_path: Path):
    student = {
        "heads": 4,
        "hidden": 16,
        "features": 8,
        "pooling_start": "random",
        "interaction_start": "random",
    }
    recipe = tiny_recipe(corpus, tiny_encoder_path, student=student, loss={"kind": "d2llm"})
    run_recipe(recipe, copy)
    systems = json.loads((copy / "metrics.json").read_text())["systems"]
    assert set(systems) >= {"student-cosine", "student-interaction"}


def test_the_training_may_have_a_seed_of_its_own(corpus: Path, tiny_encoder_path: Path):
    """With it a student is repeated on the same candidates and the same teacher."""
    training = tiny_content(corpus, tiny_encoder_path)["training"]

    def keys(**options: int) -> dict[str, str]:
        recipe = tiny_recipe(corpus, tiny_encoder_path, training=training | options)
        return stage_keys(recipe, stages_of(recipe))

    own, same, other = keys(), keys(seed=0), keys(seed=1)
    assert own == same
    changed = [stage for stage in own if own[stage] != other[stage]]
    assert changed == ["distil", "baseline", "index", "evaluate"]


def test_the_competitor_may_have_the_hard_negatives_of_the_student(
    copy: Path, corpus: Path, tiny_encoder_path: Path
):
    def changed(**baseline: int | None) -> set[str]:
        recipe = tiny_recipe(corpus, tiny_encoder_path, baseline=content["baseline"] | baseline)
        keys = stage_keys(recipe, stages_of(recipe))
        return {stage for stage in keys if keys[stage] != without[stage]}

    content = tiny_content(corpus, tiny_encoder_path)
    plain = tiny_recipe(corpus, tiny_encoder_path)
    without = stage_keys(plain, stages_of(plain))
    assert changed(hard_negatives=0) == set()
    assert changed(hard_negatives=None) == changed(hard_negatives=2) == {"baseline", "evaluate"}
    recipe = tiny_recipe(corpus, tiny_encoder_path, baseline=content["baseline"] | {"hard_negatives": None})
    before = json.loads((copy / "baseline" / "curve.json").read_text())
    assert run_recipe(recipe, copy, until="baseline").done == ["baseline"]
    after = json.loads((copy / "baseline" / "curve.json").read_text())
    # More passages to tell the positive from, at a rate that hardly moves the model: a larger loss.
    assert after[-1]["train_loss"] > before[-1]["train_loss"]
