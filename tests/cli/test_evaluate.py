"""`limbeck evaluate` and `limbeck compare` on runs that are scored by hand."""

from __future__ import annotations

import json
from math import log2
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limbeck.cli.app import app


def test_json_has_the_shape_of_metrics_json(runner: CliRunner, run_a: Path, qrels: Path) -> None:
    result = runner.invoke(
        app, ["evaluate", str(run_a), str(qrels), "--json", "-m", "mrr@10", "-m", "nDCG@10"]
    )
    assert result.exit_code == 0, result.output
    system = json.loads(result.stdout)["systems"]["a"]
    assert list(system) == ["MRR@10", "nDCG@10"]
    assert system["MRR@10"]["value"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert system["nDCG@10"]["value"] == pytest.approx((1 + 1 / log2(3) + 0) / 3)
    assert set(system["MRR@10"]) == {"value", "low", "high"}


def test_the_table_and_what_was_judged(runner: CliRunner, run_a: Path, qrels: Path) -> None:
    output = runner.invoke(app, ["evaluate", str(run_a), str(qrels)]).output
    heading, row, last = output.splitlines()
    assert heading.split() == ["System", "nDCG@10", "MRR@10", "Recall@100"]
    assert row.split()[0] == "a"
    assert "0.500 [" in row  # MRR
    assert last == "3 judged queries; the run has results for 2 of them"


def test_an_unknown_metric_is_refused_before_anything_is_read(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(app, ["evaluate", str(tmp_path / "a"), str(tmp_path / "b"), "-m", "accuracy"])
    assert result.exit_code == 1
    assert "accuracy" in result.stderr


def test_a_line_that_is_wrong_is_named(runner: CliRunner, run_a: Path, qrels: Path) -> None:
    run_a.write_text("q1 Q0 d1 1 nan a\n", encoding="utf-8")
    result = runner.invoke(app, ["evaluate", str(run_a), str(qrels)])
    assert result.exit_code == 1
    assert f"{run_a}:1" in result.stderr


def test_compare(runner: CliRunner, run_a: Path, run_b: Path, qrels: Path) -> None:
    result = runner.invoke(app, ["compare", str(run_a), str(run_b), str(qrels), "-m", "MRR@10", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["systems"]["a"]["MRR@10"]["value"] == pytest.approx(1 / 2)
    assert document["systems"]["b"]["MRR@10"]["value"] == pytest.approx(2 / 3)
    [comparison] = document["comparisons"]
    assert comparison["difference"] == pytest.approx(-1 / 6)
    assert [comparison[key] for key in ("queries", "wins", "losses", "ties")] == [3, 1, 1, 1]
    assert document["largest_wins"] == [{"query_id": "q1", "first": 1.0, "second": 0.5, "difference": 0.5}]
    assert document["largest_losses"] == [{"query_id": "q3", "first": 0.0, "second": 1.0, "difference": -1.0}]


def test_compare_for_people(runner: CliRunner, run_a: Path, run_b: Path, qrels: Path) -> None:
    output = runner.invoke(app, ["compare", str(run_a), str(run_b), str(qrels), "-m", "MRR@10"]).output
    assert "−0.167 [" in output
    assert "p = 1.0000, not significant at 0.05" in output
    assert "3 queries: 1 won, 1 lost, 1 tied" in output
    assert "Largest losses of a" in output
    few = runner.invoke(app, ["compare", str(run_a), str(run_b), str(qrels), "-n", "0"]).output
    assert "Largest" not in few


def test_runs_of_one_name_are_told_apart_by_their_files(
    runner: CliRunner, run_a: Path, run_b: Path, qrels: Path
) -> None:
    run_b.write_text(run_a.read_text(), encoding="utf-8")
    result = runner.invoke(app, ["compare", str(run_a), str(run_b), str(qrels), "--json"])
    assert list(json.loads(result.stdout)["systems"]) == [str(run_a), str(run_b)]
