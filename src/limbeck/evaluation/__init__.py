"""Measure runs, compare them, and report: metrics, intervals, significance, time per query.

    rankings, judgements -> evaluate_run -> RunMetrics -> system_result, compare_systems -> Results -> report
    labels, scores of pairs -> PairSetScores -> evaluate_pair_sets -> Results -> report

`limbeck.evaluation.report` needs the extra `report`; binary pairs need the extra `pairs`.
"""

from limbeck.evaluation.latency import latency_ms
from limbeck.evaluation.pair_scores import ScoredPairs, read_pair_scores, write_pair_scores
from limbeck.evaluation.pair_seeds import RepeatedPairs, pair_family_results
from limbeck.evaluation.pair_systems import PairSetScores, SystemScores, evaluate_pair_sets
from limbeck.evaluation.pairs import choose_threshold, evaluate_binary, evaluate_graded
from limbeck.evaluation.results import Comparison, Estimate, Latency, Results, SystemResult
from limbeck.evaluation.retrieval import DEFAULT_METRICS, Metric, RunMetrics, evaluate_run, parse_metric
from limbeck.evaluation.seeds import FamilyResults, Repeated, family_results, mean_metrics
from limbeck.evaluation.significance import (
    QueryDifference,
    against,
    bootstrap_interval,
    compare_runs,
    compare_systems,
    estimate_run,
    holm,
    largest_changes,
    paired_t_test,
    query_differences,
    randomisation_test,
    system_result,
)

__all__ = [
    "DEFAULT_METRICS",
    "Comparison",
    "Estimate",
    "FamilyResults",
    "Latency",
    "Metric",
    "PairSetScores",
    "QueryDifference",
    "Repeated",
    "RepeatedPairs",
    "Results",
    "RunMetrics",
    "ScoredPairs",
    "SystemResult",
    "SystemScores",
    "against",
    "bootstrap_interval",
    "choose_threshold",
    "compare_runs",
    "compare_systems",
    "estimate_run",
    "evaluate_binary",
    "evaluate_graded",
    "evaluate_pair_sets",
    "evaluate_run",
    "family_results",
    "holm",
    "largest_changes",
    "latency_ms",
    "mean_metrics",
    "pair_family_results",
    "paired_t_test",
    "parse_metric",
    "query_differences",
    "randomisation_test",
    "read_pair_scores",
    "system_result",
    "write_pair_scores",
]
