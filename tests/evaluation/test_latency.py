from __future__ import annotations

import itertools

import pytest

from limbeck.errors import InputError
from limbeck.evaluation import latency
from limbeck.evaluation.latency import latency_ms


def test_percentiles_by_hand(monkeypatch):
    # The clock is read before and after each query: they take 1, 2 and 3 ms.
    ticks = iter([0, 1_000_000, 0, 2_000_000, 0, 3_000_000])
    monkeypatch.setattr(latency.time, "perf_counter_ns", lambda: next(ticks))
    measured = latency_ms(str.upper, ["a", "b", "c"], warmup=0)
    assert measured.p50 == pytest.approx(2.0)
    assert measured.p95 == pytest.approx(2.9)


def test_the_warm_up_is_not_measured(monkeypatch):
    asked: list[str] = []
    ticks = itertools.count()
    monkeypatch.setattr(latency.time, "perf_counter_ns", lambda: next(ticks))
    latency_ms(asked.append, ["a", "b", "c"], warmup=2)
    assert asked == ["a", "b", "a", "b", "c"]
    assert next(ticks) == 6


def test_no_queries_are_refused():
    with pytest.raises(InputError, match="no queries"):
        latency_ms(str.upper, [])
