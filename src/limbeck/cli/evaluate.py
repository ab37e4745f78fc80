"""`limbeck evaluate`: a run file against judgements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.options import AsJson, Qrels, add_verb
from limbeck.cli.screen import console, show_json, show_table


def evaluate(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The run, in TREC's format; plain or .gz.", show_default=False),
    ],
    qrels: Qrels,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            help="nDCG@k, MRR@k, Recall@k, MAP, Precision@k or Hits@k; may be given several times.",
            show_default="nDCG@10, MRR@10, Recall@100",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a run: the mean of each metric over the judged queries, with its 95 % interval.

    A judged query for which the run has nothing counts as 0.
    """
    from limbeck.data.formats import read_qrels, read_run  # noqa: PLC0415 - the start stays quick
    from limbeck.evaluation import (  # noqa: PLC0415
        DEFAULT_METRICS,
        Results,
        evaluate_run,
        parse_metric,
        system_result,
    )

    metrics = [parse_metric(name).name for name in metric or DEFAULT_METRICS]
    rankings, judgements = read_run(run), read_qrels(qrels)
    results = Results({rankings.source: system_result(evaluate_run(rankings, judgements, metrics))})
    if as_json:
        show_json(results.to_dict())
        return
    judged = judgements.query_ids
    found = len(set(judged) & set(rankings.query_ids))
    screen = console()
    show_table(screen, [row[:-1] for row in results.table_rows()])  # the time per query is in no run file
    missing = f"; the run has results for {found:,} of them" if found < len(judged) else ""
    screen.print(f"{len(judged):,} judged queries{missing}")


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    add_verb(
        app,
        evaluate,
        "limbeck evaluate quickstart/runs/bm25.trec quickstart/qrels.tsv",
        "limbeck evaluate my-run.trec.gz qrels.txt --metric nDCG@5 --metric MAP --json",
    )
