from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pipeline.tiny_corpus import run_recipe, tiny_recipe, write_corpus


@pytest.fixture(scope="package")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BEIR folder."""
    return write_corpus(tmp_path_factory.mktemp("tiny") / "corpus")


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path, tiny_encoder_path: Path) -> Path:
    """The folder of a finished run of `tiny_recipe(corpus, tiny_encoder_path)`: to be read, or copied."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run_recipe(tiny_recipe(corpus, tiny_encoder_path), folder)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
