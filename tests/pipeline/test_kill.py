"""Killing a run at random instants and going on gives what an undisturbed run gives."""

from __future__ import annotations

import contextlib
import json
import math
import random
import shutil
import signal
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

from limbeck.pipeline import RunFolder, stages_of
from limbeck.pipeline.teaching import CHUNK
from limbeck.recipes import load_recipe
from tests.pipeline import child

pytestmark = pytest.mark.slow

KILLS = 20
SEED = 7
#: Of a generative student: each is hit, twice.
STAGES = ("write-queries", "generate", "base", "own", "teach", "distil")


@pytest.fixture
def encoder(tiny_encoder_path: Path, tmp_path: Path) -> Path:
    """The tiny encoder with dropout, so that a training that goes on must find its random state again."""
    path = Path(shutil.copytree(tiny_encoder_path, tmp_path / "encoder"))
    config = path / "config.json"
    settings = json.loads(config.read_text())
    settings |= {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    config.write_text(json.dumps(settings))
    return path


def results(folder: Path) -> dict[str, Any]:
    """All that `metrics.json` says of quality, and the runs byte by byte."""
    document = json.loads((folder / "metrics.json").read_text())
    for entry in document["systems"].values():
        entry.pop("latency_ms", None)  # fused lists have none
    return {
        "systems": document["systems"],
        "comparisons": document["comparisons"],
        "runs": {file.name: file.read_text() for file in sorted((folder / "runs").iterdir())},
    }


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


def test_killed_at_random_instants_it_comes_to_the_same_end(corpus: Path, encoder: Path, tmp_path: Path):
    process = child.start(corpus, encoder, tmp_path / "undisturbed", tmp_path / "undisturbed.log")
    whole = work(process, math.inf)
    assert process.exitcode == 0
    expected = results(tmp_path / "undisturbed")
    assert not scored_again(tmp_path / "undisturbed.log")

    instants = random.Random(SEED)
    hits: list[str] = []
    rounds = 0
    while len(hits) < KILLS:
        rounds += 1
        folder, log = tmp_path / f"killed-{rounds}", tmp_path / f"killed-{rounds}.log"
        while True:
            process = child.start(corpus, encoder, folder, log)
            # Short enough for several kills a run, long enough to get through the longest stage.
            work(process, instants.uniform(0, 0.7 * whole) if len(hits) < KILLS else math.inf)
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            if process.exitcode != -signal.SIGKILL:  # it came to its end in the meantime
                break
            hits.append(at_work(folder))
        assert process.exitcode == 0, (folder, hits)
        assert results(folder) == expected, (folder, hits)
        assert not scored_again(log), (folder, hits)
    assert len(set(hits)) >= 4, hits  # the kills are spread over the stages


def reach(process: BaseProcess, folder: Path, names: list[str], stage: str) -> None:
    """Wait until a stage is at work, or over."""
    before = names[: names.index(stage)]
    while process.is_alive() and not all((folder / name / ".done.json").exists() for name in before):
        process.join(0.002)


def test_killed_in_every_stage_a_generative_student_comes_to_the_same_end(
    corpus: Path, encoder: Path, tmp_path: Path
):
    whole, whole_log = tmp_path / "undisturbed", tmp_path / "undisturbed.log"
    process = child.start(corpus, encoder, whole, whole_log, student="generative")
    work(process, math.inf)
    assert process.exitcode == 0
    expected = results(whole)
    seconds = {name: RunFolder(whole).seconds(name) for name in STAGES}

    instants = random.Random(SEED)
    names = [stage.name for stage in stages_of(load_recipe(whole / "recipe.yaml"))]
    for number in range(2):
        folder, log = tmp_path / f"killed-{number}", tmp_path / f"killed-{number}.log"
        hits: list[str] = []
        for stage in STAGES:
            process = child.start(corpus, encoder, folder, log, student="generative")
            reach(process, folder, names, stage)
            process.join(instants.uniform(0, 0.9 * seconds[stage]))
            process.kill()
            process.join()
            assert process.exitcode in {-signal.SIGKILL, 0}, (stage, hits)
            hits.append(at_work(folder))
        process = child.start(corpus, encoder, folder, log, student="generative")
        work(process, math.inf)
        assert process.exitcode == 0, (folder, hits)
        assert results(folder) == expected, (folder, hits)
        assert not scored_again(log), (folder, hits)
        # A stage may have ended before its kill came.
        assert len(set(hits) & set(STAGES)) >= 4, hits
