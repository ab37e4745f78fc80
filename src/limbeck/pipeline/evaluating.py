"""The last stage: every system answers the same queries, is measured, timed and reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from limbeck.data import Queries, Query, RankedList, Rankings, fuse
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
from limbeck.pipeline.candidates import candidate_lists
from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.folder import machine
from limbeck.pipeline.identifiers import uses_teacher
from limbeck.pipeline.inventing import INVENTED, asks_invented
from limbeck.pipeline.run import Run
from limbeck.pipeline.servers import asks_server, teaching_servers
from limbeck.pipeline.systems import TEACHER, Search, System, Systems, systems_of
from limbeck.pipeline.teaching import candidate_pairs, open_teacher, scored_by_teacher
from limbeck.recipes import Recipe

#: Queries that are timed: enough for a median, few enough to wait for.
TIMED_QUERIES = 50
TIMED_TEACHER_QUERIES = 5

#: What users and scripts read.
PUBLISHED = ("report.html", "report.md", "report-figures", "runs", "qrels.tsv", "metrics.json")


def evaluation_settings(recipe: Recipe) -> object:
    """What the figures and their page depend on, beyond the stages before."""
    return [recipe.name, recipe.evaluation, recipe.index, recipe.seed]


def evaluate(run: Run, work: Path) -> None:
    """Leaves `metrics.json`, `runs/NAME.trec`, `qrels.tsv`, and the report as HTML and Markdown."""
    recipe, data = run.recipe, run.dataset
    split = recipe.evaluation.split
    queries, judgements = data.queries[split], data.judgements[split]
    systems = systems_of(run)
    rankings: dict[str, Rankings] = {}
    latency: dict[str, Latency] = {}
    asked = list(queries)
    for name, system in systems.named.items():
        with run.progress.task(name, len(queries)) as advance:
            rankings[name] = Rankings.from_lists(_answers(system, queries, advance), name)
            latency[name] = system.latency or latency_ms(system.search, asked[:TIMED_QUERIES])
    for name, members in systems.fused.items():
        lists = zip(*(map(rankings[member].list_for, queries.ids()) for member in members), strict=True)
        rankings[name] = Rankings.from_lists(
            (fuse(list(one), recipe.evaluation.depth) for one in lists), name
        )
    if uses_teacher(recipe):
        rankings[TEACHER] = scored_by_teacher(
            run, candidate_lists(run, split), split, "teacher reranks the candidates"
        )
        if not asks_server(recipe):  # each timed query would be paid for
            latency[TEACHER] = latency_ms(_reranking(run, split), asked[:TIMED_TEACHER_QUERIES], warmup=1)

    (work / "runs").mkdir(exist_ok=True)
    for name, ranked in rankings.items():
        write_run(ranked, work / "runs" / f"{name}.trec", name)
    write_qrels(judgements, work / "qrels.tsv", layout="beir")
    metrics = {
        name: evaluate_run(ranked, judgements, recipe.evaluation.metrics) for name, ranked in rankings.items()
    }
    results = Results(
        {name: system_result(metrics[name], latency.get(name), seed=recipe.seed) for name in rankings},
        compare_systems(
            metrics,
            [(systems.student, name) for name in rankings if name != systems.student],
            next(iter(metrics.values())).names,
            seed=recipe.seed,
        ),
        machine(),
        recipe.seed,
        recipe.content,
    )
    results.write(work / "metrics.json")
    if asks_invented(recipe, split):
        run.progress.note(INVENTED)
    write_report(_report(run, systems, results, metrics), work)


def asks_servers(recipe: Recipe) -> bool:
    """Whether a server is among the systems."""
    return uses_teacher(recipe) and asks_server(recipe)


def count_evaluated(run: Run, estimate: CostEstimate) -> None:
    """What the evaluation asks servers."""
    split = run.recipe.evaluation.split
    estimate.add_pairs(f"{split} candidates", teaching_servers(run), candidate_pairs(run, split))


def _answers(system: System, queries: Queries, advance: Callable[[int], None]) -> Iterator[RankedList]:
    for answer in system.answer(queries):
        advance(1)
        if answer.passage_ids:
            yield answer


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


def _report(run: Run, systems: Systems, results: Results, metrics: dict[str, RunMetrics]) -> Report:
    queries = run.dataset.queries[run.recipe.evaluation.split]
    audited = run.folder / "audit" / "audit.json"
    audit = None
    if uses_teacher(run.recipe):
        written = json.loads(audited.read_text(encoding="utf-8"))
        heading, *rows = written["rows"]
        audit = Table(heading, rows, written["explanation"])
    return Report(
        results,
        metrics,
        title=f"{run.recipe.name}: a distilled retriever",
        lead=INVENTED if asks_invented(run.recipe, run.recipe.evaluation.split) else "",
        compared=(systems.student, systems.start),
        query_text=queries.text,
        curves=[
            (int(line["step"]), f"{stage}: {part}", line[part])
            for stage in systems.trainings
            for line in json.loads((run.folder / stage / "curve.json").read_text(encoding="utf-8"))
            for part in line
            if "loss" in part and part != "train_loss"
        ],
        audit=audit,
    )
