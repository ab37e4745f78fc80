"""The recipes of the real sets, much reduced and with a model that knows nothing: they run to their end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from limbeck.recipes import load_recipe
from tests.pipeline.tiny_corpus import run_recipe

pytestmark = pytest.mark.slow

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
REDUCED = [
    "device=cpu",
    "max_length=32",
    "mining.max_queries=32",
    "mining.depth=4",
    "mining.random=1",
    "mining.evaluation_depth=5",
    "teacher={max_length: 48, members: [{kind: bm25}, {kind: cross-encoder}]}",
    "teacher.members.1.fine_tuning={steps: 2, batch_size: 4}",
    "student={heads: 4, hidden: 16, features: 8}",
    "training.hard_negatives=2",
    "index.candidates=50",
    "evaluation={metrics: [nDCG@10, Recall@20], depth: 20, split: dev}",
]


@pytest.mark.parametrize(("name", "bm25"), [("scifact", 0.6), ("stard_zh", 0.4)])
def test_a_recipe_of_a_real_set_runs(
    name: str, bm25: float, shared_datasets: Path, tiny_encoder_path: Path, tmp_path: Path
):
    path = RECIPES / f"{name}.yaml"
    recipe = load_recipe(path, [*REDUCED, f"backbone={tiny_encoder_path}"])
    run_recipe(recipe, tmp_path / "run")
    systems = json.loads((tmp_path / "run" / "metrics.json").read_text())["systems"]
    # The published figures of BM25 are near 0.68 (SciFact); the Chinese set needs its own tokenisation.
    assert systems["bm25"]["nDCG@10"]["value"] > bm25
    assert systems["teacher"]["nDCG@10"]["value"] > systems["backbone"]["nDCG@10"]["value"]


def test_a_recipe_can_be_two_lines(shared_datasets: Path, tiny_encoder_path: Path, tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"name: mine\ndata: {{kind: beir, folder: {shared_datasets / 'scifact'}}}\n", encoding="utf-8"
    )
    recipe = load_recipe(path, [*REDUCED, f"backbone={tiny_encoder_path}"])
    run_recipe(recipe, tmp_path / "run", until="mine")
    assert (tmp_path / "run" / "mine" / ".done.json").is_file()
