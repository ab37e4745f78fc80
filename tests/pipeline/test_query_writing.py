"""Pseudo-queries: written, filtered, and the identifiers of a generative student."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from limbeck.data import Passage, Rankings
from limbeck.errors import InputError
from limbeck.pipeline import stages_of
from limbeck.pipeline.run import stage_keys
from limbeck.query_generation.seq2seq import Seq2SeqWriter
from limbeck.recipes import Recipe, make_recipe
from limbeck.students.generative.pseudo_queries import PseudoQueries
from limbeck.students.generative.retriever import GenerativeRetriever
from limbeck.teachers import BM25Teacher
from tests.pipeline.tiny_corpus import NOUNS, generative_content, run_recipe

PASSAGES = 8
#: Each passage has three words that no other has.
WORDS = [tuple(NOUNS[start : start + 3]) for start in range(0, 3 * PASSAGES, 3)]
FOUND = {"teacher": {"kind": "bm25"}, "miners": ["bm25"], "rank": 1}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A BEIR folder with a query for every passage, in every split."""
    folder = tmp_path / "corpus"
    (folder / "qrels").mkdir(parents=True)
    rows = [
        {"_id": f"p{at}", "title": a, "text": f"the {a} and the {b} with a {c}"}
        for at, (a, b, c) in enumerate(WORDS)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    queries = []
    for split in ("train", "dev", "test"):
        lines = ["query-id\tcorpus-id\tscore"]
        for at, (a, b, _) in enumerate(WORDS):
            queries.append({"_id": f"{split}{at}", "text": f"where is the {a} of {b}"})
            lines.append(f"{split}{at}\tp{at}\t1")
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    return folder


@pytest.fixture(autouse=True)
def written(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written: a good question, the same again, and one that the next passage answers.

    For the last passage only the latter is written.
    """

    def write(writer: Seq2SeqWriter, passages: Sequence[Passage], count: int) -> list[list[str]]:
        return [_questions(int(passage.id[1:])) for passage in passages]

    monkeypatch.setattr(Seq2SeqWriter, "write", write)


def _questions(at: int) -> list[str]:
    (a, b, c), (d, e, f) = WORDS[at], WORDS[(at + 1) % PASSAGES]
    own = [f"who took the {b} to the {c} by {a}", f"Who took the {b} to the {c} by {a}?"]
    foreign = f"when was a {d} without its {e} or {f}"
    return [foreign] if at == PASSAGES - 1 else [*own, foreign]


def recipe_of(corpus: Path, encoder: Path, filter_: dict[str, Any] | None, **changes: Any) -> Recipe:
    """A base retriever that knows passages by pseudo-queries alone; the encoder stands for what writes."""
    source = {"kind": "generated", "model": str(encoder), "max_passage_length": 32, "max_query_length": 16}
    view = {"kind": "pseudo-query", "max_length": 32, "sources": [source | {"filter": filter_} | changes]}
    content = generative_content(corpus, encoder, views=[view], ranking=None)
    return make_recipe(content, corpus / "recipe.yaml")


def test_the_filter_has_a_stage_of_its_own(corpus: Path, tiny_encoder_path: Path):
    def keys(filter_: dict[str, Any] | None) -> dict[str, str]:
        recipe = recipe_of(corpus, tiny_encoder_path, filter_)
        return stage_keys(recipe, stages_of(recipe))

    plain, filtered, other = keys(None), keys(FOUND), keys(FOUND | {"rank": 2})
    assert list(plain) == ["data", "mine", "write-queries", "generate", "baseline", "index", "evaluate"]
    assert list(filtered)[:4] == ["data", "mine", "write-queries", "sift-queries"]
    assert plain["write-queries"] == filtered["write-queries"] == other["write-queries"]
    assert len({found["generate"] for found in (plain, filtered, other)}) == 3


def test_what_is_kept_becomes_identifiers(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    folder = tmp_path / "run"
    record = run_recipe(recipe_of(corpus, tiny_encoder_path, FOUND), folder, until="index")
    assert record.done == ["data", "mine", "write-queries", "sift-queries", "generate", "baseline", "index"]
    # Three for each of seven passages, of which one is kept; one for the last.
    note = "of 22 written questions 7 are kept; 7 repeated, 8 not-found; passages that keep none: 1"
    assert note in record.notes
    counts = json.loads((folder / "sift-queries" / "counts.json").read_text())
    assert counts == {"written": 22, "kept": 7, "repeated": 7, "not-found": 8}
    kept = PseudoQueries.open(folder / "sift-queries" / "pseudo-queries.arrow")
    assert dict(kept) == {f"p{at}": _questions(at)[:1] for at in range(PASSAGES - 1)}

    store = GenerativeRetriever.open(folder / "index" / "retriever", "cpu").store
    segment = store.segments[0]
    for passage in segment.passages.take(segment.passages.rows(["p0", f"p{PASSAGES - 1}"])):
        assert [one.text for one in store.texts(segment, passage)] == kept.of(passage.id)


def test_every_pseudo_query_is_kept_with_its_provenance(
    tmp_path: Path, corpus: Path, tiny_encoder_path: Path
):
    folder = tmp_path / "run"
    run_recipe(recipe_of(corpus, tiny_encoder_path, FOUND), folder, until="sift-queries")
    table = pq.read_table(folder / "sift-queries" / "pseudo-queries.parquet")
    assert [(row["text"], row["teacher_rank"], row["dropped"]) for row in table.to_pylist()[:3]] == list(
        zip(_questions(0), (1, None, 2), (None, "repeated", "not-found"), strict=True)
    )
    settings = json.loads(table.schema.metadata[b"limbeck.writer"])
    assert settings == json.loads((folder / "write-queries" / "writer.json").read_text())
    assert settings["generator"]["max_query_length"] == 16


def test_another_filter_has_nothing_written_anew(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    folder = tmp_path / "run"
    run_recipe(recipe_of(corpus, tiny_encoder_path, FOUND), folder, until="sift-queries")
    (folder / "write-queries" / "writer.json").unlink()  # as in a folder from before there was a filter
    by_text = recipe_of(corpus, tiny_encoder_path, {"teacher": None})
    record = run_recipe(by_text, folder, until="sift-queries")
    assert record.done == ["sift-queries"]
    assert "of 22 written questions 15 are kept; 7 repeated" in record.notes
    table = pq.read_table(folder / "sift-queries" / "pseudo-queries.parquet")
    assert set(table["writer"].to_pylist()) == {"seq2seq"}


def test_passages_that_are_mined_are_not_encoded_again(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    recipe = recipe_of(corpus, tiny_encoder_path, {"depth": 8, "rank": 8})
    run_recipe(recipe, tmp_path / "run", until="mine")
    vectors = tmp_path / "run" / "mine" / "backbone" / "embeddings" / "vectors.npy"
    before = vectors.stat().st_ino
    record = run_recipe(recipe, tmp_path / "run", until="sift-queries")
    assert vectors.stat().st_ino == before
    # There are eight passages: each stands among the first eight.
    assert "of 22 written questions 15 are kept; 7 repeated" in record.notes


def test_a_killed_filter_asks_its_ranker_nothing_twice(
    tmp_path: Path, corpus: Path, tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[int] = []
    score = BM25Teacher.score

    def counting(teacher: BM25Teacher, pairs: Any) -> Any:
        asked.append(len(pairs))
        return score(teacher, pairs)

    def kill(*_: Any, **__: Any) -> Rankings:
        raise KeyboardInterrupt

    monkeypatch.setattr(BM25Teacher, "score", counting)
    recipe, folder = recipe_of(corpus, tiny_encoder_path, FOUND), tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("limbeck.pipeline.filtering.drop_by_ranker", kill)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(recipe, folder, until="sift-queries")
    assert not (folder / "sift-queries").exists()
    # Own questions find their passage alone; of foreign ones the passage itself and the other are scored.
    assert asked == [7 + 2 * 8]
    assert run_recipe(recipe, folder, until="sift-queries").done == ["sift-queries"]
    assert asked == [7 + 2 * 8]


def test_a_filter_that_leaves_nothing_says_where_it_stands(
    tmp_path: Path, corpus: Path, tiny_encoder_path: Path
):
    recipe = recipe_of(corpus, tiny_encoder_path, {"teacher": None, "min_words": 20})
    with pytest.raises(InputError, match=r"all 22 .* loosen student\.views\.0\.sources\.0\.filter"):
        run_recipe(recipe, tmp_path / "run", until="sift-queries")


def test_questions_are_looked_for_in_what_training_sees(tmp_path: Path, tiny_encoder_path: Path):
    """A corpus alone, whose passages training sees without the sentences that are its questions."""
    rows = [
        {"_id": f"p{at}", "text": f"In the {a} was a {b}. Who saw the {b} of the {c}? It was {a} by {c}."}
        for at, (a, b, c) in enumerate(WORDS)
    ]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {
        "kind": "corpus",
        "file": str(tmp_path / "corpus.jsonl"),
        "queries": {"filter": {"teacher": None}},
    }
    recipe = recipe_of(tmp_path, tiny_encoder_path, FOUND | {"miners": ["bm25", "dense"]})
    recipe = make_recipe(recipe.content | {"data": data}, tmp_path / "recipe.yaml")
    record = run_recipe(recipe, tmp_path / "run", until="sift-queries")
    assert record.done == ["data", "invent", "sift", "mine", "write-queries", "sift-queries"]
    assert any("7 repeated, 8 not-found" in note for note in record.notes)


def test_a_filter_that_does_not_load_is_found_before_any_work(
    tmp_path: Path, corpus: Path, tiny_encoder_path: Path
):
    (tmp_path / "empty").mkdir()
    filter_ = {"teacher": {"kind": "cross-encoder", "model": str(tmp_path / "empty")}}
    with pytest.raises(
        InputError, match=r"^student\.views\.0\.sources\.0\.filter\.teacher: no model can be loaded"
    ):
        run_recipe(recipe_of(corpus, tiny_encoder_path, filter_), tmp_path / "run")
    assert not (tmp_path / "run" / "data").exists()


def test_a_writer_that_cannot_read_so_much_is_found_before_any_work(
    tmp_path: Path, corpus: Path, tiny_encoder_path: Path
):
    recipe = recipe_of(corpus, tiny_encoder_path, None, max_passage_length=192)
    with pytest.raises(
        InputError, match=r"^student\.views\.0\.sources\.0: max_passage_length is 192\. Expected: 62"
    ):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "data").exists()


def test_a_filter_that_would_have_to_be_trained_is_refused(corpus: Path, tiny_encoder_path: Path):
    for teacher, match in (
        ({"kind": "cross-encoder"}, "a filter trains none"),
        ({"kind": "llm", "model": "x", "fine_tuning": {}}, "a filter trains none"),
    ):
        with pytest.raises(InputError, match=rf"sources\.0\.filter: .*{match}"):
            recipe_of(corpus, tiny_encoder_path, {"teacher": teacher})
