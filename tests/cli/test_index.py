"""`limbeck index add` and `delete`, on a real run of a tiny generative student."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from limbeck.cli.app import app
from limbeck.indexes.fm_index.locking import locked
from tests.pipeline.tiny_corpus import run_recipe

QUERY = "where is the cat of dog"


def index(runner: CliRunner, verb: str, folder: Path, *words: object, **settings: Any) -> Result:
    return runner.invoke(app, ["index", verb, str(folder), *map(str, words)], **settings)


def found(runner: CliRunner, folder: Path) -> dict[str, Any]:
    """All hits by id, in their order."""
    result = runner.invoke(app, ["search", str(folder), QUERY, "-k", "100", "--json"])
    assert result.exit_code == 0, result.output
    return {hit["id"]: hit for hit in json.loads(result.stdout)["hits"]}


def write_lines(path: Path, *records: object) -> Path:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    text = "".join(f"{line}\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def like(hit: dict[str, Any], id_: str) -> dict[str, str]:
    """A passage that the same title finds."""
    return {"_id": id_, "title": hit["title"], "text": f"{hit['text']} and webbed feet"}


def segments(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "index" / "retriever" / "texts").iterdir())


def test_passages_come_and_go(runner: CliRunner, generative_copy: Path, tmp_path: Path) -> None:
    first, second = list(found(runner, generative_copy).values())[:2]
    passages = write_lines(tmp_path / "new.jsonl.gz", like(first, "n1"), "", like(second, "n2"))
    questions = write_lines(tmp_path / "questions.tsv", f"n1\t{QUERY}", "n1\twho has webbed feet")
    result = index(runner, "add", generative_copy, passages, "--pseudo-queries", questions)
    assert (result.exit_code, result.stdout) == (0, "Added 2 passages; 62 can be found.\n"), result.output
    after = found(runner, generative_copy)
    assert {"n1", "n2"} <= set(after)
    assert after["n1"]["text"] == f"{first['text']} and webbed feet"

    result = index(runner, "delete", generative_copy, "n1", first["id"], "n1")
    assert (result.exit_code, result.stdout) == (0, "Deleted 2 passages; 60 can be found.\n"), result.output
    assert not {"n1", first["id"]} & set(found(runner, generative_copy))

    ids = f"\n n2\r\n{second['id']}\nn2\n"
    result = index(runner, "delete", generative_copy, "-", input=ids)
    assert result.stdout == "Deleted 2 passages; 58 can be found.\n"
    again = write_lines(tmp_path / "again.jsonl", {"_id": second["id"], "text": "queen", "title": "king"})
    assert index(runner, "add", generative_copy, again).stdout == "Added 1 passage; 59 can be found.\n"


def test_questions_of_added_passages_are_indexed(
    runner: CliRunner, generative_copy: Path, tmp_path: Path
) -> None:
    from limbeck.cli.opening import open_generative  # noqa: PLC0415  # brings torch

    passages = write_lines(
        tmp_path / "new.jsonl", {"_id": "n1", "text": "a fish"}, {"_id": "n2", "text": "sea"}
    )
    questions = write_lines(tmp_path / "q.jsonl", {"id": "n2", "text": "which river runs to paris"})
    assert index(runner, "add", generative_copy, passages, "--pseudo-queries", questions).exit_code == 0
    store = open_generative(generative_copy).store
    segment, passage = store.passage(61)
    assert [(text.view, text.text) for text in store.texts(segment, passage)] == [
        ("body", "sea"),
        ("pseudo-query", "which river runs to paris"),
    ]


def test_without_any_passage_nothing_is_found(runner: CliRunner, generative_copy: Path) -> None:
    ids = "\n".join(f"p{number}" for number in range(60))
    assert index(runner, "delete", generative_copy, "-", input=ids).stdout.endswith("; 0 can be found.\n")
    result = runner.invoke(app, ["search", str(generative_copy), QUERY])
    assert result.exit_code == 0
    assert "Nothing found." in result.output


def test_a_run_keeps_the_index_and_building_it_anew_does_not(
    runner: CliRunner, generative_copy: Path, generative_parts: tuple[Path, Any], tmp_path: Path
) -> None:
    best = next(iter(found(runner, generative_copy).values()))
    index(runner, "add", generative_copy, write_lines(tmp_path / "new.jsonl", like(best, "n1")))
    _, recipe = generative_parts
    assert run_recipe(recipe, generative_copy, until="index").done == []
    assert "n1" in found(runner, generative_copy)
    shutil.rmtree(generative_copy / "index")
    assert run_recipe(recipe, generative_copy, until="index").done == ["index"]
    assert "n1" not in found(runner, generative_copy)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [{"_id": "n1", "text": "a"}, "", {"_id": "p3", "text": "b"}],
            ":3: passage 'p3' is in the index already",
        ),
        ([{"_id": "n1", "text": "a"}, {"_id": "n1", "text": "b"}], ":2: passage id 'n1' appears twice"),
        ([{"_id": "n1", "text": "a"}, {"_id": "n2", "text": "  "}], ":2: "),
        ([{"_id": "", "text": "a"}], ":1: '_id' is empty"),
        ([{"_id": "n1", "title": "a"}], ":1: there is no key 'text'"),
        (['{"_id": "n1", "text": "a"'], ":1: the line is not valid JSON"),
        ([], ": the file is empty"),
    ],
)
def test_passages_that_cannot_be_added(
    runner: CliRunner, generative_copy: Path, tmp_path: Path, lines: list[Any], message: str
) -> None:
    path = write_lines(tmp_path / "new.jsonl", *lines)
    result = index(runner, "add", generative_copy, path)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert result.stderr.startswith(f"error: {path}{message}")
    assert segments(generative_copy) == ["00000000"]


def test_a_passage_that_is_there_can_be_replaced_as_the_message_says(
    runner: CliRunner, generative_copy: Path, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "new.jsonl", {"_id": "p 3", "text": "a"})
    assert index(runner, "add", generative_copy, path).exit_code == 0
    message = index(runner, "add", generative_copy, path).stderr
    assert f"limbeck index delete {generative_copy} 'p 3'" in message
    assert index(runner, "delete", generative_copy, "p 3").exit_code == 0
    assert index(runner, "add", generative_copy, path).exit_code == 0


def test_questions_that_cannot_be_added(runner: CliRunner, generative_copy: Path, tmp_path: Path) -> None:
    passages = write_lines(tmp_path / "new.jsonl", {"_id": "n1", "text": "a fish"})
    for lines, message in [
        (["n1\twhat", "p1\twho"], ":2: there is no passage 'p1'"),
        (["n1"], ":1: "),
        ([], ": the file is empty"),
    ]:
        path = write_lines(tmp_path / "q.tsv", *lines)
        result = index(runner, "add", generative_copy, passages, "--pseudo-queries", path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"error: {path}{message}")
    manifest = generative_copy / "index" / "retriever" / "retriever.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"views": content["views"][:2]}))
    result = index(runner, "add", generative_copy, passages, "--pseudo-queries", path)
    assert result.exit_code == 1
    assert "without pseudo-queries, on title and body" in result.stderr
    assert segments(generative_copy) == ["00000000"]


@pytest.mark.parametrize(
    ("ids", "given", "message"),
    [
        (
            ["p1", "d9", "d8", "d7"],
            None,
            "error: passage 'd9' is not in the index, nor are 2 others; nothing",
        ),
        (["p1", "-"], None, "error: passage '-' is not in the index; nothing was deleted"),
        (["-"], b"p1\n\nd9\n", "error: standard input:3: passage 'd9' is not in the index; nothing"),
        (["-"], b"p1\ncaf\xe9\n", "error: standard input:2: the id is not UTF-8"),
        (["-"], b"\n", "error: there is no id on standard input"),
        (["caf\udce9"], None, "error: the id is not UTF-8"),
    ],
)
def test_ids_that_cannot_be_deleted(
    runner: CliRunner, generative_copy: Path, ids: list[str], given: bytes | None, message: str
) -> None:
    result = index(runner, "delete", generative_copy, *ids, input=given)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert result.stderr.startswith(message)
    assert index(runner, "delete", generative_copy, "p1").stdout.endswith("59 can be found.\n")


@pytest.mark.parametrize("verb", ["add", "delete"])
def test_folders_without_a_generative_index_are_refused(
    runner: CliRunner, run_folder: Path, tmp_path: Path, verb: str
) -> None:
    """`run_folder` holds what any other run leaves."""
    word = write_lines(tmp_path / "new.jsonl", {"_id": "n1", "text": "a fish"}) if verb == "add" else "p1"
    (tmp_path / "unfinished").mkdir()
    for folder, message in [
        (
            run_folder,
            f"change the corpus of the recipe, then run it again: `limbeck index build {run_folder}",
        ),
        (tmp_path / "nowhere", "there is no such folder"),
        (tmp_path / "unfinished", "no run has left an index here"),
    ]:
        before = sorted(tmp_path.rglob("*"))
        result = index(runner, verb, folder, word)
        assert (result.exit_code, result.stdout) == (1, "")
        assert message in result.stderr
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("verb", ["add", "delete"])
def test_a_second_writer_is_refused(
    runner: CliRunner, generative_copy: Path, tmp_path: Path, verb: str
) -> None:
    word = write_lines(tmp_path / "new.jsonl", {"_id": "n1", "text": "a fish"}) if verb == "add" else "p1"
    with locked(generative_copy / ".lock", wait_s=0):  # as `limbeck run` does
        result = index(runner, verb, generative_copy, word)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "another process works in this folder" in result.stderr
        assert len(found(runner, generative_copy)) > 5  # readers do not wait
    assert index(runner, verb, generative_copy, word).exit_code == 0


@pytest.mark.slow
def test_real_processes(runner: CliRunner, generative_copy: Path, tmp_path: Path) -> None:
    def limbeck(*words: object) -> str:
        return subprocess.check_output([sys.executable, "-m", "limbeck", *map(str, words)], text=True)

    best = next(iter(found(runner, generative_copy).values()))
    passages = write_lines(tmp_path / "new.jsonl", like(best, "n1"))
    assert limbeck("index", "add", generative_copy, passages) == "Added 1 passage; 61 can be found.\n"
    hits = json.loads(limbeck("search", generative_copy, QUERY, "-k", 100, "--json"))["hits"]
    assert "n1" in {hit["id"] for hit in hits}
    assert limbeck("index", "delete", generative_copy, "n1") == "Deleted 1 passage; 60 can be found.\n"
    assert "n1" not in found(runner, generative_copy)
