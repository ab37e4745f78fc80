from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from limbeck.servers import pace as module
from limbeck.servers.pace import Pace


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only while one sleeps."""
    clock = SimpleNamespace(now=100.0)

    async def sleep(seconds):
        clock.now += seconds

    loop = SimpleNamespace(time=lambda: clock.now)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep, get_running_loop=lambda: loop))
    return clock


def test_units_are_spread_over_the_minute(clock):
    pace, times = Pace(30), []

    async def ask():
        for units in (1, 1, 3, 1):
            await pace.take(units)
            times.append(clock.now - 100)
        clock.now += 60  # a pause saves nothing up
        await pace.take(1)
        await pace.take(1)
        times.append(clock.now - 100)

    asyncio.run(ask())
    assert times == [0, 2, 4, 10, 72]


def test_without_a_limit_nobody_waits(clock):
    async def ask():
        for _ in range(1000):
            await Pace(None).take(1e9)

    asyncio.run(ask())
    assert clock.now == 100
