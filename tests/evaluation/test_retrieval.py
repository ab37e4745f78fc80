from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import Judgements, Rankings
from limbeck.errors import InputError
from limbeck.evaluation.retrieval import RunMetrics, evaluate_run, parse_metric

ALL = ["nDCG@10", "nDCG", "MRR@10", "MRR", "MAP", "MAP@10", "Recall@1", "Precision@2", "Hits@1", "Hits@3"]


def run(**lists: dict[str, float]) -> Rankings:
    return Rankings.from_dict(lists, "test")


def judge(**grades: dict[str, int]) -> Judgements:
    return Judgements((q, p, grade) for q, of_query in grades.items() for p, grade in of_query.items())


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("nDCG@10", "nDCG@10"),
        ("ndcg@5", "nDCG@5"),
        (" MRR@10 ", "MRR@10"),
        ("rr", "MRR"),
        ("R@100", "Recall@100"),
        ("map", "MAP"),
        ("hits@1", "Hits@1"),
        ("Success@3", "Hits@3"),
        ("P@20", "Precision@20"),
    ],
)
def test_names_are_understood(written, name):
    assert parse_metric(written).name == name


@pytest.mark.parametrize(
    "written", ["", "nDGC@10", "nDCG@0", "nDCG@-1", "nDCG@ten", "nDCG@10@5", "@10", "nDCG 10"]
)
def test_an_unknown_name_is_refused(written):
    with pytest.raises(InputError, match=r"unknown metric.*Expected: nDCG"):
        parse_metric(written)


@pytest.mark.parametrize("written", ["Recall", "hits", "Precision"])
def test_a_missing_cutoff_is_refused(written):
    with pytest.raises(InputError, match="needs a cut-off"):
        parse_metric(written)


def test_values_worked_out_by_hand():
    # Ranks: b (grade 1), x (not judged), a (grade 2).
    metrics = evaluate_run(run(q={"b": 3, "x": 2, "a": 1}), judge(q={"a": 2, "b": 1, "c": 0}), ALL)
    gain, ideal = 1 + 2 / math.log2(4), 2 + 1 / math.log2(3)
    expected = {
        "nDCG@10": gain / ideal,
        "nDCG": gain / ideal,
        "MRR@10": 1.0,
        "MRR": 1.0,
        "MAP": (1 / 1 + 2 / 3) / 2,
        "MAP@10": (1 / 1 + 2 / 3) / 2,
        "Recall@1": 1 / 2,
        "Precision@2": 1 / 2,
        "Hits@1": 1.0,
        "Hits@3": 1.0,
    }
    assert metrics.names == tuple(ALL)
    assert {name: metrics.mean(name) for name in ALL} == pytest.approx(expected)


def test_equal_scores_are_measured_in_our_order():
    # All scores equal: our order is a, b, c, whatever order an evaluator would make of it.
    tied = run(first={"c": 1, "b": 1, "a": 1}, last={"c": 1, "b": 1, "a": 1})
    metrics = evaluate_run(tied, judge(first={"a": 1}, last={"c": 1}), ALL)
    assert metrics["MRR"].tolist() == pytest.approx([1, 1 / 3])
    assert metrics["MRR@10"].tolist() == pytest.approx([1, 1 / 3])
    assert metrics["MAP"].tolist() == pytest.approx([1, 1 / 3])
    assert metrics["nDCG@10"].tolist() == pytest.approx([1, 1 / 2])
    assert metrics["Recall@1"].tolist() == [1, 0]
    assert metrics["Hits@1"].tolist() == [1, 0]
    assert metrics["Precision@2"].tolist() == [0.5, 0]


def test_scores_closer_than_single_precision_keep_their_order():
    close = {"b": 1.0 + 1e-15, "a": 1.0}
    assert evaluate_run(run(q=close), judge(q={"b": 1}), ["MRR@10", "MAP"]).mean("MAP") == 1.0


def test_a_judged_query_without_results_counts_zero_and_an_unjudged_one_not():
    metrics = evaluate_run(
        run(q2={"a": 1}, unjudged={"a": 1}), judge(q1={"a": 1}, q2={"a": 1}, q3={"a": 0}), ALL
    )
    assert metrics.query_ids == ("q1", "q2", "q3")
    for name in set(ALL) - {"Precision@2"}:
        assert metrics[name].tolist() == [0, 1, 0], name


def test_an_empty_run_scores_zero():
    metrics = evaluate_run(Rankings.empty(), judge(q={"a": 1}), ALL)
    assert all(metrics[name].tolist() == [0] for name in ALL)


def test_grades_below_zero_are_no_gain():
    metrics = evaluate_run(run(q={"a": 2, "b": 1}), judge(q={"a": -1, "b": 1}), ["nDCG@10", "Precision@2"])
    assert metrics.mean("nDCG@10") == pytest.approx(1 / math.log2(3))
    assert metrics.mean("Precision@2") == 0.5


def test_more_queries_than_a_block_keep_their_places():
    queries = [f"q{i}" for i in range(2500)]
    judgements = Judgements((query, "a", 1) for query in queries)
    rankings = Rankings.from_dict(
        {q: {"a": 1.0} if i % 3 else {"b": 1.0} for i, q in enumerate(queries)}, "test"
    )
    values = evaluate_run(rankings, judgements, ["Hits@1"])["Hits@1"]
    assert values.tolist() == [float(i % 3 != 0) for i in range(2500)]


def test_judgements_of_other_queries_are_refused():
    with pytest.raises(InputError, match=r"no query of the run is judged.*'x1'"):
        evaluate_run(run(x1={"a": 1}), judge(q1={"a": 1}))


def test_no_judgements_are_refused():
    with pytest.raises(InputError, match="no judgements"):
        evaluate_run(run(q={"a": 1}), Judgements([]))


def by_hand(order: list[str], grades: dict[str, int], cutoff: int) -> dict[str, float]:
    gains = [max(0, grades.get(p, 0)) for p in order[:cutoff]]
    ideal = sorted((g for g in grades.values() if g > 0), reverse=True)[:cutoff]
    relevant = sum(g >= 1 for g in grades.values())
    best = sum(g / math.log2(i + 2) for i, g in enumerate(ideal))
    return {
        f"nDCG@{cutoff}": sum(g / math.log2(i + 2) for i, g in enumerate(gains)) / best if best else 0.0,
        f"MRR@{cutoff}": next((1 / (i + 1) for i, g in enumerate(gains) if g >= 1), 0.0),
        f"Recall@{cutoff}": sum(g >= 1 for g in gains) / relevant if relevant else 0.0,
        f"Hits@{cutoff}": float(any(g >= 1 for g in gains)),
    }


passages = st.sampled_from("abcdefgh")


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(passages, st.integers(0, 3).map(float), min_size=1),
    st.dictionaries(passages, st.integers(-1, 3), min_size=1),
    st.integers(1, 9),
)
def test_metrics_are_those_of_the_definition_with_many_ties(scores, grades, cutoff):
    order = sorted(scores, key=lambda p: (-scores[p], p))
    expected = by_hand(order, grades, cutoff)
    metrics = evaluate_run(run(q=scores), judge(q=grades), list(expected))
    assert {name: metrics.mean(name) for name in expected} == pytest.approx(expected)


def test_metrics_are_written_and_read_again(tmp_path: Path):
    metrics = RunMetrics(("q1", "问2"), {"nDCG@10": np.array([0.1, 1 / 3]), "MAP": np.array([0.0, 1.0])})
    metrics.write(tmp_path / "metrics.arrow")
    again = RunMetrics.open(tmp_path / "metrics.arrow")
    assert again.query_ids == metrics.query_ids
    assert again.names == metrics.names
    assert [again[n].tolist() for n in again.names] == [metrics[n].tolist() for n in metrics.names]


def test_a_file_that_is_no_table_of_metrics_is_named(tmp_path: Path):
    (tmp_path / "x.arrow").write_text("no")
    with pytest.raises(InputError, match=r"x\.arrow.*no table of metrics"):
        RunMetrics.open(tmp_path / "x.arrow")
    with pytest.raises(InputError, match=r"y\.arrow.*no such file"):
        RunMetrics.open(tmp_path / "y.arrow")


def test_a_metric_is_found_under_its_synonyms_or_missed_clearly():
    metrics = RunMetrics(("q1",), {"MRR@10": np.array([0.5])})
    assert metrics.mean("rr@10") == 0.5
    with pytest.raises(InputError, match="MAP was not computed"):
        metrics["MAP"]


def test_values_of_another_length_are_refused():
    with pytest.raises(ValueError, match="there are 2 queries"):
        RunMetrics(("q1", "q2"), {"MAP": np.zeros(3)})
