"""Servers of a tiny language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.servers.llama_cpp import LlamaCpp
    from tests.servers.tiny_server import TinyServer


@pytest.fixture(scope="session")
def served_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model with a chat template."""
    from tests.tiny_models import tiny_llm  # noqa: PLC0415  # torch only for tests that need it

    return tiny_llm(tmp_path_factory.mktemp("served") / "model", chat=True)


@pytest.fixture(scope="session")
def server(served_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    """A server whose model likes to say yes and no, and that refuses prompts with the word 'forbidden'."""
    from tests.servers.tiny_server import serving  # noqa: PLC0415

    log = tmp_path_factory.mktemp("server") / "requests.jsonl"
    with serving(served_model, log, "--favour", "yes", "no", "--refuse", "forbidden") as running:
        yield running


@pytest.fixture
def start_server(served_model: Path, tmp_path: Path) -> Iterator[Callable[..., TinyServer]]:
    """Starts servers with switches, which end with the test."""
    from tests.servers.tiny_server import serving  # noqa: PLC0415

    with ExitStack() as stack:

        def start(*switches: str, port: int = 0) -> TinyServer:
            log = tmp_path / f"requests-{len(list(tmp_path.glob('requests-*')))}.jsonl"
            favour = ("--port", str(port), "--favour", "yes", "no")
            return stack.enter_context(serving(served_model, log, *switches, *favour))

        yield start


@pytest.fixture(scope="session")
def llama_cpp_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model that likes to say yes and no, in a folder; llama.cpp's file lies beside it."""
    pytest.importorskip("gguf")
    from tests.servers.gguf_model import favour, write_gguf  # noqa: PLC0415
    from tests.tiny_models import tiny_llm  # noqa: PLC0415

    folder = tiny_llm(tmp_path_factory.mktemp("llama-cpp") / "model", chat=True)
    favour(folder, ("yes", "no"), by=16.0)
    write_gguf(folder, folder.with_suffix(".gguf"))
    return folder


@pytest.fixture
def start_llama_cpp(llama_cpp_model: Path, tmp_path: Path) -> Iterator[Callable[[], LlamaCpp]]:
    """Starts llama.cpp servers, which end with the test."""
    pytest.importorskip("xllamacpp")  # which has wheels for most machines, not for all
    from tests.servers.llama_cpp import serving_llama_cpp  # noqa: PLC0415

    gguf = llama_cpp_model.with_suffix(".gguf")
    with ExitStack() as stack:

        def start() -> LlamaCpp:
            log = tmp_path / f"llama-cpp-{len(list(tmp_path.glob('llama-cpp-*')))}.log"
            return stack.enter_context(serving_llama_cpp(gguf, log))

        yield start
