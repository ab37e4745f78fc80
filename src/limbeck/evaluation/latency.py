"""Time per query of a retriever, as a user would wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from limbeck.errors import InputError
from limbeck.evaluation.results import Latency

_Query = TypeVar("_Query")

_NS_PER_MS = 1_000_000


def latency_ms(search: Callable[[_Query], object], queries: Sequence[_Query], *, warmup: int = 3) -> Latency:
    """Measure the time per query, one query at a time.

    Args:
        search: answers one query and returns when its result is there; on a GPU it must wait for the device.
        queries: what to ask, each once. A few hundred give a steady 95th percentile.
        warmup: how many of them are asked beforehand and not measured, so that compilation and cold caches,
            which a user meets once, do not count.

    Returns:
        Median and 95th percentile in milliseconds, interpolated linearly.

    Raises:
        InputError: when there are no queries.

    Example:
        >>> latency_ms(str.upper, ["a", "b"]).p50 >= 0
        True
    """
    if not queries:
        raise InputError("there are no queries to measure the time with", expected="at least one query")
    for query in queries[:warmup]:
        search(query)
    times = np.empty(len(queries))
    for row, query in enumerate(queries):
        start = time.perf_counter_ns()
        search(query)
        times[row] = time.perf_counter_ns() - start
    p50, p95 = np.percentile(times / _NS_PER_MS, [50, 95])
    return Latency(float(p50), float(p95))
