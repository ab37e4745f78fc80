"""What the command line writes: lines, tables, JSON and errors."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

#: Columns of a line where nobody looks at a window: tables are not to be folded in a file.
_FILE_WIDTH = 160
_UNBOUNDED = 10_000


def console() -> Console:
    """Standard output; nothing in it is markup, since titles and texts may hold brackets."""
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def show_error(message: str, *, copy: str | None = None) -> None:
    """One message on standard error, red where there is colour.

    Args:
        message: the message.
        copy: a command on a line of its own, which no wrapping breaks.
    """
    screen = Console(stderr=True, highlight=False, markup=False, emoji=False)
    whole = not screen.is_terminal
    screen.print(Text("error: ", style="bold red").append(message, style="not bold red"), soft_wrap=whole)
    if copy is not None:
        screen.print(f"  {copy}", soft_wrap=True)


def show_json(document: Any, *, indent: int | None = 2) -> None:
    """JSON on standard output; other than ASCII is written as it is where the stream can hold it."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    sys.stdout.write(json.dumps(document, indent=indent, ensure_ascii=not utf8, allow_nan=False) + "\n")


def show_table(screen: Console, rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """A table of a heading and rows.

    In a window that is too narrow, intervals go below their values.

    Args:
        screen: where to.
        rows: of equal length, the heading first.
        left: how many columns are set left; the others are set right.
    """
    table = _table(rows, left)
    # Measured without the window, to whose width a measure would be cut.
    if Measurement.get(screen, screen.options.update(max_width=_UNBOUNDED), table).maximum > screen.width:
        table = _table([[cell.replace(" [", "\n[") for cell in row] for row in rows], left)
    screen.print(table)


def _table(rows: Sequence[Sequence[str]], left: int) -> Table:
    heading, *body = rows
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, title in enumerate(heading):
        table.add_column(Text(title), justify="left" if number < left else "right")
    for row in body:
        table.add_row(*(Text(cell) for cell in row))
    return table


def program() -> str:
    """How the user called this program, such that the same word calls it again."""
    called = Path(sys.argv[0])
    found = shutil.which("limbeck")
    if called.name != "limbeck" or (found is not None and Path(found).samefile(called)):
        return "limbeck"
    return str(called)


def command(*words: object) -> str:
    """A command for the user to copy."""
    return shlex.join([program(), *(str(word) for word in words)])


def duration(seconds: float) -> str:
    """A time for people: `0.4 s`, `42 s`, `3:07 min`, `1:02:40 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"
