"""The run folder: one folder a recipe, one subfolder a finished stage, and a manifest.

A stage works in `.work/<stage>` and is renamed into place when it is done, so that a subfolder is there in
full or not at all. What lies in `.work` belongs to a stage that was interrupted and may go on from it.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limbeck import __version__
from limbeck.data.files import atomic_path
from limbeck.errors import InputError
from limbeck.recipes import Recipe, recipe_yaml

_DONE = ".done.json"
_UNFINISHED_KEY = ".key"
_WORK = ".work"


class RunFolder:
    """Where a run keeps everything.

    Args:
        path: the folder; made when it is not there.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise InputError("the run folder is a file", path=self.path, remedy="name another with --out")
        self.path.mkdir(parents=True, exist_ok=True)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second process out; the system lets go when this one ends, however it ends."""
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    "another process works in this run folder",
                    path=self.path,
                    remedy="wait for it, or name another folder with --out",
                ) from error
            yield

    def finished_key(self, stage: str) -> str | None:
        """The key under which a stage was finished, or None."""
        done = self.path / stage / _DONE
        if not done.is_file():
            return None
        key: str = json.loads(done.read_text(encoding="utf-8"))["key"]
        return key

    def seconds(self, stage: str) -> float:
        """How long a finished stage took, over all its attempts."""
        done = json.loads((self.path / stage / _DONE).read_text(encoding="utf-8"))
        return float(done["seconds"])

    @contextmanager
    def working(self, stage: str, key: str) -> Iterator[Path]:
        """Gives a stage a folder to work in and puts it into place when the block ends without an error.

        What an interrupted attempt with the same key left is still there; of another key, it is gone.
        """
        work = self.path / _WORK / stage
        mark = work / _UNFINISHED_KEY
        if not mark.is_file() or mark.read_text(encoding="utf-8") != key:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            with atomic_path(mark) as temporary:
                temporary.write_text(key, encoding="utf-8")
        started = time.monotonic()
        yield work
        mark.unlink()
        with atomic_path(work / _DONE) as temporary:
            record = {"key": key, "seconds": round(time.monotonic() - started, 3)}
            temporary.write_text(json.dumps(record), encoding="utf-8")
        target = self.path / stage
        if target.exists():
            # A stale result of another recipe: out of the way in one step, then deleted at leisure.
            old = self.path / _WORK / f"{stage}.old"
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
            work.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            work.rename(target)

    def write_recipe(self, recipe: Recipe) -> None:
        """Leaves the recipe, every default written out, as `recipe.yaml`."""
        with atomic_path(self.path / "recipe.yaml") as temporary:
            temporary.write_text(recipe_yaml(recipe), encoding="utf-8")

    def write_manifest(self, stages: Mapping[str, str]) -> None:
        """Leaves `manifest.json`: what made this folder, on what, and how long each stage took."""
        manifest = {
            "limbeck": __version__,
            "machine": machine(),
            "stages": {
                name: {"key": key, "seconds": self.seconds(name)}
                for name, key in stages.items()
                if self.finished_key(name) == key
            },
        }
        with atomic_path(self.path / "manifest.json") as temporary:
            temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, str]:
    """What figures were measured on, for people to read."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": sys.version.split()[0],
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def write_json(path: Path, content: Any) -> None:
    """Writes JSON under a temporary name and renames it."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
