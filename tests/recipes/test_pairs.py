"""Sets of pairs in a recipe: what is refused when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import InputError
from limbeck.recipes import Recipe, load_recipe, make_recipe


def content(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    (tmp_path / "pairs.tsv").write_text("text1\ttext2\tlabel\n")
    files = dict.fromkeys(("train", "dev", "test"), "pairs.tsv")
    return {"pairs": {"set": files | {"labels": {"kind": "graded"}} | changes}}


def test_pairs_alone_are_a_recipe_that_reads_back(tmp_path: Path):
    recipe = make_recipe(content(tmp_path), tmp_path / "recipe.yaml")
    assert recipe.data is None
    assert recipe.pairs["set"].labels.kind == "graded"
    assert Recipe.model_validate(recipe.content) == recipe


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"labels": {"kind": "graded", "low": 5, "high": 5}}, "must be below high"),
        ({"labels": {"kind": "binary"}}, "either the positive classes or"),
        ({"labels": {"kind": "binary", "positive": ["1"], "threshold": 1}}, "either the positive classes or"),
        ({"labels": {"kind": "binary", "negative": ["0"], "threshold": 1}}, "name those under positive"),
        ({"labels": {"kind": "binary", "positive": ["1"], "negative": ["1"]}}, "positive and negative"),
        ({"test": "nothing.tsv"}, "there is no file"),
        ({"fields": ["text1", "text1", "label"]}, "names one column twice"),
        ({"fields": "text1"}, r"pairs\.set\.fields: this is a list"),
        ({"teacher": {"members": [{"kind": "llm"}]}}, r"members\.0\.model' is missing\. To mend"),
        ({"neighbour": 3}, "unknown key"),
        ({"teacher": {"members": [{"kind": "bi-encoder"}]}}, "the student's own start"),
        (
            {"teacher": {"members": [{"kind": "bi-encoder", "model": "m", "fine_tuned": True}]}},
            "fine_tuning.base",
        ),
    ],
)
def test_contradictions_of_a_set(tmp_path: Path, changes: dict[str, Any], problem: str):
    with pytest.raises(InputError, match=problem):
        make_recipe(content(tmp_path, **changes), tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"pairs": {}}, "the key 'data' is missing"),
        ({"student": {"kind": "generative"}}, "cannot learn from pairs"),
        ({"pair_loss": {"hard_easy": 0.1}}, "drawn at random"),
        ({"pair_loss": {"in_batch_teacher": True, "pointwise": 0}}, "only pointwise and hard_easy use"),
        (
            {"pair_loss": {"in_batch_teacher": True}, "training": {"batch_size": 1}},
            r"pair_loss\.in_batch_teacher needs batches",
        ),
        (
            {"pair_loss": {"pointwise": 0, "labels": 0, "batch_rank": 0, "rank": 0}},
            "every weight of pair_loss",
        ),
        (
            {
                "pair_loss": {"pointwise": 0, "labels": 0, "rank": 0, "batch_rank": 1},
                "training": {"batch_size": 1},
            },
            "nothing to learn from the pairs: .*batch_rank and in_batch need",
        ),
    ],
)
def test_contradictions_of_a_recipe(tmp_path: Path, changes: dict[str, Any], problem: str):
    with pytest.raises(InputError, match=problem):
        make_recipe(content(tmp_path) | changes, tmp_path / "recipe.yaml")


def test_texts_of_the_batch_stand_for_texts_drawn_at_random(tmp_path: Path):
    losses = {"hard_easy": 0.1, "pointwise": 0, "in_batch_teacher": True}
    recipe = make_recipe(content(tmp_path) | {"pair_loss": losses}, tmp_path / "recipe.yaml")
    assert recipe.pairs["set"].random == 0
    assert (
        "in_batch_teacher" not in make_recipe(content(tmp_path), tmp_path / "recipe.yaml").pair_loss.settings
    )


def test_the_task_of_the_corpus_keeps_its_name(tmp_path: Path):
    one = content(tmp_path)["pairs"]["set"]
    with pytest.raises(InputError, match="the corpus's own task"):
        make_recipe({"pairs": {"retrieval": one}}, tmp_path / "recipe.yaml")


def test_the_set_sections_can_be_overridden(tmp_path: Path):
    content(tmp_path)
    (tmp_path / "recipe.yaml").write_text(
        "pairs: {set: {train: pairs.tsv, dev: pairs.tsv, test: pairs.tsv, labels: {kind: graded}}}\n"
    )
    assert load_recipe(tmp_path / "recipe.yaml", ["pairs.set.neighbours=3"]).pairs["set"].neighbours == 3
