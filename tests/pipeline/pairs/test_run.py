"""Recipes of pairs, alone and beside a corpus, from the sets to the figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from limbeck.cli.opening import open_retriever
from limbeck.errors import InputError
from limbeck.evaluation.pair_scores import read_pair_scores
from limbeck.pipeline import Run, RunFolder, stages_of
from limbeck.pipeline.distilling import distil_settings
from limbeck.pipeline.pairs.mining import open_lists
from limbeck.pipeline.pairs.teaching import open_pair_teacher, taught_features
from limbeck.pipeline.run import stage_keys
from limbeck.students.dense.pair_scoring import PairScorer
from limbeck.students.dense.retriever import DenseRetriever
from limbeck.students.dense.student import DenseStudent
from limbeck.teachers import TeacherNotBetterError, feature_teacher
from tests.pipeline.pairs.tiny_pairs import pair_content, pair_recipe, set_content
from tests.pipeline.tiny_corpus import run_recipe, tiny_content, tiny_recipe

SYSTEMS = ["backbone", "backbone-fine-tuned", "student-cosine", "student-interaction", "teacher"]
PAIR_STAGES = ["pair-data", "pair-mine", "pair-teacher", "pair-audit", "pair-teach"]


def weights(folder: Path) -> dict[str, np.ndarray]:
    student = DenseStudent.load(folder / "distil" / "student", "cpu")
    return {name: value.numpy() for name, value in student.model.state_dict().items()}


def test_a_run_of_pairs_alone_measures_every_system(finished_pairs: Path):
    document = json.loads((finished_pairs / "pairs" / "metrics.json").read_text())
    assert list(document["systems"]) == SYSTEMS
    for name in SYSTEMS:
        assert {"Spearman", "Pearson", "latency_ms"} <= set(document["systems"][name])
        scores = read_pair_scores(finished_pairs / "pairs" / "scores" / "tiny" / f"{name}.tsv")
        assert {split: len(one) for split, one in scores.items()} == {"dev": 24, "test": 24}
    timing = json.loads((finished_pairs / "pairs" / "timing.json").read_text())["tiny"]
    assert timing["student-interaction"]["vectors"]["p50"] < timing["student-interaction"]["texts"]["p50"]
    assert timing["teacher"]["vectors"] is None
    page = (finished_pairs / "pairs" / "report.html").read_text()
    assert "student-interaction" in page
    assert "dev pairs the teacher has Spearman" in page


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_a_random_start_has_no_slope_by_chance(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, seed: int
):
    changes = {"pooling_start": "random", "interaction_start": "random", "heads": 4}
    recipe = pair_recipe(pairs, tiny_encoder_path, student=changes, seed=seed)
    run_recipe(recipe, tmp_path / "run", until="distil", anyway=True)
    numbers = json.loads((tmp_path / "run" / "distil" / "calibration.json").read_text())["tiny"]
    assert numbers["slope"] == 1.0
    # Runs whose start knows something keep their key.
    kept = pair_recipe(pairs, tiny_encoder_path, seed=seed)
    assert "levelled" in distil_settings(recipe)
    assert "levelled" not in distil_settings(kept)


def test_the_student_scores_as_its_file_says(pairs: Path, finished_pairs: Path):
    student = DenseStudent.load(finished_pairs / "distil" / "student", "cpu")
    rows = [line.split("\t") for line in (pairs / "test.tsv").read_text().splitlines()[1:]]
    logits = PairScorer(student).score([row[0] for row in rows], [row[1] for row in rows])
    numbers = json.loads((finished_pairs / "distil" / "calibration.json").read_text())["tiny"]
    expected = 1 / (1 + np.exp(-(numbers["slope"] * logits + numbers["bias"])))
    found = read_pair_scores(finished_pairs / "pairs" / "scores" / "tiny" / "student-interaction.tsv")["test"]
    assert np.allclose(found.scores, expected, atol=1e-3)
    assert found.labels.tolist() == [float(row[2]) / 4 for row in rows]


def test_finished_it_is_not_run_again_and_a_weight_repeats_the_student_alone(
    pairs: Path, tiny_encoder_path: Path, finished_pairs: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(finished_pairs, tmp_path / "run"))
    assert not run_recipe(pair_recipe(pairs, tiny_encoder_path), folder).done
    changed = pair_recipe(pairs, tiny_encoder_path, pair_loss={"rank": 0})
    assert run_recipe(changed, folder, anyway=True).done == ["distil", "pair-evaluate"]


def test_other_neighbours_leave_the_teacher_and_the_competitor_as_they_are(
    pairs: Path, tiny_encoder_path: Path, finished_pairs: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(finished_pairs, tmp_path / "run"))
    changed = pair_recipe(pairs, tiny_encoder_path, pairs={"tiny": set_content(pairs, neighbours=1)})
    record = run_recipe(changed, folder, anyway=True)
    assert record.done == ["pair-mine", "pair-teach", "distil", "pair-evaluate"]


@pytest.mark.parametrize(
    ("setting", "other", "another"), [("dropout", 0.0, 0.1), ("epochs", 3.0, 4.0), ("batch_size", 2, 3)]
)
def test_the_competitor_learns_as_the_student_or_in_its_own_way(
    pairs: Path, tiny_encoder_path: Path, setting: str, other: float, another: float
):
    training = pair_content(pairs, tiny_encoder_path)["training"]

    def keys(student: dict[str, float], competitor: float | None) -> tuple[str, str]:
        changes = {"training": training | student, "pair_baseline": {setting: competitor}}
        recipe = pair_recipe(pairs, tiny_encoder_path, **changes)
        found = stage_keys(recipe, stages_of(recipe))
        return found["distil"], found["pair-baseline"]

    student, competitor = keys({}, None)
    assert keys({}, another)[0] == student
    assert keys({setting: other}, None) == keys({setting: other}, other)
    assert len({competitor, keys({}, another)[1], keys({}, other)[1]}) == 3
    assert keys({}, other)[1] == keys({setting: other}, None)[1]
    assert student != keys({setting: other}, None)[0]


def test_the_competitor_has_a_rate_of_its_own(
    pairs: Path, tiny_encoder_path: Path, finished_pairs: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(finished_pairs, tmp_path / "run"))
    rate = pair_recipe(pairs, tiny_encoder_path).training.learning_rate
    same = pair_recipe(pairs, tiny_encoder_path, pair_baseline={"learning_rate": rate})
    assert not run_recipe(same, folder).done

    def moved() -> float:
        start = SentenceTransformer(str(tiny_encoder_path)).state_dict()
        end = SentenceTransformer(str(folder / "pair-baseline" / "model")).state_dict()
        return sum(float((end[name] - start[name]).abs().sum()) for name in start)

    before = moved()
    slow = pair_recipe(pairs, tiny_encoder_path, pair_baseline={"learning_rate": rate / 100})
    assert run_recipe(slow, folder, anyway=True).done == ["pair-baseline", "pair-evaluate"]
    assert moved() < before / 10


def test_a_student_imitates_the_features_of_a_cross_encoder(
    pairs: Path, tiny_encoder_path: Path, finished_pairs: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(finished_pairs, tmp_path / "run"))
    training = tiny_content(pairs, tiny_encoder_path)["training"] | {"epochs": 2}  # enough for an entry
    changed = pair_recipe(pairs, tiny_encoder_path, pair_loss={"feature": 0.1}, training=training)
    record = run_recipe(changed, folder, anyway=True, until="distil")
    assert record.done == ["pair-teach", "distil"]
    curve = json.loads((folder / "distil" / "curve.json").read_text())
    assert any("feature_loss" in line for line in curve)

    run = Run(changed, RunFolder(folder))
    lists, features = open_lists(run, "tiny"), taught_features(run, "tiny")
    assert len(features) == (lists.lists[:, 1:4] >= 0).sum()
    teacher = feature_teacher(open_pair_teacher(run, "tiny"))
    texts = [
        lists.texts.contents([first, second]) for first, second in lists.lists[0, [[0, 1], [0, 2], [0, 3]]]
    ]
    _, expected = teacher.score_with_features([(first, second) for first, second in texts])
    np.testing.assert_allclose(features[:3], expected, atol=0.05)


def test_features_that_no_member_has_are_refused(pairs: Path, tiny_encoder_path: Path, refused):
    plain = {"members": [{"kind": "bi-encoder", "fine_tuned": True}]}
    for one, message in (
        (set_content(pairs, teacher=plain), "a teacher with features"),
        (set_content(pairs, neighbours=0), "neighbours is 0"),
    ):
        changes = {"pairs": {"tiny": one}, "pair_loss": {"feature": 0.1}}
        refused(
            lambda changes=changes: pair_recipe(pairs, tiny_encoder_path, **changes),
            message,
            name="recipe.yaml",
        )


def test_a_teacher_no_better_than_the_start_stops_the_run(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path
):
    # An ensemble of the start and itself can be no better than the start.
    member = {"kind": "bi-encoder", "model": str(tiny_encoder_path)}
    one = set_content(pairs, teacher={"members": [member, member]})
    with pytest.raises(TeacherNotBetterError, match="no better than the student already is"):
        run_recipe(pair_recipe(pairs, tiny_encoder_path, pairs={"tiny": one}), tmp_path / "run")
    report = json.loads((tmp_path / "run" / "pair-audit" / "audit.json").read_text())["tiny"]
    assert not report["passed"]
    assert report["teacher"] <= report["start"]


@pytest.mark.slow
def test_a_corpus_and_pairs_teach_one_student(
    corpus: Path, pairs: Path, tiny_encoder_path: Path, tmp_path: Path
):
    classes = {"kind": "binary", "positive": ["same"]}
    directed = set_content(
        pairs, fields=["text1", "text2", "class"], labels=classes, task="asymmetric", swap=True
    )
    recipe = tiny_recipe(
        corpus,
        tiny_encoder_path,
        pairs={"tiny": set_content(pairs), "directed": directed},
        pair_loss={"contrastive": 1, "in_batch": 1, "hard_easy": 0.1},
        training=tiny_content(corpus, tiny_encoder_path)["training"] | {"task_temperature": 2},
    )
    run_recipe(recipe, tmp_path / "run", anyway=True)
    curve = json.loads((tmp_path / "run" / "distil" / "curve.json").read_text())
    logged = {name for line in curve for name in line}
    assert {"retrieval_kl_divergence_loss", "tiny_pointwise_loss", "directed_in_batch_loss"} <= logged
    assert list(json.loads((tmp_path / "run" / "metrics.json").read_text())["systems"])[-1] == "teacher"
    document = json.loads((tmp_path / "run" / "pairs" / "metrics.json").read_text())
    assert {"tiny Spearman", "directed Average precision"} <= set(document["systems"]["teacher"])
    interaction = DenseStudent.load(tmp_path / "run" / "distil" / "student", "cpu").interaction
    assert all(bool(interaction.outputs[task].weight.abs().sum() > 0) for task in ("symmetric", "asymmetric"))


def test_stages_come_behind_what_they_read(corpus: Path, pairs: Path, tiny_encoder_path: Path):
    alone = stages_of(pair_recipe(pairs, tiny_encoder_path))
    assert [stage.name for stage in alone] == [*PAIR_STAGES, "distil", "pair-baseline", "pair-evaluate"]
    mixed = stages_of(tiny_recipe(corpus, tiny_encoder_path, pairs={"tiny": set_content(pairs)}))
    for stages in (alone, mixed):
        for at, stage in enumerate(stages):
            assert set(stage.after) <= {before.name for before in stages[:at]}
    # All that servers will be asked can be told before a teacher is made, and before any is asked.
    names = [stage.name for stage in mixed]
    told = {name for stage in mixed if stage.asking for name in stage.asking.after}
    assert told == {"mine", "pair-mine"}
    assert max(map(names.index, told)) < names.index("teacher")


def test_pairs_leave_the_stages_of_a_corpus_as_they_are(corpus: Path, pairs: Path, tiny_encoder_path: Path):
    plain = tiny_recipe(corpus, tiny_encoder_path)
    mixed = tiny_recipe(corpus, tiny_encoder_path, pairs={"tiny": set_content(pairs)})
    before, after = stage_keys(plain, stages_of(plain)), stage_keys(mixed, stages_of(mixed))
    changed = {name for name, key in before.items() if after[name] != key}
    assert changed == {"distil", "index", "evaluate"}
    warmer = tiny_recipe(
        corpus,
        tiny_encoder_path,
        training=tiny_content(corpus, tiny_encoder_path)["training"] | {"task_temperature": 5},
    )
    assert stage_keys(warmer, stages_of(warmer)) == before  # nothing is shared out among one task


def test_there_is_nothing_to_search(finished_pairs: Path):
    for opened in (open_retriever, DenseRetriever.open):
        with pytest.raises(InputError, match=r"learnt from pairs alone.*PairScorer"):
            opened(finished_pairs)


def test_without_unlabelled_pairs_the_labels_and_their_scores_teach(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path
):
    one = set_content(pairs, neighbours=0, random=0)
    run_recipe(
        pair_recipe(pairs, tiny_encoder_path, pairs={"tiny": one}),
        tmp_path / "run",
        anyway=True,
        until="distil",
    )
    assert np.load(tmp_path / "run" / "pair-teach" / "tiny.npy").shape == (48, 1)
    curve = json.loads((tmp_path / "run" / "distil" / "curve.json").read_text())
    assert all(np.isfinite(value) for line in curve for value in line.values())


def test_swapped_pairs_are_learnt_from_in_both_orders(pairs: Path, tiny_encoder_path: Path, tmp_path: Path):
    recipe = pair_recipe(pairs, tiny_encoder_path, pairs={"tiny": set_content(pairs, swap=True)})
    run_recipe(recipe, tmp_path / "run", until="pair-mine")
    lists = np.load(tmp_path / "run" / "pair-mine" / "tiny" / "lists.npy")
    targets = np.load(tmp_path / "run" / "pair-mine" / "tiny" / "targets.npy")
    assert lists.shape == (96, 5)
    assert np.array_equal(lists[:48, :2], lists[48:, 1::-1])
    assert np.array_equal(targets[:48], targets[48:])
    for row in lists.tolist():
        assert len(set(row[1:])) == 4  # no text twice
        assert row[0] not in row[2:]


def test_a_query_is_set_beside_second_texts_alone(pairs: Path, tiny_encoder_path: Path, tmp_path: Path):
    one = set_content(pairs, task="asymmetric", neighbours=3, random=2)
    run_recipe(
        pair_recipe(pairs, tiny_encoder_path, pairs={"tiny": one}), tmp_path / "run", until="pair-mine"
    )
    lists = np.load(tmp_path / "run" / "pair-mine" / "tiny" / "lists.npy")
    assert lists.shape == (48, 7)
    assert (lists >= 0).all()
    assert set(lists[:, 2:].ravel().tolist()) <= set(lists[:, 1].tolist())
