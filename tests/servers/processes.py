"""Servers in processes of their own."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Starts a server, gives the line that it writes when it is ready, and its process, and ends it.

    Args:
        command: what to run.
        log: where its errors go.
    """
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream)
        try:
            ready, _, _ = select.select([process.stdout], [], [], 60)
            line = process.stdout.readline().decode().strip() if ready and process.stdout else ""
            assert line, f"the server did not start: {log.read_text()[-2000:]}"
            yield line, process
        finally:
            process.kill()
            process.wait()
