"""Killing a run of pairs in each of its stages and going on gives what an undisturbed run gives."""

from __future__ import annotations

import json
import math
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from limbeck.pipeline import RunFolder, stages_of
from limbeck.recipes import load_recipe
from tests.pipeline import child
from tests.pipeline.test_kill import at_work, encoder, reach, scored_again, work  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow

SEED = 7
STAGES = ("pair-mine", "pair-teacher", "pair-audit", "pair-teach", "distil", "pair-baseline")


def results(folder: Path) -> dict[str, Any]:
    """All that `metrics.json` says of quality, and the scores byte by byte."""
    document = json.loads((folder / "pairs" / "metrics.json").read_text())
    for entry in document["systems"].values():
        entry.pop("latency_ms")
    scores = sorted((folder / "pairs" / "scores").rglob("*.tsv"))
    return {
        "systems": document["systems"],
        "comparisons": document["comparisons"],
        "scores": {file.name: file.read_text() for file in scores},
    }


def test_killed_in_every_stage_it_comes_to_the_same_end(pairs: Path, encoder: Path, tmp_path: Path):  # noqa: F811
    whole, whole_log = tmp_path / "undisturbed", tmp_path / "undisturbed.log"
    process = child.start(pairs, encoder, whole, whole_log, student="pairs")
    work(process, math.inf)
    assert process.exitcode == 0, whole_log.with_suffix(".output").read_text()
    expected = results(whole)
    seconds = {name: RunFolder(whole).seconds(name) for name in STAGES}

    instants = random.Random(SEED)
    names = [stage.name for stage in stages_of(load_recipe(whole / "recipe.yaml"))]
    folder, log = tmp_path / "killed", tmp_path / "killed.log"
    hits: list[str] = []
    for stage in STAGES:
        process = child.start(pairs, encoder, folder, log, student="pairs")
        reach(process, folder, names, stage)
        process.join(instants.uniform(0, 0.9 * seconds[stage]))
        process.kill()
        process.join()
        assert process.exitcode in {-signal.SIGKILL, 0}, (stage, hits)
        hits.append(at_work(folder))
    process = child.start(pairs, encoder, folder, log, student="pairs")
    work(process, math.inf)
    assert process.exitcode == 0, (folder, hits)
    assert results(folder) == expected, (folder, hits)
    assert not scored_again(log), (folder, hits)
    assert len(set(hits) & set(STAGES)) >= 3, hits  # a stage may have ended before its kill came
