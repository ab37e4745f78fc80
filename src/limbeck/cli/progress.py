"""The display of a run: numbered stages, and within a stage what is counted, with the time left.

In a terminal there are bars; elsewhere (a file, a pipe, a CI log) plain lines, one for each tenth of the
work. Both leave the same transcript. Either satisfies `limbeck.pipeline.progress.Progress`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from limbeck.cli.screen import duration

INDENT = 6
_STEPS = 10
# A line no oftener than this, or a piece of work that takes a second fills the log.
_SECONDS_BETWEEN_LINES = 2.0
# Before this the estimate of the time left is a guess.
_SECONDS_BEFORE_ESTIMATE = 2.0


def open_progress(screen: Console) -> RunDisplay:
    """Bars in a terminal, plain lines elsewhere; use it as a context manager."""
    return TerminalDisplay(screen) if screen.is_terminal else RunDisplay(screen)


class Estimate:
    """The time left of one piece of work, from the pace since its first report.

    The first report is left out of the pace: it may count what an interrupted attempt had done.

    Args:
        total: units of work; None when unknown.
        clock: seconds.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = 0
        self.started = clock()
        self._clock = clock
        self._first: tuple[float, int] | None = None

    def advance(self, count: int) -> None:
        """So many more units are done."""
        self.done += count
        if self._first is None:
            self._first = self._clock(), self.done

    @property
    def elapsed(self) -> float:
        """Seconds since the work began."""
        return self._clock() - self.started

    @property
    def left(self) -> float | None:
        """Seconds; None while there is nothing to tell it from."""
        if self.total is None or self._first is None:
            return None
        began, before = self._first
        seconds, units = self._clock() - began, self.done - before
        if seconds < _SECONDS_BEFORE_ESTIMATE or units <= 0:
            return None
        return max(0, self.total - self.done) * seconds / units

    @property
    def count(self) -> str:
        """`1,200/6,000`, or `1,200` of an unknown total."""
        return f"{self.done:,}" + ("" if self.total is None else f"/{self.total:,}")


class RunDisplay:
    """Plain lines; the base of the display with bars.

    Args:
        screen: where to.
        clock: seconds.

    Attributes:
        current: title of the stage at work, None before the first and after the last.
    """

    def __init__(self, screen: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.screen = screen
        self.current: str | None = None
        self._clock = clock
        self._stage_began = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._end_stage()

    def stage(self, number: int, total: int, title: str, *, reused: bool) -> None:
        """A stage begins, or is found finished."""
        self._end_stage()
        line = Text(f"[{number}/{total}] ", style="bold cyan").append(title, style="not bold default")
        if reused:
            self.screen.print(line.append(": already done", style="not bold bright_black"))
            return
        self.screen.print(line)
        self.current, self._stage_began = title, self._clock()

    def run(self, number: int, total: int, title: str, *, reused: bool) -> None:
        """One of several runs begins, or is found finished."""
        self._end_stage()
        line = Text(f"Run {number} of {total}: ", style="bold").append(title)
        self.screen.print(line.append(": already done", style="not bold bright_black") if reused else line)

    def note(self, text: str) -> None:
        """Something that the user should read."""
        self._say(Text(text))

    @contextmanager
    def task(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A countable piece of work within the stage."""
        work = Estimate(total, self._clock)
        last_step, last_line = 0, self._clock()

        def advance(count: int) -> None:
            nonlocal last_step, last_line
            work.advance(count)
            step = _STEPS * work.done // work.total if work.total else 0
            now = self._clock()
            finished = work.total is not None and work.done >= work.total
            if step > last_step and not finished and now - last_line >= _SECONDS_BETWEEN_LINES:
                last_step, last_line = step, now
                left = "" if work.left is None else f", {duration(work.left)} left"
                self._say(Text(f"{title}: {work.count}{left}"))

        yield advance
        self._end_task(title, work)

    def _end_task(self, title: str, work: Estimate) -> None:
        self._say(Text(f"{title}: {work.done:,} in {duration(work.elapsed)}", style="bright_black"))

    def _end_stage(self) -> None:
        if self.current is not None:
            self._say(Text(f"done in {duration(self._clock() - self._stage_began)}", style="bright_black"))
        self.current = None

    def _say(self, text: Text) -> None:
        self.screen.print(Text(" " * INDENT).append_text(text))


class TerminalDisplay(RunDisplay):
    """Bars that are drawn in place below the transcript while work goes on."""

    def __init__(self, screen: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(screen, clock)
        self._bars = Progress(
            TextColumn(" " * (INDENT - 3)),
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Counts(),
            console=screen,
            transient=True,
        )
        self._idle = self._bars.add_task("working", total=None, visible=False)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        self._bars.stop()
        super().__exit__(kind, *details)

    def stage(self, number: int, total: int, title: str, *, reused: bool) -> None:
        """A stage begins, or is found finished."""
        super().stage(number, total, title, reused=reused)
        self._bars.reset(self._idle, visible=not reused)

    @contextmanager
    def task(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A countable piece of work within the stage."""
        work = Estimate(total, self._clock)
        self._bars.update(self._idle, visible=False)
        bar = self._bars.add_task(title, total=total, work=work)

        def advance(count: int) -> None:
            work.advance(count)
            self._bars.update(bar, completed=work.done)

        try:
            yield advance
        finally:
            self._bars.remove_task(bar)
            self._bars.update(self._idle, visible=True)
        self._end_task(title, work)

    def _say(self, text: Text) -> None:
        # Wrapped within the indentation; in a file, where nothing is wrapped, this would cut the text.
        self.screen.print(Padding(text, (0, 0, 0, INDENT), expand=False))


class _Counts(ProgressColumn):
    """`1,200/6,000, 1:20 min left`; for work without a count, the time that it has taken."""

    _elapsed = TimeElapsedColumn()

    def render(self, task: Task) -> Text:
        work: Estimate | None = task.fields.get("work")
        if work is None:
            return self._elapsed.render(task)
        left = work.left
        return Text(work.count + ("" if left is None else f", {duration(left)} left"))
