"""Help, version, exit codes, and the one place where errors become messages."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limbeck import __version__
from limbeck.cli import QUIET, doctor
from limbeck.cli.app import app
from limbeck.errors import LimbeckError

VERBS = [
    "quickstart",
    "run",
    "family",
    "mine",
    "teach",
    "distil",
    "index",
    "search",
    "evaluate",
    "compare",
    "doctor",
]


def test_the_help_names_every_verb_and_the_exit_codes(runner: CliRunner) -> None:
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(verb in result.output for verb in VERBS)
    assert "Exit codes: 0 done, 1 wrong input, 2 wrong usage, 130" in result.output


@pytest.mark.parametrize("verb", [*VERBS, "index build", "index add", "index delete"])
def test_the_help_of_every_verb_shows_an_example_that_can_be_copied(runner: CliRunner, verb: str) -> None:
    result = runner.invoke(app, [*verb.split(), "--help"], env={"COLUMNS": "140"})
    assert result.exit_code == 0
    lines = [line.strip() for line in result.output.splitlines()]
    examples = lines[next(i for i, line in enumerate(lines) if line.startswith("Example")) + 1 :]
    assert any(line.startswith(f"limbeck {verb}") for line in examples)


def test_version(runner: CliRunner) -> None:
    assert runner.invoke(app, ["--version"]).output == f"limbeck {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["frobnicate"], ["run"], ["index", "recipe.yaml"], ["search", "x", "y", "-k", "0"], ["run", "--x"]],
)
def test_wrong_usage_is_2(runner: CliRunner, arguments: list[str]) -> None:
    assert runner.invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (LimbeckError("the teacher is no better [bold]"), 1, "error: the teacher is no better [bold]\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "error: /x: Permission denied.\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "error: writing: No space left on device.\n"),
        (KeyboardInterrupt(), 130, "error: stopped.\n"),
    ],
)
def test_what_the_user_caused_is_one_message(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, message: str
) -> None:
    def fail() -> None:
        raise raised

    monkeypatch.setattr(doctor, "examine", fail)
    result = runner.invoke(app, ["doctor"])
    assert (result.exit_code, result.stderr, result.stdout) == (code, message, "")


def test_what_nobody_foresaw_keeps_its_traceback(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: {}["no such key"])
    result = runner.invoke(app, ["doctor"])
    assert isinstance(result.exception, KeyError)


def test_the_start_brings_in_nothing_heavy() -> None:
    code = (
        "import sys, limbeck.cli.app;"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'numpy', 'scipy', 'pyarrow', 'pydantic',"
        " 'bm25s', 'numba', 'matplotlib', 'sklearn'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def limbeck(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "limbeck", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | changes,
    )


def test_a_real_process_says_what_is_wrong_without_a_traceback(tmp_path: Path) -> None:
    done = limbeck("evaluate", str(tmp_path / "no.trec"), str(tmp_path / "no.tsv"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_real_process_writes_json_and_nothing_else(run_a: Path, qrels: Path) -> None:
    done = limbeck("evaluate", str(run_a), str(qrels), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(json.loads(done.stdout)["systems"]) == ["a"]


def test_a_terminal_that_is_not_utf8_gets_a_table_all_the_same(run_a: Path, run_b: Path, qrels: Path) -> None:
    done = limbeck(
        "compare", str(run_a), str(run_b), str(qrels), PYTHONIOENCODING="ascii:strict", PYTHONUTF8="0"
    )
    assert done.returncode == 0, done.stderr


def test_the_libraries_are_quiet_in_the_command_line_only() -> None:
    code = "import limbeck.cli.app, os; print([name for name in limbeck.cli.QUIET if name in os.environ])"
    clean = {name: value for name, value in os.environ.items() if name not in QUIET}
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=clean).strip() == "[]"
