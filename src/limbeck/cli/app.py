"""The application: its verbs, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from limbeck import __version__
from limbeck.cli import compare, doctor, evaluate, family, index, quickstart, run, search, stages
from limbeck.cli.options import examples
from limbeck.cli.screen import console, show_error
from limbeck.errors import LimbeckError

#: Exit codes; 2 (wrong usage) is the argument parser's own.
USER_ERROR, INTERRUPTED = 1, 130

_USER_CAUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


class Verbs(TyperGroup):
    """Turns what the user caused into one message and an exit code; anything else keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the verb."""
        try:
            return super().invoke(ctx)
        except LimbeckError as error:
            show_error(str(error))
            raise typer.Exit(USER_ERROR) from error
        except OSError as error:
            if error.errno not in _USER_CAUSED:
                raise
            show_error(f"{error.filename or 'writing'}: {error.strerror}.")
            raise typer.Exit(USER_ERROR) from error
        except KeyboardInterrupt as interruption:
            show_error("stopped.")
            raise typer.Exit(INTERRUPTED) from interruption


app = typer.Typer(
    name="limbeck",
    cls=Verbs,
    help="Distil a slow, accurate ranker into a fast retriever: from a corpus to a search that you can call.",
    epilog=examples(
        "limbeck quickstart",
        "limbeck run my-recipe.yaml --set training.epochs=2 --out runs/mine",
        'limbeck search runs/mine "what I look for" -k 5',
    )
    + "\n\nExit codes: 0 done, 1 wrong input, 2 wrong usage, 130 stopped by Ctrl-C.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        console().print(f"limbeck {__version__}")
        raise typer.Exit


@app.callback()
def _limbeck(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...


for verb in (quickstart, run, family, stages, index, search, evaluate, compare, doctor):
    verb.register(app)
