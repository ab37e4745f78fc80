from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.pairs.tiny_pairs import pair_recipe, write_pairs
from tests.pipeline.tiny_corpus import run_recipe


@pytest.fixture(scope="package")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny pairs."""
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs")


@pytest.fixture(scope="package")
def finished_pairs(tmp_path_factory: pytest.TempPathFactory, pairs: Path, tiny_encoder_path: Path) -> Path:
    """The folder of a finished run of `pair_recipe(pairs, tiny_encoder_path)`: to be read, or copied."""
    folder = tmp_path_factory.mktemp("finished-pairs") / "run"
    run_recipe(pair_recipe(pairs, tiny_encoder_path), folder, anyway=True)
    return folder
