"""The embedded corpus, built once for the tests of this folder."""

from __future__ import annotations

import pytest

from limbeck.data import RetrievalDataset
from limbeck.data.stdlib import build_stdlib
from limbeck.data.stdlib.harvest import harvest
from limbeck.data.stdlib.source import Documented


@pytest.fixture(scope="session")
def entries() -> dict[str, Documented]:
    found = harvest()
    by_name = {entry.name: entry for entry in found}
    assert len(by_name) == len(found)
    return by_name


@pytest.fixture(scope="session")
def stdlib(tmp_path_factory: pytest.TempPathFactory) -> RetrievalDataset:
    return build_stdlib(tmp_path_factory.mktemp("stdlib"), max_queries_per_module=60)
