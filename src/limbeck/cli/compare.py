"""`limbeck compare`: two run files on the same judgements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.options import AsJson, Qrels, add_verb
from limbeck.cli.screen import console, show_json, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from limbeck.evaluation import Comparison, QueryDifference


def compare(  # noqa: PLR0917 - the parser passes them by name
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A TREC run.", show_default=False)],
    run_b: Annotated[
        Path, typer.Argument(metavar="RUN_B", help="The one to compare it with.", show_default=False)
    ],
    qrels: Qrels,
    metric: Annotated[str, typer.Option("--metric", "-m", help="The metric.")] = "nDCG@10",
    count: Annotated[int, typer.Option("-n", min=0, help="Largest wins and losses to show.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Compare two runs: the difference (A minus B), its 95 % interval, a paired test, and query by query."""
    from limbeck.data.formats import read_qrels, read_run  # noqa: PLC0415 - the start stays quick
    from limbeck.evaluation import (  # noqa: PLC0415
        Results,
        compare_runs,
        evaluate_run,
        largest_changes,
        parse_metric,
        system_result,
    )

    metric = parse_metric(metric).name
    judgements = read_qrels(qrels)
    rankings = [read_run(path) for path in (run_a, run_b)]
    names = rankings[0].source, rankings[1].source
    if names[0] == names[1]:  # the files tell apart what their run names do not
        names = str(run_a), str(run_b)
    first, second = (evaluate_run(ranking, judgements, [metric]) for ranking in rankings)
    comparison = compare_runs(first, second, metric, names=names)
    wins, losses = largest_changes(first, second, metric, count)
    if as_json:
        systems = {name: system_result(run) for name, run in zip(names, (first, second), strict=True)}
        changes = {"largest_wins": _records(wins), "largest_losses": _records(losses)}
        show_json({**Results(systems, [comparison]).to_dict(), **changes})
        return
    screen = console()
    _show(screen, comparison, first.mean(metric), second.mean(metric))
    for title, rows in (("Largest wins", wins), ("Largest losses", losses)):
        if rows:
            screen.print()
            screen.print(f"{title} of {names[0]}")
            show_table(screen, [["Query", *names, "Difference"], *map(_cells, rows)])


def _show(screen: Console, comparison: Comparison, first: float, second: float) -> None:
    from limbeck.evaluation.results import format_interval, format_value  # noqa: PLC0415

    difference = f"{comparison.difference:+.3f}".replace("-", "−")
    rows = [
        ["System", comparison.metric],
        [comparison.first, format_value(first)],
        [comparison.second, format_value(second)],
        ["Difference", difference + format_interval(comparison)],
    ]
    show_table(screen, rows)
    screen.print()
    verdict = "significant" if comparison.significant else "not significant"
    screen.print(
        f"p {_p_value(comparison.p_value)}, {verdict} at 0.05"
        f" (paired randomisation test; paired t-test: p {_p_value(comparison.t_test_p_value)})"
    )
    screen.print(
        f"{comparison.queries:,} queries: {comparison.wins:,} won, {comparison.losses:,} lost,"
        f" {comparison.ties:,} tied"
    )


def _p_value(p: float) -> str:
    return f"= {p:.4f}" if p >= 0.0001 else "< 0.0001"


def _cells(row: QueryDifference) -> list[str]:
    difference = f"{row.difference:+.3f}".replace("-", "−")
    return [row.query_id, f"{row.first:.3f}", f"{row.second:.3f}", difference]


def _records(rows: Sequence[QueryDifference]) -> list[dict[str, object]]:
    return [
        {
            "query_id": row.query_id,
            "first": row.first,
            "second": row.second,
            "difference": row.difference,
        }
        for row in rows
    ]


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    add_verb(
        app,
        compare,
        "limbeck compare quickstart/runs/teacher.trec quickstart/runs/bm25.trec quickstart/qrels.tsv",
        "limbeck compare new.trec old.trec qrels.txt --metric MRR@10 -n 20 --json",
    )
