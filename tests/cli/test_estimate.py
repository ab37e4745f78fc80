"""`limbeck run RECIPE --estimate`: what it costs, asked of nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from limbeck.cli.app import app
from tests.servers.tiny_server import MODEL, TinyServer


@pytest.fixture
def recipe_file(tiny_encoder_path: Path, server: TinyServer, tmp_path: Path) -> Path:
    """Of pairs, whose teacher is a server; one a request, and 96 are needed."""
    from tests.pipeline.pairs.tiny_pairs import pair_content, set_content, write_pairs  # noqa: PLC0415

    folder = write_pairs(tmp_path / "pairs")
    member = {"kind": "server", "url": server.url, "model": MODEL}
    member |= {"price": {"prompt": 0, "completion": 1e6}, "limit": 100}
    sets = {"tiny": set_content(folder, neighbours=0, random=0, teacher={"members": [member]})}
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(pair_content(folder, tiny_encoder_path, pairs=sets)))
    return path


def test_it_tells_what_each_stage_asks_and_asks_nothing(
    runner: CliRunner, recipe_file: Path, server: TinyServer, tmp_path: Path
) -> None:
    out, before = tmp_path / "out", len(server.requests)
    command = ["run", str(recipe_file), "--out", str(out), "--set", "seed=1", "--estimate"]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    assert len(server.requests) == before
    assert {path.parent.name for path in out.glob("*/.done.json")} == {"pair-data", "pair-mine"}
    rows = [line.split() for line in result.output.splitlines() if line.startswith("pair-")]
    # Stage, what is asked about, account, and requests, tokens and cost.
    assert [[*row[:-2], row[-1]] for row in rows] == [
        ["pair-audit", "tiny:", "dev", "pairs", "pairs.tiny:", MODEL, "24", "24"],
        ["pair-teach", "tiny:", "training", "pairs", "pairs.tiny:", MODEL, "48", "48"],
        ["pair-evaluate", "tiny:", "test", "pairs", "pairs.tiny:", MODEL, "24", "24"],
    ]
    assert "96 requests with about" in result.output
    assert "at most about 96; 0 of 100 is spent" in result.output
    assert f"limbeck run {recipe_file} --out {out} --set seed=1\n" in result.output

    # Too dear, it says so; no error, since nothing has to be stopped.
    recipe_file.write_text(recipe_file.read_text().replace("limit: 100", "limit: 95"))
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "would cost about 96; 0 is spent, and the limit is 95" in result.output
    assert "raise `limit`" in result.output
    assert len(server.requests) == before


def test_without_a_server_nothing_is_run(runner: CliRunner, recipe: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["run", str(recipe), "--out", str(tmp_path / "out"), "--estimate"])
    assert result.exit_code == 0, result.output
    assert result.output == "No server has anything left to be asked.\n"
    assert not (tmp_path / "out" / "data").exists()
