"""`limbeck family` over a pipeline that does nothing."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from limbeck.cli.app import app
from limbeck.evaluation import FamilyResults, Repeated, RunMetrics, family_results


def results() -> FamilyResults:
    def runs(*values: float) -> Repeated:
        return Repeated([RunMetrics(("q1", "q2"), {"MRR@10": np.array([value, 0.5])}) for value in values])

    return family_results("losses", [0, 1], {"kl": runs(0.5, 0.5), "dgr": runs(1.0, 1.0)}, [("dgr", "kl")])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the pipeline was asked; it raises a key `raises` of the last entry that a test has put there."""
    asked: list[dict[str, Any]] = []
    module: Any = types.ModuleType("limbeck.pipeline.family")

    def run_family(family: Any, folder: Path, progress: Any, *, anyway: bool) -> list[FamilyResults]:
        raises = asked.pop()["raises"] if asked else None
        asked.append({"family": family, "folder": folder, "anyway": anyway})
        for number, member in enumerate(family.members, start=1):
            title = f"{member.variant}, seed {member.seed}"
            progress.run(number, len(family.members), title, reused=number == 1)
        progress.stage(2, 9, "Mine candidates", reused=False)
        if raises:
            raise raises
        return [results()]

    module.run_family = run_family
    monkeypatch.setitem(sys.modules, "limbeck.pipeline", types.ModuleType("limbeck.pipeline"))
    monkeypatch.setitem(sys.modules, "limbeck.pipeline.family", module)
    return asked


@pytest.fixture
def family(recipe: Path) -> Path:
    path = recipe.parent / "losses.yaml"
    path.write_text(
        f"name: losses\nrecipe: {recipe.name}\nvariants: {{kl: {{}}, dgr: {{training.epochs: 3}}}}\n"
    )
    return path


def test_it_shows_both_tables_and_where_they_lie(
    runner: CliRunner, calls: list[dict[str, Any]], family: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = runner.invoke(app, ["family", str(family), "--out", str(out), "--anyway"])
    assert result.exit_code == 0, result.output
    [call] = calls
    assert (call["folder"], call["anyway"]) == (out, True)
    assert [member.recipe.training.epochs for member in call["family"].members] == [1.0, 3.0]
    lines = result.output.splitlines()
    assert "Run 1 of 2: kl, seed 0: already done" in lines
    assert "Run 2 of 2: dgr, seed 0" in lines
    assert any(line.startswith("dgr") and "0.750 ± 0.000 [0.500, 1.000]" in line for line in lines)
    assert any(line.startswith("dgr against kl") and "+0.250 [0.000, 0.500]" in line for line in lines)
    assert any(line.startswith("p: paired randomisation test") for line in lines)
    assert str(out / "table.md") in result.output
    assert str(out / "family.json") in result.output


def test_set_is_for_all_variants(
    runner: CliRunner, calls: list[dict[str, Any]], family: Path, tmp_path: Path
) -> None:
    words = ["--set", "training.epochs=2", "--set", "training.batch_size=4"]
    assert runner.invoke(app, ["family", str(family), *words]).exit_code == 0
    trainings = [member.recipe.training for member in calls[0]["family"].members]
    assert [(one.epochs, one.batch_size) for one in trainings] == [(2.0, 4), (3.0, 4)]


def test_the_folder_is_named_after_the_family(
    runner: CliRunner, calls: list[dict[str, Any]], family: Path
) -> None:
    assert runner.invoke(app, ["family", str(family)]).exit_code == 0
    assert calls[0]["folder"] == Path("runs/losses")


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(
    runner: CliRunner, calls: list[dict[str, Any]], family: Path, tmp_path: Path
) -> None:
    calls.append({"raises": KeyboardInterrupt()})
    out = tmp_path / "two words"
    other = family.parent / "other.yaml"
    other.write_text("name: other\ndata: {kind: stdlib}\n")
    before, after = ["--recipe", str(other)], ["--set", "backbone_layers=2", "--anyway"]
    result = runner.invoke(app, ["family", str(family), *after, *before, "--out", str(out)])
    assert result.exit_code == 130
    assert "stopped in 'Mine candidates'" in result.stderr
    command = f"limbeck family {family} {' '.join(before)} --out '{out}' {' '.join(after)}"
    assert result.stderr.splitlines()[-1].strip() == command
    assert {member.recipe.name for member in calls[0]["family"].members} == {"other"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nrecipe: small.yaml\nvariants: {a: {training.epoch: 2}}", "variants.a: unknown key"),
        ("name: x\nrecipe: none.yaml\nvariants: {a: {}}", "there is no file"),
        ("name: [", "not readable as YAML"),
    ],
)
def test_a_family_that_is_wrong_is_refused_before_any_work(
    runner: CliRunner, calls: list[dict[str, Any]], family: Path, text: str, message: str
) -> None:
    family.write_text(text)
    result = runner.invoke(app, ["family", str(family)])
    assert (result.exit_code, calls, result.stdout) == (1, [], "")
    assert "losses.yaml" in result.stderr
    assert message in result.stderr
