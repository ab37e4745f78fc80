"""Runs whose student is generative: which stages they have, what these leave, and what they share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.data import Judgements, Rankings
from limbeck.data.dataset import open_dataset
from limbeck.data.formats.qrels import read_qrels
from limbeck.data.formats.trec import read_run, write_run
from limbeck.errors import InputError
from limbeck.evaluation import Results
from limbeck.pipeline import Run, RunFolder, run_stages, stages_of
from limbeck.pipeline.ranking import _lists, own_candidates, ranking_section
from limbeck.recipes import Recipe, load_recipe, make_recipe
from limbeck.students.generative.pseudo_queries import PseudoQueries
from limbeck.students.generative.retriever import GenerativeRetriever
from tests.pipeline.tiny_corpus import Record, generative_content, run_recipe, tiny_recipe, write_corpus

ALL = ["data", "mine", "teacher", "audit", "generate", "base", "own", "teach", "distil", "baseline", "index",
       "evaluate"]  # fmt: skip
TEACHER = {"teacher", "audit", "teach"}
TRAINING_QUERIES = {"kind": "pseudo-query", "sources": [{"kind": "training-queries"}]}


def recipe_of(corpus: Path, encoder: Path, **changes: Any) -> Recipe:
    """`generative_content` as a recipe; `ranking` is merged key by key."""
    ranking = changes.pop("ranking", {})
    content = generative_content(corpus, encoder, **changes)
    if ranking is None:
        content["student"]["ranking"] = None
    else:
        content["student"]["ranking"] |= ranking
    return make_recipe(content, corpus / "recipe.yaml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path, tiny_encoder_path: Path) -> Path:
    """A finished run of `recipe_of(corpus, tiny_encoder_path)`: to be read, or copied."""
    folder = tmp_path_factory.mktemp("generative") / "run"
    run_recipe(recipe_of(corpus, tiny_encoder_path), folder)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_the_recipe_says_which_stages_there_are(corpus: Path, tiny_encoder_path: Path):
    def names(**changes: Any) -> list[str]:
        return [stage.name for stage in stages_of(recipe_of(corpus, tiny_encoder_path, **changes))]

    assert names() == ALL
    assert names(ranking={"loss": "positive_margin"}) == [name for name in ALL if name not in TEACHER]
    assert names(ranking=None) == ["data", "mine", "generate", "baseline", "index", "evaluate"]
    assert "distil" in [stage.name for stage in stages_of(tiny_recipe(corpus, tiny_encoder_path))]


def test_every_system_is_measured(finished: Path):
    systems = Results.read(finished / "metrics.json").systems
    assert list(systems) == [
        *("bm25", "backbone", "backbone-in-batch"),
        *("generative-base", "generative", "generative+dense", "teacher"),
    ]
    assert sorted(file.stem for file in (finished / "runs").iterdir()) == sorted(systems)
    assert systems["generative"].latency_ms is not None
    assert systems["generative-base"].latency_ms is not None
    assert systems["generative+dense"].latency_ms is None
    html = (finished / "report.html").read_text()
    assert "generative-base" in html
    assert "distil: rank_loss" in html


def test_the_base_is_measured_by_what_its_retriever_finds(finished: Path):
    run = read_run(finished / "runs" / "generative-base.trec")
    retriever = GenerativeRetriever.open(finished / "base" / "retriever", "cpu")
    retriever.settings = type(retriever.settings)(beams=4)
    data = open_dataset(finished / "data")
    for ranked in retriever.mine(data.queries["test"], 20):
        found = run.list_for(ranked.query_id)
        assert ranked.passage_ids == found.passage_ids
        np.testing.assert_allclose(ranked.scores, found.scores, rtol=1e-6)


def test_fusion_is_of_the_student_and_the_fine_tuned_backbone(finished: Path):
    members = [read_run(finished / "runs" / f"{name}.trec") for name in ("generative", "backbone-in-batch")]
    fused = read_run(finished / "runs" / "generative+dense.trec")
    for ranked in fused:
        expected: dict[str, float] = {}
        for member in members:
            for rank, passage in enumerate(member.list_for(ranked.query_id).passage_ids, start=1):
                expected[passage] = expected.get(passage, 0) + 1 / (60 + rank)
        for passage, score in zip(ranked.passage_ids, ranked.scores.tolist(), strict=True):
            assert score == pytest.approx(expected[passage], abs=1e-6)


def test_the_teacher_judges_what_the_base_found(finished: Path):
    own = Rankings.open(finished / "own" / "train.arrow")
    taught = Rankings.open(finished / "teach" / "candidates.arrow")
    assert len(own.query_ids) == 20
    train = open_dataset(finished / "data").judgements["train"]
    for ranked in own:
        positives = train.relevant(ranked.query_id)
        assert ranked.passage_ids[: len(positives)] == positives
        assert len(ranked) <= len(positives) + 6
        assert set(taught.list_for(ranked.query_id).passage_ids) == set(ranked.passage_ids)


def test_queries_with_lists_are_counted_once(finished: Path, corpus: Path, tiny_encoder_path: Path):
    recipe = recipe_of(corpus, tiny_encoder_path, ranking={"draws": 2})
    record = Record(recipe)
    run = Run(recipe, RunFolder(finished), record)
    found = open_dataset(finished / "data").judgements["train"]
    asked = Rankings.open(finished / "own" / "train.arrow").query_ids
    # Each has a second relevant passage that the teacher was not asked for, and lists by its first one.
    scored = {query: set(own_candidates(run).list_for(query).passage_ids) for query in asked}
    unscored = {query: next(f"p{at}" for at in range(60) if f"p{at}" not in scored[query]) for query in asked}
    judgements = Judgements([*found.subset(asked), *((query, unscored[query], 1) for query in asked)])
    lists = _lists(run, judgements, ranking_section(recipe), 0)
    assert (len(lists), len(lists.unscored)) == (40, 20)
    assert record.notes == ["20 training queries have lists"]


def test_the_student_differs_from_its_base(finished: Path):
    curve = json.loads((finished / "distil" / "curve.json").read_text())
    assert {"rank_loss", "generation_loss"} <= set(curve[0])
    base, student = (
        read_run(finished / "runs" / f"{name}.trec") for name in ("generative-base", "generative")
    )
    assert any(
        base.list_for(query).scores.tolist() != student.list_for(query).scores.tolist()
        for query in base.query_ids
    )


def test_another_loss_begins_at_the_ranking(copy: Path, corpus: Path, tiny_encoder_path: Path):
    done = run_recipe(recipe_of(corpus, tiny_encoder_path, ranking={"loss": "list_net"}), copy).done
    assert done == ["distil", "index", "evaluate"]
    # LTRGR's margin needs no teacher, whose stages are no longer behind the ranking.
    record = run_recipe(recipe_of(corpus, tiny_encoder_path, ranking={"loss": "positive_margin"}), copy)
    assert record.done == ["distil", "index", "evaluate"]
    assert "teacher" not in Results.read(copy / "metrics.json").systems
    base = run_recipe(recipe_of(corpus, tiny_encoder_path, ranking=None), copy)
    assert base.done == ["index", "evaluate"]
    assert "generative-base" not in Results.read(copy / "metrics.json").systems


def test_a_seed_of_the_ranking_keeps_the_base(copy: Path, corpus: Path, tiny_encoder_path: Path):
    assert run_recipe(recipe_of(corpus, tiny_encoder_path, ranking={"seed": 1}), copy).done == [
        "distil", "index", "evaluate",
    ]  # fmt: skip


def test_training_queries_are_pseudo_queries_but_not_where_their_own_rankings_are_learnt(
    tmp_path: Path, corpus: Path, tiny_encoder_path: Path
):
    views = [{"kind": "body"}, TRAINING_QUERIES]
    recipe = recipe_of(corpus, tiny_encoder_path, views=views, ranking={"max_queries": 3})
    run_recipe(recipe, tmp_path / "run", until="own")
    ranked = Rankings.open(tmp_path / "run" / "own" / "train.arrow").query_ids
    assert len(ranked) == 3
    judgements = read_qrels(corpus / "qrels" / "train.tsv")
    lines = map(json.loads, (corpus / "queries.jsonl").read_text().splitlines())
    text_of = {line["_id"]: " ".join(line["text"].split()) for line in lines}

    def texts(stage: str, query: str) -> list[str]:
        store = GenerativeRetriever.open(tmp_path / "run" / stage / "retriever", "cpu").store
        row = store.segments[0].passages.rows(judgements.relevant(query)[:1])
        passage = next(iter(store.segments[0].passages.take(row)))
        return [one.text for one in store.texts(store.segments[0], passage)]

    asked = {text_of[query] for query in ranked}
    other = next(query for query in judgements.query_ids if text_of[query] not in asked)
    for query in (ranked[0], other):
        assert text_of[query] in texts("base", query)
    assert text_of[ranked[0]] not in texts("own", ranked[0])
    assert text_of[other] in texts("own", other)


def test_pseudo_queries_come_from_a_file(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    file = tmp_path / "questions.tsv"
    file.write_text("p0\twhere is the cat\n")
    view = {"kind": "pseudo-query", "sources": [{"kind": "file", "path": str(file)}]}
    recipe = recipe_of(corpus, tiny_encoder_path, views=[{"kind": "title"}, view], ranking=None)
    record = run_recipe(recipe, tmp_path / "run", until="generate")
    assert any("of pseudo-query" in note for note in record.notes)
    file.write_text("p0\twhere is the cat\np1\twhat is a dog\n")
    assert run_recipe(recipe, tmp_path / "run", until="generate").done == ["generate"]
    file.write_text("unknown\twhere is the cat\n")
    with pytest.raises(InputError, match=r"questions.tsv:1: there is no passage 'unknown'"):
        run_recipe(recipe, tmp_path / "run", until="generate")


def test_a_model_writes_pseudo_queries(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    source = {"kind": "generated", "count": 2, "max_passage_length": 32, "max_query_length": 8, "epochs": 1}
    views = [{"kind": "title"}, {"kind": "pseudo-query", "sources": [source]}]
    recipe = recipe_of(corpus, tiny_encoder_path, views=views, ranking=None)
    record = run_recipe(recipe, tmp_path / "run", until="index")
    assert record.done == ["data", "mine", "write-queries", "generate", "baseline", "index"]
    written = PseudoQueries.open(tmp_path / "run" / "write-queries" / "pseudo-queries.arrow")
    assert 0 < len(written) <= 60
    passage_id, questions = next(iter(written))
    assert 1 <= len(questions) <= 2
    store = GenerativeRetriever.open(tmp_path / "run" / "index" / "retriever", "cpu").store
    segment = store.segments[0]
    passage = next(iter(segment.passages.take(segment.passages.rows([passage_id]))))
    assert [one.text for one in store.texts(segment, passage) if one.view == "pseudo-query"] == questions
    # A given model is not trained.
    source = {"kind": "generated", "model": str(tmp_path / "run" / "write-queries" / "query-generator")}
    views = [{"kind": "title"}, {"kind": "pseudo-query", "sources": [source | {"count": 1}]}]
    given = recipe_of(corpus, tiny_encoder_path, views=views, ranking=None)
    assert given.student.views[1].sources[0].max_passage_length == 192
    with pytest.raises(InputError, match="192"):
        run_recipe(given, tmp_path / "run", until="write-queries")


def test_a_run_of_training_queries_takes_the_place_of_the_base(
    copy: Path, tmp_path: Path, corpus: Path, tiny_encoder_path: Path
):
    """And so a run file may be the teacher: it scores all that it lists."""
    own = Rankings.open(copy / "own" / "train.arrow")
    write_run(Rankings.from_lists((one for one in own), "given"), tmp_path / "train.trec", "given")
    content = generative_content(corpus, tiny_encoder_path)
    content["mining"] |= {"runs": {"train": str(tmp_path / "train.trec")}, "random": 0}
    recipe = make_recipe(content, corpus / "recipe.yaml")
    run_recipe(recipe, copy, until="own")
    found = Rankings.open(copy / "own" / "train.arrow")
    assert {one.query_id: set(one.passage_ids) for one in found if len(one)} == {
        one.query_id: set(one.passage_ids) for one in own
    }


def test_answers_and_matches_that_are_there_are_not_made_again(
    tmp_path: Path, corpus: Path, tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("limbeck.pipeline.answering.BLOCK", 8)
    recipe, folder = recipe_of(corpus, tiny_encoder_path), tmp_path / "run"
    asked: list[int] = []
    mine, identifiers = GenerativeRetriever.mine, GenerativeRetriever.identifiers

    def counting(retriever: GenerativeRetriever, queries: list[str]) -> Any:
        asked.append(len(queries))
        if sum(asked) > 10:
            raise KeyboardInterrupt
        return identifiers(retriever, queries)

    run_recipe(recipe, folder, until="base")
    monkeypatch.setattr(GenerativeRetriever, "identifiers", counting)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, folder, until="own")
    assert [path.name for path in (folder / ".work" / "own" / "scratch" / "answers").iterdir()] == [
        "000000.arrow"
    ]
    monkeypatch.setattr(GenerativeRetriever, "identifiers", identifiers)
    times: list[int] = []

    def watching(retriever: GenerativeRetriever, queries: Any, depth: int) -> Any:
        times.append(len(queries))
        return mine(retriever, queries, depth)

    monkeypatch.setattr(GenerativeRetriever, "mine", watching)
    run_recipe(recipe, folder, until="own")
    assert times == [8, 4]  # 20 queries in blocks of 8, the first of which was there


def test_sections_of_a_dense_student_are_refused(corpus: Path, tiny_encoder_path: Path):
    content = generative_content(corpus, tiny_encoder_path) | {"loss": {"kind": "kl_divergence"}}
    with pytest.raises(InputError, match="the section 'loss' belongs to a dense student"):
        make_recipe(content, corpus / "recipe.yaml")
    with pytest.raises(InputError, match="each kind may stand there once"):
        recipe_of(corpus, tiny_encoder_path, views=[{"kind": "body"}, {"kind": "body"}])


def test_the_recipe_in_the_folder_can_be_run_again(finished: Path, corpus: Path, tiny_encoder_path: Path):
    written = load_recipe(finished / "recipe.yaml")
    assert written == recipe_of(corpus, tiny_encoder_path)
    assert "loss" not in (finished / "recipe.yaml").read_text().split("\nstudent")[0]


def test_a_corpus_without_negatives_teaches_no_ranking(tmp_path: Path, tiny_encoder_path: Path):
    corpus = write_corpus(tmp_path / "corpus", passages=1)
    recipe = recipe_of(corpus, tiny_encoder_path, ranking={"loss": "positive_margin"})
    with pytest.raises(InputError, match="nothing was found but relevant passages for any of the 20"):
        run_recipe(recipe, tmp_path / "run", until="distil")


def test_it_stops_before_it_learns_from_a_teacher_that_is_no_better(
    tmp_path: Path, corpus: Path, tiny_encoder_path: Path
):
    content = generative_content(corpus, tiny_encoder_path)
    content["teacher"] = {"members": [{"kind": "bi-encoder"}]}  # its own start, as a teacher
    recipe = make_recipe(content, corpus / "recipe.yaml")
    run = Run(recipe, RunFolder(tmp_path / "run"))
    with pytest.raises(Exception, match=r"nothing to distil|no better"):
        run_stages(run, stages_of(recipe), until="teach")
    assert (tmp_path / "run" / "audit" / "audit.json").is_file()
    assert not (tmp_path / "run" / "teach").exists()
