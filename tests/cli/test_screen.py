"""Lines, tables and times."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from limbeck.cli.screen import command, duration, program, show_table


def shown(rows: list[list[str]], width: int) -> list[str]:
    file = io.StringIO()
    show_table(Console(file=file, width=width), rows)
    return [line.rstrip() for line in file.getvalue().splitlines()]


ROWS = [["System", "nDCG@10"], ["list[int]", "0.410 [0.380, 0.440]"]]


def test_a_table_takes_brackets_as_they_are() -> None:
    assert shown(ROWS, 80) == ["System                  nDCG@10", "list[int]  0.410 [0.380, 0.440]"]


def test_in_a_narrow_window_intervals_go_below_their_values() -> None:
    assert shown(ROWS, 28) == [
        "System            nDCG@10",
        "list[int]           0.410",
        "           [0.380, 0.440]",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (42.4, "42 s"),
        (59.6, "1:00 min"),
        (187, "3:07 min"),
        (3760, "1:02:40 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_command_can_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["pytest"])
    assert command("run", "my recipe.yaml", "--set", "a=[1]") == "limbeck run 'my recipe.yaml' --set 'a=[1]'"


def test_a_program_that_is_not_on_the_path_is_called_by_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [".venv/bin/limbeck"])
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert program() == ".venv/bin/limbeck"
