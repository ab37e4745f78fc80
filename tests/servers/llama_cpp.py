"""A llama.cpp server, in a process of its own that loads nothing else."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.servers.processes import started


class LlamaCpp(NamedTuple):
    """A server that runs."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def serving_llama_cpp(model: Path, log: Path) -> Iterator[LlamaCpp]:
    """Starts a server of a .gguf file, and ends it."""
    command = [sys.executable, "-m", "tests.servers.llama_cpp", str(model)]
    with started(command, log) as (address, process):
        yield LlamaCpp(f"{address}/v1", process)


def main() -> None:
    """Serves until it is killed."""
    from xllamacpp import CommonParams, Server  # noqa: PLC0415  # in the server's process alone

    params = CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx, params.n_parallel = 1024, 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.hostnames, params.port = ["127.0.0.1"], 0  # any that is free
    params.warmup = False
    server = Server(params)
    print(server.listening_address, flush=True)  # noqa: T201
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
