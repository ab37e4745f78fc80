"""The last stage: every system answers the same queries, is measured, timed and reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from limbeck.data import Queries, Query, RankedList, Rankings
from limbeck.data.formats.qrels import write_qrels
from limbeck.data.formats.trec import write_run
from limbeck.evaluation import (
    Latency,
    Results,
    RunMetrics,
    compare_systems,
    evaluate_run,
    latency_ms,
    system_result,
)
from limbeck.evaluation.report import Report, Table, write_report
from limbeck.mining import BM25Miner, DenseMiner, Miner
from limbeck.pipeline.candidates import candidate_lists, open_bm25
from limbeck.pipeline.distilling import MODEL
from limbeck.pipeline.folder import machine
from limbeck.pipeline.run import Run
from limbeck.pipeline.teaching import open_teacher, scored_by_teacher
from limbeck.recipes import Recipe
from limbeck.students.dense.backbone import load_backbone
from limbeck.students.dense.retriever import DenseRetriever

#: The systems by name: rows of the table, keys of `metrics.json`, `runs/NAME.trec`.
BM25_NAME = "bm25"
BACKBONE = "backbone"
BASELINE = "backbone-in-batch"
COSINE = "student-cosine"
STUDENT = "student-interaction"
TEACHER = "teacher"

#: Queries that are timed: enough for a median, few enough to wait for.
TIMED_QUERIES = 50
TIMED_TEACHER_QUERIES = 5

#: What users and scripts read.
PUBLISHED = ("report.html", "report.md", "report-figures", "runs", "qrels.tsv", "metrics.json")

Search = Callable[[Query], RankedList]


def evaluation_settings(recipe: Recipe) -> object:
    """What the figures and their page depend on, beyond the stages before."""
    return [recipe.name, recipe.evaluation, recipe.index, recipe.seed]


def evaluate(run: Run, work: Path) -> None:
    """Leaves `metrics.json`, `runs/NAME.trec`, `qrels.tsv`, and the report as HTML and Markdown."""
    recipe, data = run.recipe, run.dataset
    split = recipe.evaluation.split
    queries, judgements = data.queries[split], data.judgements[split]
    rankings: dict[str, Rankings] = {}
    latency: dict[str, Latency] = {}
    asked = list(queries)
    for name, search in _systems(run, recipe.evaluation.depth).items():
        with run.progress.task(name, len(queries)) as advance:
            rankings[name] = Rankings.from_lists(_answers(search, queries, advance), name)
            latency[name] = latency_ms(search, asked[:TIMED_QUERIES])
    rankings[TEACHER] = scored_by_teacher(
        run, candidate_lists(run, split), split, "teacher reranks the candidates"
    )
    latency[TEACHER] = latency_ms(_reranking(run, split), asked[:TIMED_TEACHER_QUERIES], warmup=1)

    (work / "runs").mkdir(exist_ok=True)
    for name, ranked in rankings.items():
        write_run(ranked, work / "runs" / f"{name}.trec", name)
    write_qrels(judgements, work / "qrels.tsv", layout="beir")
    metrics = {
        name: evaluate_run(ranked, judgements, recipe.evaluation.metrics) for name, ranked in rankings.items()
    }
    results = Results(
        {name: system_result(metrics[name], latency[name], seed=recipe.seed) for name in rankings},
        compare_systems(
            metrics,
            [(STUDENT, name) for name in rankings if name != STUDENT],
            next(iter(metrics.values())).names,
            seed=recipe.seed,
        ),
        machine(),
        recipe.seed,
        recipe.content,
    )
    results.write(work / "metrics.json")
    write_report(_report(run, results, metrics, queries), work)


def _systems(run: Run, depth: int) -> dict[str, Search]:
    recipe, passages = run.recipe, run.dataset.passages
    retriever = DenseRetriever.open(run.folder.path, recipe.device)
    backbone = load_backbone(recipe.backbone, recipe.max_length, recipe.device)
    tuned = load_backbone(str(run.folder / "baseline" / MODEL), recipe.max_length, recipe.device)
    return {
        BM25_NAME: _miner_search(BM25Miner(open_bm25(run)), depth),
        BACKBONE: _miner_search(
            DenseMiner(backbone, passages, folder=run.folder / "mine" / "backbone"), depth
        ),
        BASELINE: _miner_search(DenseMiner(tuned, passages, folder=run.folder / "baseline"), depth),
        COSINE: lambda query: retriever.rank_by_cosine(query.text, depth, query.id),
        STUDENT: lambda query: retriever.rank(query.text, depth, query.id),
    }


def _miner_search(miner: Miner, depth: int) -> Search:
    def search(query: Query) -> RankedList:
        return next(iter(miner.mine([query], depth)))

    return search


def _answers(search: Search, queries: Queries, advance: Callable[[int], None]) -> list[RankedList]:
    answers = []
    for query in queries:
        answers.append(search(query))
        advance(1)
    return [answer for answer in answers if answer.passage_ids]


def _reranking(run: Run, split: str) -> Search:
    """What a user would wait for with the teacher itself: all candidates of a query, scored anew."""
    teacher = open_teacher(run, split)
    candidates, passages = candidate_lists(run, split), run.dataset.passages

    def search(query: Query) -> RankedList:
        ranked = candidates.list_for(query.id)
        contents = passages.contents(passages.rows(ranked.passage_ids))
        scores = teacher.score([(query.text, content) for content in contents])
        return RankedList(query.id, ranked.passage_ids, scores).ordered()

    return search


def _report(run: Run, results: Results, metrics: dict[str, RunMetrics], queries: Queries) -> Report:
    audit = json.loads((run.folder / "audit" / "audit.json").read_text(encoding="utf-8"))
    heading, *rows = audit["rows"]
    return Report(
        results,
        metrics,
        title=f"{run.recipe.name}: a distilled retriever",
        compared=(STUDENT, BACKBONE),
        query_text=queries.text,
        curves=[
            (int(line["step"]), f"{stage}: {part}", line[part])
            for stage in ("distil", "baseline")
            for line in json.loads((run.folder / stage / "curve.json").read_text(encoding="utf-8"))
            for part in line
            if "loss" in part and part != "train_loss"
        ],
        audit=Table(heading, rows, audit["explanation"]),
    )
