"""Models of every kind, once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.students.generative.worlds import (
    KINDS,
    NEW,
    ODD,
    PASSAGES,
    World,
    load_tiny,
    make_world,
    save_tiny,
    trained_bart,
)

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: save_tiny(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(scope="session", params=KINDS)
def generator(request, tiny_paths):
    """A generator of each kind at step 0; do not train it."""
    return load_tiny(tiny_paths[request.param])


@pytest.fixture(scope="session")
def bart(tiny_paths):
    return load_tiny(tiny_paths["bart"])


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A model that finds each passage by its text."""
    return load_tiny(trained_bart(tmp_path_factory.mktemp("trained"), [*PASSAGES, *ODD, *NEW]))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)
