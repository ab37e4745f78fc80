"""The display of a run, on a clock that the test turns."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from limbeck.cli.progress import Estimate, RunDisplay, TerminalDisplay, open_progress

if TYPE_CHECKING:
    from limbeck.pipeline.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def plain(clock: Clock) -> tuple[RunDisplay, io.StringIO]:
    file = io.StringIO()
    return RunDisplay(
        Console(file=file, width=100, highlight=False, markup=False, soft_wrap=True), clock
    ), file


def test_it_is_what_a_run_reports_to(clock: Clock) -> None:
    progress: Progress = plain(clock)[0]
    with progress.task("anything", None) as advance:
        advance(1)


def test_plain_lines(clock: Clock) -> None:
    display, file = plain(clock)
    with display:
        display.stage(1, 3, "Read", reused=True)
        display.stage(2, 3, "Mine [bold]", reused=False)
        display.note("6,000 passages")
        with display.task("passages", 100) as advance:
            for _ in range(20):
                clock.now += 1
                advance(5)
        display.stage(3, 3, "Teach", reused=False)
        clock.now += 90
    assert file.getvalue().splitlines() == [
        "[1/3] Read: already done",
        "[2/3] Mine [bold]",
        "      6,000 passages",
        "      passages: 10/100",
        # 5 units a second since the first report: 80 left take 16 s
        "      passages: 20/100, 16 s left",
        "      passages: 30/100, 14 s left",
        "      passages: 40/100, 12 s left",
        "      passages: 50/100, 10 s left",
        "      passages: 60/100, 8.0 s left",
        "      passages: 70/100, 6.0 s left",
        "      passages: 80/100, 4.0 s left",
        "      passages: 90/100, 2.0 s left",
        "      passages: 100 in 20 s",
        "      done in 20 s",
        "[3/3] Teach",
        "      done in 1:30 min",
    ]


def test_a_long_note_is_whole_in_a_file_and_wrapped_in_a_terminal(clock: Clock) -> None:
    note = "word " * 50 + "end"
    display, file = plain(clock)
    display.note(note)
    assert file.getvalue() == f"      {note}\n"
    screen = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    with TerminalDisplay(screen, clock) as bars:
        bars.note(note)
    written = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", screen.file.getvalue())
    lines = [line for line in written.splitlines() if "word" in line]
    assert len(lines) > 5
    assert all(line.startswith("      word") for line in lines)


def test_quick_work_is_one_line(clock: Clock) -> None:
    display, file = plain(clock)
    with display.task("pairs", 1000) as advance:
        for _ in range(1000):
            clock.now += 0.0001
            advance(1)
    assert file.getvalue() == "      pairs: 1,000 in 0.1 s\n"


def test_work_that_failed_is_not_said_to_be_done(clock: Clock) -> None:
    display, file = plain(clock)

    def fail() -> None:
        with display, display.task("pairs", 10):
            raise ValueError("broken")

    display.stage(1, 1, "Mine", reused=False)
    with pytest.raises(ValueError, match="broken"):
        fail()
    assert file.getvalue() == "[1/1] Mine\n"


def test_the_pace_leaves_out_what_an_interrupted_attempt_had_done(clock: Clock) -> None:
    work = Estimate(300, clock)
    assert work.left is None
    clock.now = 100.0
    work.advance(200)  # from a checkpoint
    clock.now = 110.0
    work.advance(20)  # two a second: 80 left
    assert work.left == 40.0
    assert (work.count, work.elapsed) == ("220/300", 110.0)


def test_an_unknown_total_has_no_time_left(clock: Clock) -> None:
    work = Estimate(None, clock)
    work.advance(1500)
    clock.now = 50.0
    work.advance(1500)
    assert (work.left, work.count) == (None, "3,000")


def test_more_than_the_total_leaves_nothing(clock: Clock) -> None:
    work = Estimate(10, clock)
    work.advance(1)
    clock.now = 10.0
    work.advance(12)
    assert work.left == 0.0


def test_bars_in_a_terminal_and_lines_elsewhere() -> None:
    assert isinstance(open_progress(Console(file=io.StringIO(), force_terminal=True)), TerminalDisplay)
    assert type(open_progress(Console(file=io.StringIO()))) is RunDisplay


def test_bars_leave_the_transcript_of_the_plain_display(clock: Clock) -> None:
    file = io.StringIO()
    screen = Console(
        file=file, width=100, force_terminal=True, highlight=False, markup=False, color_system=None
    )
    with TerminalDisplay(screen, clock) as display:
        display.stage(1, 2, "Read", reused=True)
        display.stage(2, 2, "Mine", reused=False)
        with display.task("passages [x]", 100) as advance:
            clock.now += 3
            advance(60)
            display._bars.refresh()
        with display.task("unknown", None) as advance:
            advance(5)
    output = file.getvalue()
    assert "passages [x]" in output
    assert "60/100" in output
    for line in (
        "[1/2] Read: already done",
        "[2/2] Mine",
        "      passages [x]: 60 in 3.0 s",
        "      unknown: 5 in",
    ):
        assert line in output


def test_a_task_that_nobody_ends_does_not_keep_the_screen(clock: Clock) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True)
    display = TerminalDisplay(screen, clock)

    def interrupted() -> None:
        with display:
            display.task("steps", 10).__enter__()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not display._bars.live.is_started
