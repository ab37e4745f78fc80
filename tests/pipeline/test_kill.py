"""Killing a run at random instants and going on gives what an undisturbed run gives."""

from __future__ import annotations

import math
import random
import signal
from pathlib import Path

import pytest

from tests.pipeline import child
from tests.pipeline.killing import SEED, at_work, kill_in_every_stage, results, scored_again, work

pytestmark = pytest.mark.slow

KILLS = 20


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


def test_killed_in_every_stage_a_generative_student_comes_to_the_same_end(
    corpus: Path, encoder: Path, tmp_path: Path
):
    stages = ("write-queries", "sift-queries", "generate", "base", "own", "teach", "distil")
    kill_in_every_stage(corpus, encoder, tmp_path, "generative", stages, rounds=2, least=4)
