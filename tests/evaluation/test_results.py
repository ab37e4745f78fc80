from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from limbeck.errors import InputError
from limbeck.evaluation.results import (
    Comparison,
    Estimate,
    Latency,
    Results,
    SystemResult,
    format_ms,
    format_p,
    format_value,
    markdown_table,
    signed,
)


def comparison(**changes: object) -> Comparison:
    values: dict[str, object] = {
        "first": "student",
        "second": "bm25",
        "metric": "nDCG@10",
        "queries": 10,
        "difference": 0.1,
        "low": 0.05,
        "high": 0.15,
        "p_value": 0.01,
        "t_test_p_value": 0.02,
        "p_holm": 0.03,
        "wins": 6,
        "losses": 2,
        "ties": 2,
    }
    return Comparison(**{**values, **changes})


@pytest.fixture
def results() -> Results:
    return Results(
        {
            "bm25": SystemResult({"nDCG@10": Estimate(0.4, 0.3, 0.5)}, Latency(0.42, 1.0)),
            "student": SystemResult(
                {"nDCG@10": Estimate(0.5, 0.4, 0.6), "MRR@10": Estimate(0.7)}, Latency(12.4, 20.0)
            ),
            "teacher": SystemResult({"nDCG@10": Estimate(0.45, 0.35, 0.55)}),
        },
        (comparison(), comparison(first="teacher", p_holm=0.2)),
        {"processor": "two cores"},
        7,
        {"name": "quickstart", "losses": {"contrastive": 1.0}},
    )


def test_the_shape_on_disk_is_the_promised_one():
    results = Results({"bm25": SystemResult({"MRR@10": Estimate(0.5, 0.25, 0.75)}, Latency(1.0, 2.0))})
    assert results.to_dict() == {
        "systems": {
            "bm25": {
                "MRR@10": {"value": 0.5, "low": 0.25, "high": 0.75},
                "latency_ms": {"p50": 1.0, "p95": 2.0},
            }
        }
    }


def test_results_are_written_and_read_again(results: Results, tmp_path: Path):
    path = tmp_path / "run" / "metrics.json"
    results.write(path)
    assert Results.read(path).to_dict() == results.to_dict()
    assert Results.read(path).comparisons == results.comparisons
    document = json.loads(path.read_text())
    assert list(document) == ["systems", "comparisons", "machine", "seed", "recipe"]
    assert document["systems"]["student"]["MRR@10"] == {"value": 0.7, "low": None, "high": None}
    assert not Results.read(path).systems["student"].metrics["MRR@10"].has_interval
    assert [file.name for file in path.parent.iterdir()] == ["metrics.json"]


def test_the_time_is_not_a_metric():
    with pytest.raises(ValueError, match="latency_ms"):
        SystemResult({"latency_ms": Estimate(1.0)})


@pytest.mark.parametrize(
    "document",
    [
        "[]",
        "{}",
        '{"systems": []}',
        '{"systems": {"a": 1}}',
        '{"systems": {"a": {"MRR": 0.5}}}',
        '{"systems": {"a": {"MRR": {"value": 0.5}}}}',
        '{"systems": {"a": {"MRR": {"value": "high", "low": 0, "high": 1}}}}',
        '{"systems": {"a": {"latency_ms": {"p50": true, "p95": 1}}}}',
        '{"systems": {}, "comparisons": [{"first": "a"}]}',
    ],
)
def test_another_shape_is_refused_with_the_name_of_the_file(document: str, tmp_path: Path):
    path = tmp_path / "metrics.json"
    path.write_text(document)
    with pytest.raises(InputError, match=r'metrics\.json: these are no results.*Expected: \{"systems"'):
        Results.read(path)


def test_what_is_not_json_is_refused_with_its_line(tmp_path: Path):
    path = tmp_path / "metrics.json"
    path.write_text('{"systems":\n oops}')
    with pytest.raises(InputError, match=r"metrics\.json:2: this is not JSON"):
        Results.read(path)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="not UTF-8"):
        Results.read(path)
    with pytest.raises(InputError, match="no such file"):
        Results.read(tmp_path / "none.json")


def test_the_table_as_strings(results: Results):
    assert results.table_rows(baseline="bm25") == [
        ["System", "nDCG@10", "MRR@10", "ms per query"],
        ["bm25", "0.400 [0.300, 0.500]", "–", "0.42"],
        ["student", "0.500▲ [0.400, 0.600]", "0.700", "12"],
        ["teacher", "0.450 [0.350, 0.550]", "–", "–"],
    ]
    assert results.table_rows(["nDCG@10"], intervals=False)[2] == ["student", "0.500", "12"]


def test_the_table_in_markdown_has_the_best_in_bold(results: Results):
    lines = results.to_markdown(["nDCG@10"], intervals=False).splitlines()
    assert lines == [
        "| System | nDCG@10 | ms per query |",
        "|:--|--:|--:|",
        "| bm25 | 0.400 | 0.42 |",
        "| student | **0.500** | 12 |",
        "| teacher | 0.450 | – |",
    ]


def test_marks_stand_for_significance_in_either_direction(results: Results):
    assert results.mark("student", "nDCG@10", "bm25") == "▲"
    assert results.mark("teacher", "nDCG@10", "bm25") == ""
    assert results.mark("student", "nDCG@10", "teacher") == ""
    worse = Results(results.systems, [comparison(difference=-0.1)])
    assert worse.mark("student", "nDCG@10", "bm25") == "▼"


def test_a_bar_in_a_name_does_not_break_the_table():
    assert markdown_table([["a|b", "c"], ["x\ny", "1"]]).splitlines() == [
        "| a\\|b | c |",
        "|:--|--:|",
        "| x y | 1 |",
    ]


@pytest.mark.parametrize(
    ("ms", "text"), [(0.0421, "0.042"), (0.42, "0.42"), (1.25, "1.2"), (12.4, "12"), (1234.5, "1,234")]
)
def test_times_show_two_digits_that_count(ms: float, text: str):
    assert format_ms(ms) == text


def test_values_show_three_decimals():
    assert [format_value(v) for v in (0.12345, -0.5, math.nan)] == ["0.123", "−0.500", "–"]


def test_differences_and_p_values_are_written_for_readers():
    assert [signed(v) for v in (0.05, -0.05, 0.0001, -0.0001)] == ["+0.050", "−0.050", "0.000", "0.000"]
    assert [format_p(v) for v in (0.0004, 0.012, float("nan"))] == ["<\u00a00.001", "0.012", "–"]
    assert format_p(0.012, relation=True) == "=\u00a00.012"
