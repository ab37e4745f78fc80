from __future__ import annotations

import json
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


@pytest.fixture
def encoder(tiny_encoder_path: Path, tmp_path: Path) -> Path:
    """The tiny encoder with dropout, so that a training that goes on must find its random state again."""
    path = Path(shutil.copytree(tiny_encoder_path, tmp_path / "encoder"))
    config = path / "config.json"
    settings = json.loads(config.read_text())
    settings |= {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    config.write_text(json.dumps(settings))
    return path
