"""`limbeck search`, over a retriever that always finds the same, and over a real generative one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from limbeck.cli.app import app
from limbeck.cli.search import _described, _identifiers, _marks, _name
from limbeck.cli.snippets import MARK
from limbeck.students.generative.retriever import Hit, Match

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


# A generative student


def ask(runner: CliRunner, folder: Path, *words: str) -> dict[str, Any]:
    result = runner.invoke(app, ["search", str(folder), *words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_identifiers_say_where_they_stand_and_what_they_add(runner: CliRunner, generative_run: Path) -> None:
    hits = ask(runner, generative_run, "where is the cat of dog", "-k", "20")["hits"]
    assert len(hits) > 5
    texts = {"title": "title", "body": "text"}
    for hit in hits:
        weights = [identifier["weight"] for identifier in hit["identifiers"]]
        assert weights == sorted(weights, reverse=True)
        assert sum(weights) == pytest.approx(hit["score"])
        for identifier in hit["identifiers"]:
            assert set(identifier) == {"identifier", "view", "part", "start", "end", "text", "weight"}
            if identifier["view"] in texts:
                text = hit[texts[identifier["view"]]]
                assert text[identifier["start"] : identifier["end"]] == identifier["text"]
    assert {match["view"] for hit in hits for match in hit["identifiers"]} >= {"title", "body"}


def test_the_page_names_the_strongest_identifiers(runner: CliRunner, generative_run: Path) -> None:
    [hit] = ask(runner, generative_run, "where is the cat of dog", "-k", "1")["hits"]
    result = runner.invoke(app, ["search", str(generative_run), "where is the cat of dog", "-k", "1"])
    lines = [line.strip() for line in result.output.splitlines()]
    strongest = hit["identifiers"][0]
    assert lines[-1].startswith(f'{strongest["identifier"]} "{strongest["text"]}" {strongest["weight"]:.1f}')
    shown = [identifier for identifier in hit["identifiers"] if identifier["weight"] >= 0.05][:4]
    assert lines[-1].count(" · ") == len(shown) - 1
    assert " ".join(hit["text"].split()) in lines


def test_marks_are_those_of_the_shown_text() -> None:
    found = [
        Match("title", "title", 0, 0, 11, "Webbed toes", 31.2),
        Match("unigram", "body", 0, 4, 10, "webbed", 2.0),
        Match("body", "pseudo-query", 0, 2, 9, "are  webbed", 12.0),
    ]
    hit = Hit(1, "nq1", 45.2, "Webbed toes", "The webbed feet", found)
    assert [match.weight for match in _identifiers(hit)] == [31.2, 12.0, 2.0]
    assert _described(found[0]) == 'title "Webbed toes" 31.2'
    assert _described(found[2]) == 'body in pseudo-query "are webbed" 12.0'
    assert _marks(found, "title") == [(0, 11)]
    assert _marks(found, "body") == [(4, 10)]
    name = _name(hit, [(0, 11)])
    assert name.plain == "Webbed toes  nq1"
    assert [(span.start, span.end) for span in name.spans if span.style == MARK] == [(0, 11)]


@pytest.mark.parametrize(
    "query",
    ["cat dog " * 5000, "猫はどこにいますか", "где кошка", "قطة", "🐈", "[SEP] [UNK] </s>", "\0", "?"],
)
def test_odd_queries_are_answered(runner: CliRunner, generative_run: Path, query: str) -> None:
    document = ask(runner, generative_run, query)
    assert document["query"] == query
    assert len(document["hits"]) <= 10
    assert runner.invoke(app, ["search", str(generative_run), query]).exit_code == 0


def test_several_queries_find_what_one_finds(runner: CliRunner, generative_run: Path) -> None:
    queries = ["where is the cat of dog", "king", "queen"]
    result = runner.invoke(app, ["search", str(generative_run), "-", "--json"], input="\n".join(queries))
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["query"] for line in lines] == queries
    assert [line["hits"] for line in lines] == [
        ask(runner, generative_run, query)["hits"] for query in queries
    ]


def test_the_search_is_the_recipes(runner: CliRunner, generative_copy: Path) -> None:
    """Its data need not be there any more."""
    before = ask(runner, generative_copy, "king", "-k", "60")["hits"]
    change(generative_copy / "recipe.yaml", "beams: 64", "beams: 1")
    change(generative_copy / "recipe.yaml", "unigrams: 1000", "unigrams: 0")
    change(generative_copy / "recipe.yaml", "folder: ", "folder: /gone")
    after = ask(runner, generative_copy, "king", "-k", "60")["hits"]
    assert 0 < len(after) < len(before)
    kinds = [
        {match["identifier"] for hit in hits for match in hit["identifiers"]} for hits in (before, after)
    ]
    assert ["unigram" in found for found in kinds] == [True, False]


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, text
    path.write_text(text.replace(old, new), encoding="utf-8")


GENERATOR = "index/retriever/generator"


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("index/retriever/retriever.json", '"version": 1', '"version": 9', "the retriever is of version 9"),
        ("index/retriever/retriever.json", '"vocabulary": "', '"vocabulary": "0', "another tokenizer"),
        ("index/retriever/retriever.json", '"segments": {', '"segments": [', "the manifest is damaged"),
        (f"{GENERATOR}/tokenizer.json", '"king": ', '"kong": ', "another tokenizer"),
        ("index/retriever/index/manifest.json", '"version": ', '"version": 9', "version"),
        ("recipe.yaml", "kind: generative", "kind: dense", "the recipe is not"),
        ("recipe.yaml", "beams: 64", "beams: none", "student.search.beams"),
        ("recipe.yaml", "beams: 64", "\tbeams: 64", "recipe.yaml:"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(
    runner: CliRunner, generative_copy: Path, file: str, old: str, new: str, problem: str
) -> None:
    change(generative_copy / file, old, new)
    result = runner.invoke(app, ["search", str(generative_copy), "king"])
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert problem in result.stderr
    if file.startswith("index"):
        command = f"limbeck index build {generative_copy / 'recipe.yaml'} --out {generative_copy}"
        assert f"delete {generative_copy / 'index'}, then `{command}`" in result.stderr


def test_damage_to_the_index_is_told(runner: CliRunner, generative_copy: Path) -> None:
    for path in (generative_copy / "index" / "retriever" / "index").glob("part-*"):
        path.write_bytes(path.read_bytes()[:100])
    result = runner.invoke(app, ["search", str(generative_copy), "king"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "part-" in result.stderr


def test_a_folder_without_its_recipe_is_refused(runner: CliRunner, generative_copy: Path) -> None:
    (generative_copy / "recipe.yaml").unlink()
    result = runner.invoke(app, ["search", str(generative_copy), "king"])
    assert result.exit_code == 1
    assert "recipe.yaml" in result.stderr


def test_the_pipeline_is_not_needed(generative_run: Path) -> None:
    code = (
        "import sys; from limbeck.cli.opening import open_retriever; from pathlib import Path;"
        f"open_retriever(Path({str(generative_run)!r})).search('king');"
        "print(sorted({'limbeck.pipeline', 'sentence_transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
