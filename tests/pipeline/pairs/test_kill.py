"""Killing a run of pairs in each of its stages and going on gives what an undisturbed run gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.killing import kill_in_every_stage
from tests.pipeline.pairs.tiny_pairs import write_pairs
from tests.pipeline.tiny_corpus import write_corpus

pytestmark = pytest.mark.slow


def test_killed_in_every_stage_it_comes_to_the_same_end(pairs: Path, encoder: Path, tmp_path: Path):
    stages = ("pair-mine", "pair-teacher", "pair-audit", "pair-teach", "imitate", "distil", "pair-baseline")
    kill_in_every_stage(pairs, encoder, tmp_path, "pairs", stages, rounds=1, least=3)


def test_killed_where_it_learns_from_a_corpus_and_pairs_it_comes_to_the_same_end(
    encoder: Path, tmp_path: Path
):
    data = write_pairs(tmp_path / "data")
    write_corpus(data / "corpus")
    stages = ("teach", "pair-teach", "distil", "index", "pair-evaluate")
    kill_in_every_stage(data, encoder, tmp_path, "mixed", stages, rounds=1, least=3)
