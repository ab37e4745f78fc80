"""A corpus without questions: they are written, filtered and split, and both students learn from them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from limbeck.data import Passages
from limbeck.data.dataset import open_dataset
from limbeck.errors import InputError
from limbeck.pipeline import stages_of
from limbeck.pipeline.run import stage_keys
from limbeck.recipes import Recipe, load_recipe, make_recipe
from limbeck.students.dense.retriever import DenseRetriever
from limbeck.students.generative.pseudo_queries import PseudoQueries
from tests.pipeline.tiny_corpus import (
    NOUNS,
    generative_content,
    run_recipe,
    tiny_content,
    write_corpus,
)
from tests.tiny_models import tiny_llm
from tests.trainings import run_killed

OPEN = {"teacher": None}


def write_texts(path: Path, passages: int = 40, seed: int = 0) -> Path:
    """Passages of four sentences, two of which name the same three words: one can be asked for the other."""
    rng = random.Random(seed)
    with path.open("w") as stream:
        for at in range(passages):
            a, b, c = rng.sample(NOUNS, 3)
            d, e, f = rng.sample(NOUNS, 3)
            sentences = [
                f"In the {a} there was a {b} of the {c}.", f"Who took the {c} and the {b} to the {a}?",
                f"The {d} by the {e} {at}.", f"Every day the {f} was a {d} for number {at}!",
            ]  # fmt: skip
            stream.write(json.dumps({"_id": f"p{at}", "title": a, "text": " ".join(sentences)}) + "\n")
    return path


def corpus_data(path: Path, **queries) -> dict:
    return {"kind": "corpus", "file": str(path), "queries": {"filter": OPEN} | queries}


def dense(tmp_path: Path, encoder: Path, **queries) -> Recipe:
    corpus = write_texts(tmp_path / "corpus.jsonl")
    return make_recipe(
        tiny_content(corpus, encoder, data=corpus_data(corpus, **queries)), tmp_path / "recipe.yaml"
    )


def test_the_stages_of_a_corpus_alone(tmp_path, tiny_encoder_path):
    names = [stage.name for stage in stages_of(dense(tmp_path, tiny_encoder_path))]
    assert names[:4] == ["data", "invent", "sift", "mine"]
    stages = {stage.name: stage for stage in stages_of(dense(tmp_path, tiny_encoder_path))}
    assert stages["mine"].after == ("data", "sift")
    beir = stages_of(Recipe(data={"kind": "stdlib"}))
    assert {"invent", "sift"}.isdisjoint(stage.name for stage in beir)


@pytest.fixture(scope="module")
def ended(tmp_path_factory, tiny_encoder_path):
    """A finished run with a dense student, and what it noted."""
    folder = tmp_path_factory.mktemp("alone")
    record = run_recipe(dense(folder, tiny_encoder_path), folder / "run", anyway=True)
    return folder, record


def test_a_dense_student_comes_out_of_a_corpus_alone(ended):
    folder, record = ended
    systems = json.loads((folder / "run" / "metrics.json").read_text())["systems"]
    assert {"bm25", "backbone", "student-cosine", "student-interaction", "teacher"} <= set(systems)
    assert sum("not asked by people" in note for note in record.notes) == 1
    assert "not asked by people" in (folder / "run" / "report.md").read_text()
    assert "not asked by people" in (folder / "run" / "report.html").read_text()


def test_too_few_questions_are_told_with_what_became_of_the_others(tmp_path, tiny_encoder_path):
    corpus = write_texts(tmp_path / "corpus.jsonl", passages=2)
    content = tiny_content(corpus, tiny_encoder_path, data=corpus_data(corpus))
    recipe = make_recipe(content, tmp_path / "recipe.yaml")
    with pytest.raises(InputError, match=r"kept for 2 passages: of \d+ written questions \d+ are kept"):
        run_recipe(recipe, tmp_path / "run", until="sift")


def test_what_is_found_is_shown_whole(ended):
    folder, _ = ended
    corpus = {one["_id"]: one["text"] for one in map(json.loads, (folder / "corpus.jsonl").open())}
    found = DenseRetriever.open(folder / "run").search("where is the cat", k=40)
    assert {hit.passage_id: hit.text for hit in found} == corpus


def test_no_passage_has_questions_in_two_splits(ended):
    data = open_dataset(ended[0] / "run" / "sift")
    owners = {
        split: {passage for _, passage, _ in data.judgements[split]} for split in ("train", "dev", "test")
    }
    assert [len(data.judgements[split].query_ids) == len(data.queries[split]) for split in owners]
    assert len(owners["dev"]) == len(owners["test"]) == 4
    assert sum(map(len, owners.values())) == len(set().union(*owners.values())) > 30


def test_no_sentence_stands_where_it_is_asked_for(ended):
    data = open_dataset(ended[0] / "run" / "sift")
    whole = Passages.open(ended[0] / "run" / "data" / "passages.arrow")
    for split in ("train", "dev", "test"):
        seen = data.training_view if split == "train" else data.passages
        for query in data.queries[split]:
            (passage,) = data.judgements[split].relevant(query.id)
            row = whole.rows([passage])
            assert query.text in whole.contents(row)[0]
            assert query.text not in seen.contents(row)[0]
    # Training sentences stay in what is searched: only those that are asked in dev and test are lacking.
    lacking = sum(one.text != other.text for one, other in zip(whole, data.passages, strict=True))
    assert lacking == 8


def test_every_written_question_is_kept_with_its_provenance(ended):
    folder = ended[0] / "run" / "sift"
    table = pq.read_table(folder / "invented.parquet")
    rows = table.to_pylist()
    counts = json.loads((folder / "counts.json").read_text())
    kept = [row for row in rows if row["dropped"] is None]
    assert counts["written"] == len(rows)
    assert counts["kept"] == len(kept) == sum(len(one) for one in open_dataset(folder).queries.values())
    assert {row["writer"] for row in rows} == {"cloze"}
    assert json.loads(table.schema.metadata[b"limbeck.writer"])["seed"] == 0
    assert all((row["split"] is None) == (row["dropped"] is not None) for row in rows)


def test_a_ranker_drops_what_it_does_not_find(tmp_path, tiny_encoder_path):
    recipe = dense(tmp_path, tiny_encoder_path, filter={"teacher": {"kind": "bm25"}, "rank": 1})
    record = run_recipe(recipe, tmp_path / "run", until="sift")
    rows = pq.read_table(tmp_path / "run" / "sift" / "invented.parquet").to_pylist()
    judged = [row for row in rows if row["teacher_rank"] is not None]
    assert {row["dropped"] for row in judged} == {None, "not-found"}
    assert all((row["teacher_rank"] > 1) == (row["dropped"] == "not-found") for row in judged)
    # Of a sentence's words the rest of its passage repeats three, or names and numbers that no other has.
    assert any("written questions" in note and "not-found" in note for note in record.notes)


def test_another_filter_has_nothing_written_anew(tmp_path, tiny_encoder_path):
    first = dense(tmp_path, tiny_encoder_path)
    run_recipe(first, tmp_path / "run", until="sift")
    content = first.content
    content["data"]["queries"]["filter"]["min_words"] = 9
    other = make_recipe(content, tmp_path / "recipe.yaml")
    assert run_recipe(other, tmp_path / "run", until="sift").done == ["sift"]
    kept = open_dataset(tmp_path / "run" / "sift").queries["train"].texts()
    assert kept
    assert all(len(text.split()) >= 9 for text in kept)


def test_questions_of_people_take_the_place_of_invented_ones(tmp_path, tiny_encoder_path):
    beir = write_corpus(tmp_path / "beir")
    lines = (beir / "corpus.jsonl").read_text().splitlines()
    corpus = tmp_path / "corpus.tsv"
    rows = [json.loads(line) for line in lines]
    corpus.write_text(
        "".join(f"{row['_id']}\t{row['title']}\t{row['text']}. It was {row['_id']} by day.\n" for row in rows)
    )
    data = corpus_data(corpus) | {"judged": {"folder": str(beir)}}
    recipe = make_recipe(tiny_content(beir, tiny_encoder_path, data=data), tmp_path / "recipe.yaml")
    record = run_recipe(recipe, tmp_path / "run", until="sift")
    made = open_dataset(tmp_path / "run" / "sift")
    assert made.queries["test"].ids() == [f"test{at}" for at in range(15)]
    assert made.queries["dev"].ids()[0].startswith("p")
    assert not any("not asked by people" in note for note in record.notes)


@pytest.mark.slow
def test_a_generative_student_comes_out_of_a_corpus_alone(tmp_path, tiny_encoder_path):
    corpus = write_texts(tmp_path / "corpus.jsonl")
    views = [{"kind": "body"}, {"kind": "pseudo-query", "sources": [{"kind": "training-queries"}]}]
    content = generative_content(corpus, tiny_encoder_path, views=views) | {"data": corpus_data(corpus)}
    run_recipe(make_recipe(content, tmp_path / "recipe.yaml"), tmp_path / "run", anyway=True)
    systems = json.loads((tmp_path / "run" / "metrics.json").read_text())["systems"]
    assert "bm25" in systems
    assert len(systems) >= 4


def test_what_cannot_be_made_a_data_set(tmp_path, tiny_encoder_path, refused):
    def run(text: str, **queries):
        corpus = tmp_path / "corpus.jsonl"
        corpus.write_text(text)
        content = tiny_content(corpus, tiny_encoder_path, data=corpus_data(corpus, **queries))
        return lambda: run_recipe(
            make_recipe(content, tmp_path / "recipe.yaml"), tmp_path / "run", until="sift"
        )

    def passages(texts) -> str:
        return "".join(json.dumps({"id": f"p{at}", "text": text}) + "\n" for at, text in enumerate(texts))

    refused(run(""), "the file is empty", name="corpus.jsonl")
    refused(run(passages(["cat", "dog"])), "wrote no question for any of 2 passages")
    same = ["The cat sat on a tree. The dog was in the sea."] * 4
    error = refused(run(passages(same)), "all 4 written questions are dropped: 4 unspecific")
    assert "of p0 (unspecific)" in error.problem
    two = [f"The cat sat on {word}. The dog was in {word}." for word in ("paris by night", "a red house")]
    refused(run(passages(two)), "kept for 2 passages")
    refused(run(json.dumps({"id": "p0"})), "there is no key 'text'", name="corpus.jsonl", line=1)


def test_what_a_recipe_may_not_ask(tmp_path, tiny_encoder_path):
    for filter_, match in (
        ({"teacher": {"kind": "cross-encoder"}}, "a filter trains none"),
        ({"min_probability": 0.5}, "the score of late-interaction is none"),
        ({"teacher": None, "min_probability": 0.5}, "the score of no teacher is none"),
        ({"min_words": 65}, "filter.max_words is 64, less than filter.min_words, 65"),
        ({"depth": 2}, "filter.rank is 3, above filter.depth, 2"),
    ):
        with pytest.raises(InputError, match=match):
            dense(tmp_path, tiny_encoder_path, filter=filter_)
    likely = {"teacher": {"kind": "cross-encoder", "model": str(tiny_encoder_path)}, "min_probability": 0.5}
    dense(tmp_path, tiny_encoder_path, filter=likely | {"depth": 2})  # whatever its rank is
    with pytest.raises(InputError, match="leave no questions to learn from"):
        dense(tmp_path, tiny_encoder_path, dev_share=0.5, test_share=0.5)
    corpus = write_texts(tmp_path / "corpus.jsonl")
    run = tmp_path / "run.trec"
    run.write_text("q Q0 p0 1 1.0 x\n")
    content = tiny_content(corpus, tiny_encoder_path, data=corpus_data(corpus))
    content["mining"] |= {"runs": {"train": str(run)}}
    with pytest.raises(InputError, match="cannot know questions that are yet to be written"):
        make_recipe(content, tmp_path / "recipe.yaml")


@pytest.mark.parametrize("kind", ["llm", "seq2seq"])
def test_a_model_writes_the_questions(tmp_path, tiny_encoder_path, kind):
    if kind == "llm":
        writer = {"kind": "llm", "model": str(tiny_llm(tmp_path / "llm")), "prompt": "{passage}\nask: "}
        writer |= {"max_passage_length": 16, "max_query_length": 8, "top_p": 1.0}
    else:
        beir = write_corpus(tmp_path / "beir", passages=20)
        writer = {"kind": "seq2seq", "examples": str(beir), "max_passage_length": 32, "max_query_length": 8}
    filter_ = OPEN | {"min_words": 1}
    recipe = dense(tmp_path, tiny_encoder_path, writer=writer, count=2, filter=filter_, max_passages=20)
    run_recipe(recipe, tmp_path / "run", until="sift")
    rows = pq.read_table(tmp_path / "run" / "sift" / "invented.parquet").to_pylist()
    assert {row["writer"] for row in rows} == {kind}
    assert len({row["passage_id"] for row in rows}) <= 20
    made = open_dataset(tmp_path / "run" / "sift")
    assert made.training_passages is None
    assert made.passages.fingerprint == Passages.open(tmp_path / "run/data/passages.arrow").fingerprint
    assert run_recipe(recipe, tmp_path / "run", until="sift").done == []


def test_writers_that_contradict_themselves(tmp_path, tiny_encoder_path):
    for writer, match in (
        ({"kind": "seq2seq"}, "either a model or examples"),
        ({"kind": "llm", "model": "x", "prompt": "ask"}, "0 placeholders {passage}"),
        (SERVER | {"prompt": "{passage} or {passage}"}, "2 placeholders {passage}"),
        ({"kind": "cloze", "min_words": 5, "max_words": 4}, "max_words is 4"),
    ):
        with pytest.raises(InputError, match=match):
            dense(tmp_path, tiny_encoder_path, writer=writer)


@pytest.mark.slow
def test_a_killed_process_loses_the_block_under_way(tmp_path, tiny_encoder_path):
    """The writer is killed in its third block; what goes on reads the passages of that block and the rest."""
    corpus = write_texts(tmp_path / "corpus.jsonl", passages=1100)
    content = tiny_content(corpus, tiny_encoder_path, data=corpus_data(corpus))
    (tmp_path / "recipe.yaml").write_text(json.dumps(content))
    script = f"""
        import json, os, signal, sys
        from pathlib import Path
        from limbeck.query_generation.cloze import ClozeWriter
        from limbeck.recipes import load_recipe
        from tests.pipeline.tiny_corpus import run_recipe
        folder = Path({str(tmp_path)!r})
        write = ClozeWriter.write
        def killing(writer, passages, count):
            with (folder / "read").open("a") as log:
                log.write(passages[0].id + "\\n")
            if passages[0].id == "p1024" and not (folder / "killed").exists():
                (folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return write(writer, passages, count)
        ClozeWriter.write = killing
        run_recipe(load_recipe(folder / "recipe.yaml"), folder / "run", until="invent")
        """
    run_killed(script)
    assert not (tmp_path / "run" / "invent").exists()
    run_recipe(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "whole", until="invent")
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, cwd=Path(__file__).parents[2])
    assert (tmp_path / "read").read_text().split() == ["p0", "p512", "p1024", "p1024"]
    one, other = (
        dict(PseudoQueries.open(tmp_path / name / "invent" / "questions.arrow")) for name in ("run", "whole")
    )
    assert one == other


SERVER = {"kind": "server", "url": "http://localhost:9/v1", "model": "m"}


@pytest.mark.parametrize(
    "queries",
    [
        {"writer": SERVER | {"api_key_env": "TINY_KEY"}},
        {"filter": {"teacher": SERVER | {"api_key_env": "TINY_KEY"}}},
    ],
)
def test_a_servers_key_that_is_not_set_is_found_before_the_corpus_is_read(
    queries, tmp_path, tiny_encoder_path, monkeypatch
):
    monkeypatch.delenv("TINY_KEY", raising=False)
    with pytest.raises(InputError, match="TINY_KEY is not set"):
        run_recipe(dense(tmp_path, tiny_encoder_path, **queries), tmp_path / "run")
    assert not (tmp_path / "run" / "data").exists()


@pytest.mark.parametrize("part", ["writer", "filter"])
def test_where_a_server_is_and_what_it_costs_changes_no_question(part, tmp_path, tiny_encoder_path):
    corpus = write_texts(tmp_path / "corpus.jsonl")

    def keys(**changes) -> list[str]:
        section = SERVER | changes
        queries = {"writer": section} if part == "writer" else {"filter": {"teacher": section}}
        content = tiny_content(corpus, tiny_encoder_path, data=corpus_data(corpus, **queries))
        recipe = make_recipe(content, tmp_path / "recipe.yaml")
        found = stage_keys(recipe, stages_of(recipe))
        return [found["invent"], found["sift"]]

    price = {"price": {"prompt": 1, "completion": 2}, "limit": 3}
    assert keys() == keys(url="https://elsewhere.example/v1", concurrency=2, **price)
    assert keys() != keys(model="n")
