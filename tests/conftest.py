"""Fixtures that several test modules share."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATASETS = Path(__file__).resolve().parents[2] / "shared" / "datasets"


@pytest.fixture(scope="session")
def shared_datasets() -> Path:
    """Real data sets beside the checkout; the tests that use them skip where they are absent."""
    if not SHARED_DATASETS.is_dir():
        pytest.skip("the real data sets are not beside this checkout")
    return SHARED_DATASETS
