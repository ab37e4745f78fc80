"""Running a recipe: its stages in order, each once, each from what the ones before it left."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.data import Passages
from limbeck.data.dataset import PASSAGES_FILE, RetrievalDataset, open_dataset
from limbeck.errors import InputError
from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.keys import key_of
from limbeck.pipeline.progress import Progress, Silent
from limbeck.recipes import CorpusData, Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)


class Run:
    """One recipe in one folder: what a stage is given.

    Args:
        recipe: what to do.
        folder: where everything is kept.
        progress: is told what happens.
        anyway: goes on with a teacher that the audit finds no better than the student's start.
        scores: the file of the teacher's scores; None keeps them in the folder.
        siblings: other run folders, from which stages with the same key are taken.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        progress: Progress | None = None,
        *,
        anyway: bool = False,
        scores: Path | None = None,
        siblings: Sequence[RunFolder] = (),
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.progress: Progress = progress or Silent()
        self.anyway = anyway
        self.scores = scores or folder / "scores.sqlite"
        self.siblings = siblings

    @property
    def data_stage(self) -> str:
        """The stage that leaves the data set: the first, or where questions are written the one after."""
        return "sift" if isinstance(self.recipe.data, CorpusData) else "data"

    @cached_property
    def dataset(self) -> RetrievalDataset:
        """What `data_stage` left."""
        return open_dataset(self.folder / self.data_stage)

    @cached_property
    def corpus(self) -> Passages:
        """The passages as they were read: what users are shown."""
        return Passages.open(self.folder / "data" / PASSAGES_FILE)


@dataclass(frozen=True)
class Asking:
    """What a stage asks servers, as far as it can be told before.

    Attributes:
        wanted: whether a recipe has the stage ask any.
        after: the stages whose results tell what it asks.
        count: adds it to an estimate, and asks nothing.
    """

    wanted: Callable[[Recipe], bool]
    after: tuple[str, ...]
    count: Callable[[Run, CostEstimate], None]


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    Attributes:
        name: of its folder.
        title: what the user reads.
        after: the stages whose folders it reads.
        settings: the parts of a recipe that its result depends on; when they change it runs again.
        work: does it, into a folder that may hold what an interrupted attempt left; what it puts into
            `SCRATCH` there goes away when it is done.
        checks: looks at what can be known of a recipe before anything is done, and raises an InputError.
        inspections: look at what can be known once the data are read, and raise an InputError or leave a
            note.
        asking: what it asks servers; None where it never does.
        publishes: the files and folders of its result that are copied to the top of the run folder.
        shared: whether another run folder may take its result; not where a user changes it later.
        revision: one more whenever a change of the library changes what it leaves for the same settings, so
            that folders made before do it again.
    """

    name: str
    title: str
    after: tuple[str, ...]
    settings: Callable[[Recipe], object]
    work: Callable[[Run, Path], None]
    checks: Sequence[Callable[[Recipe], None]] = ()
    inspections: Sequence[Callable[[Run], None]] = ()
    asking: Asking | None = None
    publishes: Sequence[str] = ()
    shared: bool = True
    revision: int = 0


def run_stages(run: Run, stages: Sequence[Stage], *, until: str | None = None) -> None:
    """Brings a run folder up to date.

    A stage whose recipe and predecessors are what they were is not run again. What a stage publishes is at
    the top of the folder when all is up to date, and not there while something is not. What servers will be
    asked, by all stages that are left, is told as soon as it is known and before any of it is asked.

    Args:
        run: the recipe and its folder.
        stages: in an order in which each comes after those that it reads.
        until: the last stage to run; None runs all.

    Raises:
        InputError: another process works in the folder, or a stage refuses its input.
        LimitReachedError: what servers are sure to be asked costs more than may still be spent.
    """
    wanted = stages[: _position(stages, until) + 1]
    keys = stage_keys(run.recipe, stages)
    with _at_work(run):
        check_recipe(run.recipe, [stage for stage in wanted if not _is_done(run, stage.name, keys)])
        _bring_up_to_date(run, stages, wanted, keys, announced=set())
        for stage in wanted:
            run.folder.publish(stage.name, stage.publishes)


def estimate_costs(run: Run, stages: Sequence[Stage]) -> CostEstimate:
    """Tells what servers will be asked by the stages that are left; nothing is asked, and nothing paid.

    The stages run whose results tell it, such as the reading of the data and the mining, and no other. What a
    later run finds in the folder it does not do again.

    Args:
        run: the recipe and its folder.
        stages: of the recipe, in their order.

    Raises:
        InputError: another process works in the folder, or a stage refuses its input.

    Example:
        >>> estimate_costs(Run(recipe, RunFolder("run")), stages_of(recipe)).summary()  # doctest: +SKIP
        ['teacher: Qwen/Qwen3-8B: 57 requests with about 8,000 tokens; the recipe gives no price (…)']
    """
    keys = stage_keys(run.recipe, stages)
    estimate = CostEstimate(run.scores)
    asking = _asking(run, stages, keys)
    if not asking:
        return estimate
    names = {stage.name for stage, _ in asking}
    before = {stage.name: _ancestors(stages, parts.after) for stage, parts in asking}
    # What asks about the answers of a server that is still to be asked cannot be told.
    estimate.later = [name for name, needed in before.items() if needed & names]
    known = [(stage, parts) for stage, parts in asking if stage.name not in estimate.later]
    needed = {name for stage, _ in known for name in before[stage.name]}
    wanted = [stage for stage in stages if stage.name in needed]
    with _at_work(run):
        looked_at = [*wanted, *(stage for stage, _ in asking)]
        check_recipe(run.recipe, [stage for stage in looked_at if not _is_done(run, stage.name, keys)])
        _bring_up_to_date(run, stages, wanted, keys, announced=names)
        for stage, parts in known:
            estimate.stage = stage.name
            parts.count(run, estimate)
    return estimate


def _ancestors(stages: Sequence[Stage], names: Sequence[str]) -> set[str]:
    """Stages by name, and all that they read, directly or not."""
    after = {stage.name: stage.after for stage in stages}
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += after[name]
    return found


@contextmanager
def _at_work(run: Run) -> Iterator[None]:
    with run.folder.locked(), _logging_to(run.folder / "log.txt"):
        yield


def _bring_up_to_date(
    run: Run,
    stages: Sequence[Stage],
    wanted: Sequence[Stage],
    keys: Mapping[str, str],
    *,
    announced: set[str],
) -> None:
    """Runs those of the wanted stages that are not done; what `announced` stages ask is not told again."""
    stale = {stage.name for stage in wanted if not _is_done(run, stage.name, keys)}
    for name in stale:
        run.folder.require_place(name)
    run.folder.write_recipe(run.recipe)
    run.folder.withdraw_others({stage.name for stage in stages})
    if stale:
        for stage in stages:
            run.folder.withdraw(stage.name, stage.publishes)
    for number, stage in enumerate(wanted, start=1):
        if stage.name in stale and _adopted(run, stage, keys[stage.name]):
            stale.remove(stage.name)
            run.folder.write_manifest(keys)
        run.progress.stage(number, len(wanted), stage.title, reused=stage.name not in stale)
        if stage.name in stale:
            _announce(run, stages, keys, announced)
            _finish(run, stage, keys[stage.name])
            run.folder.write_manifest(keys)
        if stage.name == run.data_stage:
            _inspect(run, [stage for stage in wanted if stage.name in stale])


def stage_keys(recipe: Recipe, stages: Sequence[Stage]) -> dict[str, str]:
    """The key of each stage: of two runs with the same key, the results are the same.

    Args:
        recipe: what is run.
        stages: in an order in which each comes after those that it reads.
    """
    keys: dict[str, str] = {}
    for stage in stages:
        parts = (stage.name, stage.settings(recipe), [keys[name] for name in stage.after])
        keys[stage.name] = key_of(*parts, stage.revision) if stage.revision else key_of(*parts)
    return keys


def check_recipe(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Looks at all that can be known before stages run.

    Raises:
        InputError: one of them would refuse the recipe.
    """
    for check in dict.fromkeys(check for stage in stages for check in stage.checks):
        check(recipe)


def _inspect(run: Run, stages: Sequence[Stage]) -> None:
    """Looks at all that the data tell before stages run that would find it out after hours."""
    for inspection in dict.fromkeys(one for stage in stages for one in stage.inspections):
        inspection(run)


def _announce(run: Run, stages: Sequence[Stage], keys: Mapping[str, str], announced: set[str]) -> None:
    """Tells what servers will be asked, once for each stage, when the stages are done that tell it."""
    estimate = CostEstimate(run.scores)
    for stage, asking in _asking(run, stages, keys):
        if stage.name not in announced and all(_is_done(run, name, keys) for name in asking.after):
            announced.add(stage.name)
            estimate.stage = stage.name
            asking.count(run, estimate)
    for sentence in estimate.announce():
        run.progress.note(sentence)


def _asking(run: Run, stages: Sequence[Stage], keys: Mapping[str, str]) -> list[tuple[Stage, Asking]]:
    """The stages that are not done and ask servers."""
    return [
        (stage, stage.asking)
        for stage in stages
        if stage.asking is not None
        and stage.asking.wanted(run.recipe)
        and not _is_done(run, stage.name, keys)
    ]


def _is_done(run: Run, stage: str, keys: Mapping[str, str]) -> bool:
    return run.folder.finished_key(stage) == keys[stage]


def _adopted(run: Run, stage: Stage, key: str) -> bool:
    if not stage.shared or not run.folder.adopt(stage.name, key, run.siblings):
        return False
    logger.info("stage %s is taken from another run", stage.name)
    return True


def _finish(run: Run, stage: Stage, key: str) -> None:
    logger.info("stage %s begins", stage.name)
    try:
        with run.folder.working(stage.name, key) as work:
            stage.work(run, work)
    except BaseException as error:
        logger.info("stage %s ends with %s: %s", stage.name, type(error).__name__, error)
        raise
    logger.info("stage %s is done in %.1f s", stage.name, run.folder.seconds(stage.name))
    _release_memory()


def _release_memory() -> None:
    """Gives back what a stage no longer needs: models hang in cycles, and glibc keeps freed pages."""
    gc.collect()
    if sys.platform == "linux":
        # Other C libraries lack the call, and hold on to less.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _position(stages: Sequence[Stage], name: str | None) -> int:
    if name is None:
        return len(stages) - 1
    names = [stage.name for stage in stages]
    if name not in names:
        raise InputError(
            f"this recipe has no stage '{name}'",
            expected=f"one of {', '.join(names)}",
            remedy="`limbeck run` runs all that it has",
        )
    return names.index(name)


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Appends what the library logs to a file, for as long as the run lasts."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    root = logging.getLogger("limbeck")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()
