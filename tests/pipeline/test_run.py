from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.data import Judgements
from limbeck.data.formats.qrels import read_qrels
from limbeck.data.formats.trec import read_run
from limbeck.errors import InputError
from limbeck.evaluation import Results
from limbeck.pipeline import Run, RunFolder, Stage, run_stages, stages_of
from limbeck.pipeline.candidates import candidate_lists
from limbeck.pipeline.teaching import open_teacher, training_features
from limbeck.recipes import Recipe, load_recipe, make_recipe
from limbeck.students.dense.retriever import DenseRetriever
from limbeck.teachers import feature_teacher
from tests.pipeline.tiny_corpus import SPLITS, run_recipe, tiny_content, tiny_recipe

NAMES = [stage.name for stage in stages_of(Recipe(data={"kind": "stdlib"}))]
SYSTEMS = ["bm25", "backbone", "backbone-in-batch", "student-cosine", "student-interaction", "teacher"]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every artefact: equal when nothing was written again."""
    return {
        str(file.relative_to(folder)): (file.stat().st_ino, file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
        and file.name not in {".lock", "log.txt", "recipe.yaml"}
        # A reader of the cache may make and remove SQLite's own files beside it.
        and not file.name.startswith("scores.sqlite-")
    }


def test_metrics_have_the_shape_that_scripts_read(finished: Path):
    systems = json.loads((finished / "metrics.json").read_text())["systems"]
    assert list(systems) == SYSTEMS
    for entry in systems.values():
        assert list(entry) == ["nDCG@10", "MRR@10", "Recall@20", "latency_ms"]
        assert set(entry["latency_ms"]) == {"p50", "p95"}
        for metric in ("nDCG@10", "MRR@10", "Recall@20"):
            assert set(entry[metric]) == {"value", "low", "high"}
            assert 0 <= entry[metric]["low"] <= entry[metric]["value"] <= entry[metric]["high"] <= 1
    assert Results.read(finished / "metrics.json").seed == 0


def test_every_system_has_its_run(finished: Path):
    assert sorted(file.stem for file in (finished / "runs").iterdir()) == sorted(SYSTEMS)
    for name in SYSTEMS:
        ranked = read_run(finished / "runs" / f"{name}.trec")
        assert ranked.source == name
        assert len(ranked.query_ids) == SPLITS["test"]
        assert all(1 <= len(one) <= 20 for one in ranked)


@pytest.mark.slow
def test_student_start_and_competitor_have_the_first_layers(
    corpus: Path, tiny_encoder_path: Path, tmp_path: Path
):
    recipe = tiny_recipe(corpus, tiny_encoder_path, backbone_layers=1)
    run_recipe(recipe, tmp_path, anyway=True)
    for model in ("distil/student", "baseline/model"):
        config = json.loads((tmp_path / model / "config.json").read_text())
        assert config["num_hidden_layers"] == 1, model
    whole = json.loads((tmp_path / "teacher" / "cross-encoder-2" / "model" / "config.json").read_text())
    assert whole["num_hidden_layers"] == 2
    assert list(Results.read(tmp_path / "metrics.json").systems) == SYSTEMS


@pytest.mark.slow
def test_a_student_imitates_features_and_in_batch_scores(
    corpus: Path, tiny_encoder_path: Path, tmp_path: Path
):
    """The features and scores are the teacher's own, and a variant without them takes over its stages."""
    loss = {"kind": "d2llm", "feature": 0.5, "in_batch_teacher": True, "hard_easy": 1.0}
    training = tiny_content(corpus, tiny_encoder_path)["training"] | {"epochs": 2}  # ten steps, one entry
    recipe = tiny_recipe(corpus, tiny_encoder_path, loss=loss, training=training)
    record = run_recipe(recipe, tmp_path, anyway=True, until="distil")
    assert any("the teacher scores the pairs of each query" in note for note in record.notes)
    curve = json.loads((tmp_path / "distil" / "curve.json").read_text())
    assert {"feature_imitation_loss", "hard_easy_rank_imitation_loss"} <= curve[0].keys()

    run = Run(recipe, RunFolder(tmp_path))
    candidates = candidate_lists(run, "train")
    teacher = feature_teacher(open_teacher(run, "train"))
    features = training_features(run)
    ranked = next(iter(candidates))
    contents = run.dataset.passages.contents(run.dataset.passages.rows(ranked.passage_ids))
    text = run.dataset.queries["train"].text(ranked.query_id)
    _, expected = teacher.score_with_features([(text, content) for content in contents])
    np.testing.assert_allclose(features.of(ranked.query_id, ranked.passage_ids), expected, atol=0.05)

    plain = {"kind": "d2llm", "hard_easy": 1.0}
    again = run_recipe(
        tiny_recipe(corpus, tiny_encoder_path, loss=plain, training=training),
        tmp_path,
        anyway=True,
        until="distil",
    )
    assert again.done == ["teach", "distil"]
    assert not (tmp_path / "teach" / "features.npy").exists()


@pytest.mark.slow
def test_a_run_with_a_cosine_for_the_interaction_has_its_systems(
    corpus: Path, tiny_encoder_path: Path, tmp_path: Path
):
    student = {"pooling": "mean", "interaction": "cosine", "lora": {"rank": 2}}
    run_recipe(tiny_recipe(corpus, tiny_encoder_path, student=student), tmp_path, anyway=True)
    systems = Results.read(tmp_path / "metrics.json").systems
    assert list(systems) == SYSTEMS
    one, other = (read_run(tmp_path / "runs" / f"student-{name}.trec") for name in ("cosine", "interaction"))
    for ranked in one:
        assert ranked.passage_ids[:5] == other.list_for(ranked.query_id).passage_ids[:5]


def test_words_of_the_query_find_the_passage(finished: Path):
    systems = Results.read(finished / "metrics.json").systems
    assert systems["bm25"].metrics["nDCG@10"].value > 0.8
    assert systems["teacher"].metrics["nDCG@10"].value > systems["backbone"].metrics["nDCG@10"].value


def test_a_report_is_left(finished: Path):
    html = (finished / "report.html").read_text()
    assert "student-interaction" in html
    assert "student&#39;s start" in html or "student's start" in html
    markdown = (finished / "report.md").read_text()
    assert "report-figures/quality.svg" in markdown
    assert (finished / "report-figures" / "quality.svg").is_file()


def test_the_folder_tells_what_made_it(finished: Path, corpus: Path, tiny_encoder_path: Path):
    assert load_recipe(finished / "recipe.yaml") == tiny_recipe(corpus, tiny_encoder_path)
    manifest = json.loads((finished / "manifest.json").read_text())
    assert list(manifest["stages"]) == NAMES
    log = (finished / "log.txt").read_text()
    assert all(f"stage {name} is done" in log for name in NAMES)
    assert not any((finished / ".work").iterdir())
    assert not list(finished.rglob("checkpoint-*"))


def test_the_student_answers_questions(finished: Path):
    hits = DenseRetriever.open(finished).search("where is the cat of paris", k=5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_started_again_it_uses_what_is_there(copy: Path, corpus: Path, tiny_encoder_path: Path):
    recipe = tiny_recipe(corpus, tiny_encoder_path)
    before = stamps(copy)
    record = run_recipe(recipe, copy)
    assert record.reused == dict.fromkeys(NAMES, True)
    assert stamps(copy) == before


def test_what_was_deleted_is_published_again(copy: Path, corpus: Path, tiny_encoder_path: Path):
    before = (copy / "metrics.json").read_bytes()
    (copy / "metrics.json").unlink()
    shutil.rmtree(copy / "runs")
    assert run_recipe(tiny_recipe(corpus, tiny_encoder_path), copy).done == []
    assert (copy / "metrics.json").read_bytes() == before
    assert (copy / "runs" / "bm25.trec").is_file()


def test_a_deleted_stage_is_made_again_and_what_reads_it_stays(
    copy: Path, corpus: Path, tiny_encoder_path: Path
):
    shutil.rmtree(copy / "index")
    assert run_recipe(tiny_recipe(corpus, tiny_encoder_path), copy).done == ["index"]


def _changed(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for place, value in changes.items():
            *parents, last = place.split("__")
            level = content
            for parent in parents:
                level = level[parent]
            level[last] = value

    return change


TRAINED = ["distil", "index", "evaluate"]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (_changed(evaluation__depth=25), ["evaluate"]),
        (_changed(evaluation__metrics=["MAP"], name="other"), ["evaluate"]),
        (_changed(index__candidates=20), ["index", "evaluate"]),
        (_changed(training__epochs=2), TRAINED),
        (_changed(loss={"kind": "d2llm"}), TRAINED),
        (_changed(baseline__batch_size=4), ["baseline", "evaluate"]),
        (_changed(mining__false_negative_share=0.9), ["teach", *TRAINED]),
        (_changed(teacher__members=[{"kind": "bm25"}]), ["teacher", "audit", "teach", *TRAINED]),
        (_changed(mining__depth=5), NAMES[1:]),
        (_changed(device=None), []),
    ],
)
def test_a_change_runs_again_what_depends_on_it(
    finished: Path, corpus: Path, tiny_encoder_path: Path, change: Any, again: list[str]
):
    content = tiny_content(corpus, tiny_encoder_path)
    change(content)
    recipe = load_from(content, corpus)
    assert stale(finished, recipe) == again


def load_from(content: dict[str, Any], corpus: Path) -> Recipe:
    return make_recipe(content, corpus / "recipe.yaml")


def test_stages_that_the_library_has_changed_since_run_again(
    finished: Path, corpus: Path, tiny_encoder_path: Path
):
    recipe = tiny_recipe(corpus, tiny_encoder_path)
    assert stale(finished, recipe, revised="teach") == ["teach", *TRAINED]


def stale(folder: Path, recipe: Recipe, revised: str = "") -> list[str]:
    """What a run would do again, told by stages that do nothing."""
    done: list[str] = []

    def pretend(stage: Stage) -> Stage:
        return replace(
            stage,
            work=lambda run, work: done.append(stage.name),
            inspections=(),
            revision=stage.revision + (stage.name == revised),
        )

    copy = folder.parent / "pretended"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    run_stages(Run(recipe, RunFolder(copy)), [pretend(stage) for stage in stages_of(recipe)])
    return done


def test_more_epochs_distil_anew_and_keep_the_rest(copy: Path, corpus: Path, tiny_encoder_path: Path):
    before = stamps(copy)
    content = tiny_content(corpus, tiny_encoder_path)
    content["training"]["epochs"] = 3
    assert run_recipe(load_from(content, corpus), copy).done == TRAINED
    after = stamps(copy)
    kept = ("data/", "mine/", "teacher/", "audit/", "teach/", "baseline/")
    for name in (name for name in before if name.startswith(kept)):
        assert after[name] == before[name], name
    assert json.loads((copy / "metrics.json").read_text())["recipe"]["training"]["epochs"] == 3


def test_a_file_of_the_data_that_changes_counts(
    copy: Path, corpus: Path, tiny_encoder_path: Path, tmp_path: Path
):
    own = Path(shutil.copytree(corpus, tmp_path / "corpus"))
    recipe = tiny_recipe(own, tiny_encoder_path)
    run_recipe(recipe, copy, until="data")
    assert run_recipe(recipe, copy, until="data").done == []
    with (own / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": "new", "text": "a new one"}\n')
    assert run_recipe(recipe, copy, until="data").done == ["data"]


def test_what_is_published_is_withdrawn_while_it_is_out_of_date(
    copy: Path, corpus: Path, tiny_encoder_path: Path
):
    content = tiny_content(corpus, tiny_encoder_path)
    content["mining"]["depth"] = 5
    run_recipe(load_from(content, corpus), copy, until="mine")
    assert not (copy / "metrics.json").exists()
    assert not list((copy / "runs").iterdir())
    # Back to the recipe that the rest was made with: only the stage between is done again.
    assert run_recipe(tiny_recipe(corpus, tiny_encoder_path), copy).done == ["mine"]
    assert (copy / "metrics.json").is_file()


def test_a_stage_that_fails_leaves_the_others(copy: Path, corpus: Path, tiny_encoder_path: Path):
    def fails(run: Run, work: Path) -> None:
        (work / "half").write_text("x")
        raise RuntimeError("out of memory")

    content = tiny_content(corpus, tiny_encoder_path)
    content["training"]["epochs"] = 2
    recipe = load_from(content, corpus)
    broken = [replace(stage, work=fails) if stage.name == "distil" else stage for stage in stages_of(recipe)]
    before = stamps(copy / "distil")
    with pytest.raises(RuntimeError, match="out of memory"):
        run_stages(Run(recipe, RunFolder(copy)), broken)
    assert stamps(copy / "distil") == before
    assert "stage distil ends with RuntimeError: out of memory" in (copy / "log.txt").read_text()
    assert run_recipe(recipe, copy).done == TRAINED


def test_it_stops_where_it_is_told(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    recipe = tiny_recipe(corpus, tiny_encoder_path)
    record = run_recipe(recipe, tmp_path / "run", until="mine")
    assert record.done == ["data", "mine"]
    assert record.notes == ["60 passages; queries: 40 train, 15 dev, 15 test"]
    with pytest.raises(InputError, match=r"no stage 'train'.*data, mine, teacher"):
        run_recipe(recipe, tmp_path / "run", until="train")


def test_a_second_run_in_the_folder_is_refused(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    folder = RunFolder(tmp_path / "run")
    recipe = tiny_recipe(corpus, tiny_encoder_path)
    with folder.locked(), pytest.raises(InputError, match="another process works in this folder"):
        run_stages(Run(recipe, folder), stages_of(recipe))
    assert not (folder / "recipe.yaml").exists()


def test_what_no_run_has_made_is_not_taken_away(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    own = tmp_path / "run" / "index"
    own.mkdir(parents=True)
    (own / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"index: there is something here that no run has made"):
        run_recipe(tiny_recipe(corpus, tiny_encoder_path), tmp_path / "run")
    assert (own / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "run" / "data").exists()


@pytest.mark.parametrize(("old", "new"), [("p1", "p 1"), ("test1", "test\u00a01")])
def test_ids_that_no_run_file_can_hold_are_refused_at_the_start(
    tmp_path: Path, corpus: Path, tiny_encoder_path: Path, old: str, new: str
):
    own = Path(shutil.copytree(corpus, tmp_path / "corpus"))
    for file in (*own.glob("*.jsonl"), *own.glob("qrels/*")):
        text = file.read_text().replace(f'"{old}"', f'"{new}"')
        file.write_text(re.sub(rf"(?m)(^|\t){old}\t", rf"\g<1>{new}\t", text))
    recipe = tiny_recipe(own, tiny_encoder_path)
    with pytest.raises(InputError, match=r"id '.*' holds white space"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "data").exists()


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_split_without_relevant_passages_is_refused_at_the_start(
    tmp_path: Path, corpus: Path, tiny_encoder_path: Path, split: str
):
    own = Path(shutil.copytree(corpus, tmp_path / "corpus"))
    (own / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{split}0\tp0\t0\n")
    with pytest.raises(InputError, match=f"no {split} query has a relevant passage"):
        run_recipe(tiny_recipe(own, tiny_encoder_path), tmp_path / "run", until="data")


def test_queries_of_two_splits_are_pointed_out(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    data = {"kind": "beir", "folder": str(corpus), "test": "train"}
    recipe = tiny_recipe(corpus, tiny_encoder_path, data=data)
    record = run_recipe(recipe, tmp_path / "run", until="data")
    assert "40 test queries are training queries too: figures will flatter" in record.notes


def test_the_judgements_of_the_runs_are_left(finished: Path):
    measured_by = Judgements.open(finished / "data" / "judgements-test.arrow")
    assert read_qrels(finished / "qrels.tsv").fingerprint == measured_by.fingerprint


def test_a_training_that_diverges_is_said_to(copy: Path, corpus: Path, tiny_encoder_path: Path):
    training = tiny_content(corpus, tiny_encoder_path)["training"] | {"learning_rate": 1e30}
    recipe = tiny_recipe(corpus, tiny_encoder_path, training=training)
    with pytest.raises(InputError, match=r"diverged.*lower training\.learning_rate"):
        run_recipe(recipe, copy, until="distil")


def test_a_student_beside_an_older_index_is_not_searched(copy: Path, corpus: Path, tiny_encoder_path: Path):
    training = tiny_content(corpus, tiny_encoder_path)["training"] | {"learning_rate": 1e-3}
    recipe = tiny_recipe(corpus, tiny_encoder_path, training=training)
    run_recipe(recipe, copy, until="distil")
    with pytest.raises(InputError, match="built from another student"):
        DenseRetriever.open(copy)
    run_recipe(recipe, copy, until="index")
    assert DenseRetriever.open(copy).search("cat", k=1)
