"""The run folder: one folder a recipe, one subfolder a finished stage, and a manifest.

A stage works in `.work/<stage>` and is renamed into place when it is done, so that a subfolder is there in
full or not at all. What lies in `.work` belongs to a stage that was interrupted and may go on from it; what
lies in `.trash` is being deleted.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limbeck import __version__
from limbeck.errors import InputError
from limbeck.files import atomic_path
from limbeck.recipes import Recipe, recipe_yaml

#: In the folder of a stage at work: what it needs on the way and nobody reads afterwards.
SCRATCH = "scratch"

_DONE = ".done.json"
_UNFINISHED_KEY = ".key"
_WORK = ".work"
_TRASH = ".trash"


class RunFolder:
    """Where a run keeps everything.

    Args:
        path: the folder; made when it is not there.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise InputError("the run folder is a file", path=self.path, remedy="name another with --out")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the run folder cannot be made ({error.strerror})",
                path=self.path,
                remedy="name another with --out",
            ) from error

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second process out, and tidies up after one that was killed.

        The system lets go of the lock when this process ends, however it ends.

        Raises:
            InputError: another process works in the folder.
        """
        with lock_of(self.path / ".lock"):
            self._tidy()
            yield

    def finished_key(self, stage: str) -> str | None:
        """The key under which a stage was finished, or None."""
        done = self.path / stage / _DONE
        if not done.is_file():
            return None
        try:
            key: str = json.loads(done.read_text(encoding="utf-8"))["key"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "the note that this stage is done cannot be read",
                path=done,
                remedy=f"delete {done.parent}, and run again: the stage is made anew",
            ) from error
        return key

    def require_place(self, stage: str) -> None:
        """Does nothing if the result of a stage may be put where it belongs.

        Raises:
            InputError: something is there that no run has made, and that none may take away.
        """
        target = self.path / stage
        if target.exists() and not (target / _DONE).is_file():
            raise InputError(
                "there is something here that no run has made",
                path=target,
                expected=f"nothing, or what an earlier run left of its stage '{stage}'",
                remedy="name another run folder with --out",
            )

    def seconds(self, stage: str) -> float:
        """How long the attempt took that finished a stage."""
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
            self._discard(work)
            work.mkdir(parents=True)
            with atomic_path(mark) as temporary:
                temporary.write_text(key, encoding="utf-8")
        started = time.monotonic()
        yield work
        write_json(work / _DONE, {"key": key, "seconds": round(time.monotonic() - started, 3)})
        self._put_into_place(stage)

    def _put_into_place(self, stage: str) -> None:
        """Each step is one rename; `_tidy` goes on from any of them."""
        work, target = self.path / _WORK / stage, self.path / stage
        self._discard(work / SCRATCH)
        self.require_place(stage)
        self._discard(target)  # a stale result, of another recipe
        work.rename(target)
        (target / _UNFINISHED_KEY).unlink(missing_ok=True)
        self._empty_trash()

    def _tidy(self) -> None:
        """Ends what a killed process had begun: a finished stage goes into place, the trash away."""
        for done in (self.path / _WORK).glob(f"*/{_DONE}"):
            self._put_into_place(done.parent.name)
        self._empty_trash()

    def _discard(self, folder: Path) -> None:
        """Takes a folder away in one step, so that no half of it is ever read."""
        trash = self.path / _TRASH
        trash.mkdir(exist_ok=True)
        if folder.exists():
            folder.rename(trash / f"{folder.name}-{time.time_ns()}")

    def _empty_trash(self) -> None:
        shutil.rmtree(self.path / _TRASH, ignore_errors=True)

    def adopt(self, stage: str, key: str, siblings: Iterable[RunFolder]) -> bool:
        """Takes the result of a stage from another run folder, in full or not at all.

        Its files become hard links, or copies where the file system has none: nobody may change them.

        Args:
            stage: which.
            key: under which it must have been finished.
            siblings: other run folders; the first that has it gives it.

        Returns:
            Whether one had it.

        Raises:
            InputError: another process works in the folder that has it.
        """
        for sibling in siblings:
            if sibling.finished_key(stage) == key:
                with sibling.locked():
                    if sibling.finished_key(stage) == key:
                        self._take(stage, sibling / stage)
                        return True
        return False

    def _take(self, stage: str, source: Path) -> None:
        work = self.path / _WORK / stage
        self._discard(work)
        shutil.copytree(
            source,
            work,
            symlinks=True,
            copy_function=link_or_copy,
            ignore=lambda folder, _: {_DONE} if Path(folder) == source else set(),
        )
        # The last file: a folder that lacks it is begun anew.
        link_or_copy(source / _DONE, work / _DONE)
        self._put_into_place(stage)

    def publish(self, stage: str, names: Iterable[str]) -> None:
        """Copies what a finished stage left for users and scripts to the top of the run folder.

        A copy that is there already is left alone.

        Args:
            stage: who made it.
            names: files and folders in the stage's folder.
        """
        for relative in self._files(stage, names):
            source, target = self.path / stage / relative, self.path / relative
            if not target.is_file() or _stamp(source) != _stamp(target):
                with atomic_path(target) as temporary:
                    shutil.copy2(source, temporary)

    def withdraw(self, stage: str, names: Iterable[str]) -> None:
        """Removes the copies that `publish` made, because what they say is about to be out of date."""
        for relative in self._files(stage, names):
            (self.path / relative).unlink(missing_ok=True)

    def withdraw_others(self, stages: Container[str]) -> None:
        """Removes the copies that stages of another recipe left at the top: they would pass for this one's.

        Args:
            stages: names of this recipe's stages. Results of others stay where they are, for their recipe.
        """
        for done in self.path.glob(f"*/{_DONE}"):
            folder = done.parent
            if folder.name not in stages:
                for relative in self._files(folder.name, [one.name for one in folder.iterdir()]):
                    copy = self.path / relative
                    if copy.is_file() and _stamp(copy) == _stamp(folder / relative):
                        copy.unlink()

    def _files(self, stage: str, names: Iterable[str]) -> list[Path]:
        folder = self.path / stage
        found = (file for name in names for file in (folder / name, *sorted((folder / name).rglob("*"))))
        return [file.relative_to(folder) for file in found if file.is_file()]

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


@contextmanager
def lock_of(path: Path) -> Iterator[None]:
    """Holds the lock of a folder; the system lets go of it when this process ends, however it ends.

    Args:
        path: the lock's file, made where it is not there.

    Raises:
        InputError: another process holds it.
    """
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                "another process works in this folder",
                path=path.parent,
                remedy="wait for it, or name another folder",
            ) from error
        yield


def machine() -> dict[str, str]:
    """What figures were measured on, for people to read."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": sys.version.split()[0],
    }


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """A second name of a file, or a copy: not every file system has such names, nor endlessly many."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


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
