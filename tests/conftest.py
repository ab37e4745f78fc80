"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from limbeck.errors import InputError

#: Servers are asked by the client's tests and by the teacher's; nothing heavy is imported before they start.
pytest_plugins = ["tests.servers.fixtures"]

SHARED_DATASETS = Path(__file__).resolve().parents[2] / "shared" / "datasets"


@pytest.fixture(scope="session")
def shared_datasets() -> Path:
    """Real data sets beside the checkout; the tests that use them skip where they are absent."""
    if not SHARED_DATASETS.is_dir():
        pytest.skip("the real data sets are not beside this checkout")
    return SHARED_DATASETS


@pytest.fixture(scope="session")
def tiny_encoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer sentence encoder (32 dimensions, normalised)."""
    from tests.tiny_models import tiny_encoder  # noqa: PLC0415  # torch only for tests that need it

    return tiny_encoder(tmp_path_factory.mktemp("tiny-encoder"))


@pytest.fixture(scope="session")
def tiny_cross_encoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer cross-encoder of one logit."""
    from tests.tiny_models import tiny_cross_encoder  # noqa: PLC0415

    return tiny_cross_encoder(tmp_path_factory.mktemp("tiny-cross-encoder"))


@pytest.fixture
def refused() -> Callable[..., InputError]:
    """Calls a function that must raise one InputError, at the place that is named, and gives it."""

    def call(
        function: Callable[[], object], match: str, *, name: str | None = None, line: int | None = None
    ) -> InputError:
        with pytest.raises(InputError, match=match) as caught:
            function()
        error = caught.value
        assert name is None or Path(error.path or "").name == name, str(error)
        assert error.line == line, str(error)
        return error

    return call
