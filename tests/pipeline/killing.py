"""Killing a run on purpose, and looking at what it has left: for tests of going on.

A run that was killed at any instant and goes on must come to the same end as one that was not.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import signal
from collections import Counter
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from limbeck.pipeline import RunFolder, stages_of
from limbeck.pipeline.teaching import CHUNK
from limbeck.recipes import load_recipe
from tests.pipeline import child

SEED = 7


def results(folder: Path) -> dict[str, Any]:
    """All that a run says of quality, and the rankings and the scores of pairs byte by byte."""
    found: dict[str, Any] = {}
    for path in (folder / "metrics.json", folder / "pairs" / "metrics.json"):
        if path.exists():
            document = json.loads(path.read_text())
            for entry in document["systems"].values():
                entry.pop("latency_ms", None)  # fused lists have none
            found[str(path.relative_to(folder))] = [document["systems"], document["comparisons"]]
    files = [*folder.glob("runs/*"), *folder.glob("pairs/scores/**/*.tsv")]
    assert found, folder
    assert files, folder
    return found | {str(file.relative_to(folder)): file.read_text() for file in files}


def at_work(folder: Path) -> str:
    """The first stage that is not finished."""
    stages = stages_of(load_recipe(folder / "recipe.yaml"))
    return next((stage.name for stage in stages if not (folder / stage.name / ".done.json").exists()), "end")


def scored_again(log: Path) -> Counter[str]:
    """How often each pair was scored more than once, less those that a kill can have cost.

    A process asks for what the cache lacks and scores it before it asks again; so only the last question of
    a process that was killed may be asked once more.
    """
    kept: set[str] = set()
    again: Counter[str] = Counter()
    questions = child.read_log(log)
    for at, (process, keys) in enumerate(questions):
        again.update(key for key in keys if key in kept)
        assert len(keys) <= CHUNK
        if any(other == process for other, _ in questions[at + 1 :]):
            kept.update(keys)
    return again


def work(process: BaseProcess, limit: float) -> float:
    """Let a process work for so many seconds of processor time, which a busy machine does not shift.

    Returns:
        The seconds that it had when it was last looked at: at least the limit, or all when it has ended.
    """
    watched, seconds = psutil.Process(process.pid), 0.0
    while process.is_alive() and seconds < limit:
        process.join(0.002)
        with contextlib.suppress(psutil.NoSuchProcess):
            times = watched.cpu_times()
            seconds = max(seconds, times.user + times.system)
    return seconds


def reach(process: BaseProcess, folder: Path, names: list[str], stage: str) -> None:
    """Wait until a stage is at work, or over."""
    before = names[: names.index(stage)]
    while process.is_alive() and not all((folder / name / ".done.json").exists() for name in before):
        process.join(0.002)


def kill_in_every_stage(
    data: Path, encoder: Path, tmp_path: Path, student: str, stages: Sequence[str], *, rounds: int, least: int
) -> None:
    """Kills a run once in each of its stages, at a random instant, and compares it with an undisturbed one.

    Args:
        data: what the recipe learns from.
        encoder: its backbone.
        tmp_path: where the runs are.
        student: the recipe, of `child.RECIPES`.
        stages: to be hit, in their order.
        rounds: runs that are killed so.
        least: different stages that a run is hit in; a stage may end before its kill comes.
    """
    whole, whole_log = tmp_path / "undisturbed", tmp_path / "undisturbed.log"
    process = child.start(data, encoder, whole, whole_log, student=student)
    work(process, math.inf)
    assert process.exitcode == 0, whole_log.with_suffix(".output").read_text()
    expected = results(whole)
    seconds = {name: RunFolder(whole).seconds(name) for name in stages}

    instants = random.Random(SEED)
    names = [stage.name for stage in stages_of(load_recipe(whole / "recipe.yaml"))]
    for number in range(rounds):
        folder, log = tmp_path / f"killed-{number}", tmp_path / f"killed-{number}.log"
        hits: list[str] = []
        for stage in stages:
            process = child.start(data, encoder, folder, log, student=student)
            reach(process, folder, names, stage)
            process.join(instants.uniform(0, 0.9 * seconds[stage]))
            process.kill()
            process.join()
            assert process.exitcode in {-signal.SIGKILL, 0}, (stage, hits)
            hits.append(at_work(folder))
        process = child.start(data, encoder, folder, log, student=student)
        work(process, math.inf)
        assert process.exitcode == 0, (folder, hits)
        assert results(folder) == expected, (folder, hits)
        assert not scored_again(log), (folder, hits)
        assert len(set(hits) & set(stages)) >= least, hits
