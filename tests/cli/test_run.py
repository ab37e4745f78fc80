"""The verbs that run a recipe, over a pipeline that does nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limbeck.cli.app import app
from limbeck.cli.quickstart import SEARCHES
from tests.cli.conftest import FakePipeline


def test_run_shows_the_table_and_where_everything_lies(
    runner: CliRunner, pipeline: FakePipeline, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = runner.invoke(
        app, ["run", str(recipe), "--out", str(out), "--set", "training.epochs=3", "--anyway"]
    )
    assert result.exit_code == 0, result.output
    [call] = pipeline.calls
    assert call["recipe"].training.epochs == 3.0
    assert (call["folder"], call["until"], call["anyway"]) == (out, None, True)
    assert "0.410 [0.380, 0.440]" in result.output
    assert "student[1]" in result.output
    for name in ("report.html", "metrics.json"):
        assert str(out / name) in result.output
    assert f"limbeck search {out}" in result.output


def test_the_run_folder_is_named_after_the_recipe(
    runner: CliRunner, pipeline: FakePipeline, recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert runner.invoke(app, ["run", recipe.name]).exit_code == 0
    assert pipeline.calls[0]["folder"] == Path("runs/small")
    assert (tmp_path / "runs" / "small" / "metrics.json").is_file()


@pytest.mark.parametrize("verb", ["mine", "teach", "distil", "index build"])
def test_a_stage_verb_runs_up_to_its_stage_and_says_how_to_go_on(
    runner: CliRunner, pipeline: FakePipeline, recipe: Path, tmp_path: Path, verb: str
) -> None:
    out, stage = tmp_path / "out", verb.partition(" ")[0]
    result = runner.invoke(app, [*verb.split(), str(recipe), "--out", str(out), "--set", "seed=7"])
    assert result.exit_code == 0, result.output
    assert pipeline.calls[0]["until"] == stage
    assert str(out / stage) in result.output
    assert f"limbeck run {recipe} --out {out} --set seed=7" in result.output
    assert ("limbeck search" in result.output) == (stage == "index")


@pytest.mark.parametrize(
    ("verb", "stage"), [("mine", "pair-mine"), ("teach", "pair-teach"), ("distil", "distil")]
)
def test_a_stage_verb_of_a_recipe_with_pairs_runs_up_to_theirs(
    runner: CliRunner, pipeline: FakePipeline, tmp_path: Path, verb: str, stage: str
) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("text1\ttext2\tlabel\na cat\ta dog\t1\na dog\ta dog\t5\n")
    files = {split: str(pairs) for split in ("train", "dev", "test")}
    recipe = tmp_path / "pairs.yaml"
    recipe.write_text(json.dumps({"name": "pairs", "pairs": {"sts": files | {"labels": {"kind": "graded"}}}}))
    out = tmp_path / "out"
    result = runner.invoke(app, [verb, str(recipe), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert pipeline.calls[0]["until"] == stage
    assert str(out / stage) in result.output
    # With a corpus beside them their candidates come after its teacher, whom `mine` does not ask.
    runner.invoke(app, [verb, str(recipe), "--out", str(tmp_path / "both"), "--set", "data={kind: stdlib}"])
    assert pipeline.calls[1]["until"] == ("mine" if verb == "mine" else stage)


def test_quickstart_runs_the_packaged_recipe_and_searches(
    runner: CliRunner, pipeline: FakePipeline, retriever: list[tuple[str, int]], tmp_path: Path
) -> None:
    result = runner.invoke(app, ["quickstart", "--out", str(tmp_path / "quick")])
    assert result.exit_code == 0, result.output
    assert pipeline.calls[0]["recipe"].data.kind == "stdlib"
    assert [query for query, _ in retriever] == list(SEARCHES)
    assert all(query in result.output for query in SEARCHES)
    assert "functools.lru_cache" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "no.yaml"], "no.yaml"),
        (["run", "RECIPE", "--set", "training.epoch=2"], "training.epoch"),
        (["run", "RECIPE", "--set", "nonsense"], "nonsense"),
        (["run", "RECIPE", "--set", "name=["], "name"),
        (["run", "RECIPE", "--set", "training.epochs=many"], "training.epochs"),
        (["mine", "RECIPE", "--set", "data={kind: beir, folder: nowhere}"], "nowhere"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused_before_any_work(
    runner: CliRunner,
    pipeline: FakePipeline,
    recipe: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    arguments = [str(recipe) if word == "RECIPE" else word for word in arguments]
    result = runner.invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert (result.exit_code, pipeline.calls, result.stdout) == (1, [], "")
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_things_in_it_is_left_alone(
    runner: CliRunner, pipeline: FakePipeline, recipe: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "data").mkdir(parents=True)
    result = runner.invoke(app, ["run", str(recipe), "--out", str(tmp_path / "mine")])
    assert (result.exit_code, pipeline.calls) == (1, [])
    assert "no run folder" in result.stderr


@pytest.mark.parametrize("verb", ["teach", "index build"])
def test_ctrl_c_says_what_is_kept_and_how_to_go_on(
    runner: CliRunner, pipeline: FakePipeline, recipe: Path, tmp_path: Path, verb: str
) -> None:
    def interrupted(progress) -> None:
        progress.stage(1, 2, "Mine candidates", reused=False)
        with progress.task("pairs", 10) as advance:
            advance(3)
            raise KeyboardInterrupt

    pipeline.behaviour = interrupted
    out = tmp_path / "two words"
    result = runner.invoke(
        app, [*verb.split(), str(recipe), "--out", str(out), "--set", "seed=1", "--anyway"]
    )
    assert result.exit_code == 130
    assert "stopped in 'Mine candidates'" in result.stderr
    assert result.stderr.splitlines()[-1].strip() == (
        f"limbeck {verb} {recipe} --out '{out}' --set seed=1 --anyway"
    )


_PROCESS = """
import signal, sys, time, types
# A shell that runs the tests in the background hands down that SIGINT is to be ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
pipeline = types.ModuleType("limbeck.pipeline")
class Run:
    def __init__(self, recipe, folder, progress, *, anyway): self.progress = progress
def run_stages(run, stages, *, until=None):
    run.progress.stage(1, 1, "Wait", reused=False)
    print("waiting", flush=True)
    time.sleep(60)
pipeline.Run, pipeline.RunFolder, pipeline.run_stages = Run, str, run_stages
pipeline.stages_of = lambda _recipe: ()
sys.modules["limbeck.pipeline"] = pipeline
from limbeck.cli import main
main()
"""


def test_sigint_ends_a_real_process_cleanly(recipe: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROCESS, "run", str(recipe), "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "waiting" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert f"limbeck run {recipe} --out {tmp_path / 'out'}" in stderr


def test_keys_lists_what_a_recipe_can_say(runner: CliRunner) -> None:
    result = runner.invoke(app, ["run", "--keys"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert "seed: 0" in lines
    assert any(line.startswith("mining.depth: 16  # Candidates") for line in lines)
    assert any(line.startswith("data.kind: stdlib  # The embedded corpus") for line in lines)
    assert any(line.startswith("teacher.members[].kind: cross-encoder") for line in lines)
    assert any(line.startswith("pairs.NAME.train: required") for line in lines)
    assert any(line.startswith("pairs.NAME.teacher.members[].kind: llm") for line in lines)
    assert not any(line.startswith("pairs.train") for line in lines)
    # What stands there where the recipe does not say: of several kinds, and of a list.
    assert any(line.startswith("student.kind: dense") and line.endswith(" The default.") for line in lines)
    assert any(line.startswith("loss.kind: ") and line.endswith(", as kl_divergence.") for line in lines)
    assert any(line.startswith('teacher.members: [{"kind": "bm25"}, ') for line in lines)
    # Sections that may be left out: whether they are, and what they must say.
    assert "student.ranking: {}  # null leaves the base retriever as it is." in lines
    assert any(line.startswith("student.views[].sources[].filter: null  # Which of") for line in lines)
    assert any(line.startswith('data.queries.filter.teacher: {"kind": "late-interaction"}') for line in lines)
    assert "student.pooling_start" in result.output
    assert "One of backbone, random." in result.output
