"""`limbeck search`, over a retriever that always finds the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limbeck.cli.app import app
from limbeck.cli.search import _first_lines

Asked = list[tuple[str, int]]


def test_json(runner: CliRunner, retriever: Asked, run_folder: Path) -> None:
    result = runner.invoke(app, ["search", str(run_folder), "a cache", "-k", "2", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert retriever == [("a cache", 2)]
    assert document["query"] == "a cache"
    assert document["took_ms"] >= 0
    assert [hit["rank"] for hit in document["hits"]] == [1, 2]
    assert document["hits"][1] == {
        "rank": 2,
        "id": "d[2]",
        "score": -1.5,
        "title": "list[int]",
        "text": "[bold]text[/bold] :smile:",
    }


def test_queries_from_standard_input_are_one_object_a_line(
    runner: CliRunner, retriever: Asked, run_folder: Path
) -> None:
    result = runner.invoke(app, ["search", str(run_folder), "-", "--json"], input="one\n\n two \n")
    assert [json.loads(line)["query"] for line in result.stdout.splitlines()] == ["one", "two"]
    assert retriever == [("one", 10), ("two", 10)]


def test_the_page_shows_titles_ids_scores_and_texts_as_they_are(
    runner: CliRunner, retriever: Asked, run_folder: Path
) -> None:
    output = runner.invoke(app, ["search", str(run_folder), "a cache"]).output
    assert " ms)" in output
    assert output.count("functools.lru_cache") == 1  # its title is its id
    assert "list[int]  d[2]" in output
    assert "[bold]text[/bold] :smile:" in output
    assert "-1.500" in output
    assert "zh" in output
    assert all(len(line) <= 160 for line in output.splitlines())


@pytest.mark.parametrize("query", ["", "  "])
def test_an_empty_query_is_refused(runner: CliRunner, retriever: Asked, run_folder: Path, query: str) -> None:
    result = runner.invoke(app, ["search", str(run_folder), query])
    assert (result.exit_code, retriever) == (1, [])
    assert "the query is empty" in result.stderr


def test_a_query_that_is_not_utf8_is_refused(runner: CliRunner, retriever: Asked, run_folder: Path) -> None:
    argument = b"caf\xe9".decode("utf-8", "surrogateescape")  # as Python reads its arguments
    for result in (
        runner.invoke(app, ["search", str(run_folder), argument]),
        runner.invoke(app, ["search", str(run_folder), "-"], input=b"caf\xe9\n"),
    ):
        assert (result.exit_code, retriever) == (1, [])
        assert "the query is not UTF-8" in result.stderr


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_an_index_is_refused(runner: CliRunner, tmp_path: Path, name: str) -> None:
    result = runner.invoke(app, ["search", str(tmp_path / name), "a cache"])
    assert result.exit_code == 1
    assert "limbeck run RECIPE --out" in result.stderr


def test_first_lines_fold_white_space_and_end_with_dots() -> None:
    assert _first_lines("one  two\n\nthree", 20) == ["one two three"]
    assert _first_lines("aaaa bbbb cccc dddd eeee", 10) == ["aaaa bbbb", "cccc …"]


def test_first_lines_stay_within_the_width() -> None:
    from rich.cells import cell_len  # noqa: PLC0415

    for text in ("word " * 50, "中文" * 60, "x" * 300, "日本 " * 40):
        lines = _first_lines(text, 20)
        assert len(lines) == 2
        assert lines[-1].endswith(" …")
        assert all(cell_len(line) <= 20 for line in lines)
