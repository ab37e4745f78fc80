"""`limbeck doctor`, on this machine and on poorer ones."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

import pytest
from typer.testing import CliRunner

from limbeck import __version__
from limbeck.cli import doctor
from limbeck.cli.app import app


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves torch out: what it says of this machine is tried once."""
    monkeypatch.setattr(doctor, "_devices", lambda: [{"device": "cpu", "name": "2 threads", "bf16": False}])
    place = {"name": "all-MiniLM-L6-v2", "place": "sentence-transformers/all-MiniLM-L6-v2", "local": False}
    monkeypatch.setattr(doctor, "_backbone", lambda: place)


@pytest.mark.usefixtures("light")
def test_json(runner: CliRunner) -> None:
    result = runner.invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["limbeck"] == __version__
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory_gib"] > 0
    assert found["core"]["installed"]
    assert "typer" in found["core"]["packages"]
    assert {"dense", "report", "pairs", "hub", "chinese"} <= set(found["extras"])
    assert not {"all", "dev", "quickstart"} & set(found["extras"])


@pytest.mark.usefixtures("light")
def test_a_missing_extra_comes_with_its_command(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "faiss-cpu")
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 0
    [line] = [line for line in result.output.splitlines() if "pip install" in line]
    assert line.startswith("dense")
    assert "faiss-cpu ✗" in line
    assert line.endswith("missing: pip install 'limbeck[dense]'")
    assert "to be fetched from the hub: sentence-transformers/all-MiniLM-L6-v2" in result.output
    assert "no bfloat16 in hardware" in result.output


@pytest.mark.usefixtures("light")
def test_a_core_that_lacks_something_is_1(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "bm25s")
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "bm25s ✗" in result.output


def test_without_torch_it_says_what_works(monkeypatch: pytest.MonkeyPatch, runner: CliRunner) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    output = runner.invoke(app, ["doctor"]).output
    assert "unknown without torch: BM25, evaluate and compare work" in output
    assert "unknown without sentence-transformers" in output


def test_the_real_devices_and_backbone() -> None:
    pytest.importorskip("sentence_transformers")
    assert doctor._devices()[-1]["device"] == "cpu"
    assert doctor._backbone()["name"] == "all-MiniLM-L6-v2"


def _without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real = metadata.version

    def version(name: str) -> Any:
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
