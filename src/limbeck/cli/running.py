"""What the verbs share that run a recipe: reading it, the display, Ctrl-C, and what is said at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from limbeck.cli.progress import RunDisplay, open_progress
from limbeck.cli.screen import command, console, show_error, show_table
from limbeck.errors import InputError
from limbeck.recipes import load_recipe

_INTERRUPTED = 130
#: Of a recipe with pairs, beside or in place of a corpus: the stages that come after those of the corpus.
_OF_PAIRS = {"mine": "pair-mine", "teach": "pair-teach"}
#: Made by every run before anything else.
_MARK = ".lock"


def run_recipe(
    verb: str,
    recipe_path: Path,
    out: Path | None,
    settings: list[str],
    *,
    anyway: bool,
    until: str | None = None,
) -> Path:
    """Runs a recipe, all of it or up to a stage.

    Args:
        verb: that the user called, with its group, for the command to go on with.
        recipe_path: the YAML file.
        out: the run folder; None takes `runs/<name of the file>`.
        settings: `key=value`, over what the recipe says.
        anyway: goes on with a teacher that is no better than the student's start.
        until: the last stage; None runs all. Where the recipe has pairs, theirs of the kind takes its place.

    Returns:
        The run folder.

    Raises:
        InputError: the recipe or what it names is wrong, or the folder holds something else.
        typer.Exit: with 130, after Ctrl-C.
    """
    recipe = load_recipe(recipe_path, settings)
    # With a corpus beside them the pairs' candidates come after its teacher, whom `mine` is not to ask.
    if recipe.pairs and (recipe.data is None or until != "mine"):
        until = _OF_PAIRS.get(until or "", until)
    folder = _run_folder(recipe_path, out)
    words = [*verb.split(), *([] if verb == "quickstart" else [recipe_path]), "--out", folder]
    words += [*set_words(settings), *["--anyway"] * anyway]
    with packages_needed():
        from limbeck.pipeline import Run, RunFolder, run_stages, stages_of  # noqa: PLC0415 - brings torch
    with stoppable(folder, words) as display:
        run_stages(Run(recipe, RunFolder(folder), display, anyway=anyway), stages_of(recipe), until=until)
    return folder


def show_estimate(recipe_path: Path, out: Path | None, settings: list[str]) -> None:
    """Shows what servers will be asked for a recipe and what it costs; asks nothing.

    Args:
        recipe_path: the YAML file.
        out: the run folder, as for `run_recipe`: what must be known is done there, for a run to find.
        settings: `key=value`, over what the recipe says.

    Raises:
        InputError: as `run_recipe`.
        typer.Exit: with 130, after Ctrl-C.
    """
    recipe = load_recipe(recipe_path, settings)
    folder = _run_folder(recipe_path, out)
    words = ["run", recipe_path, "--out", folder, *set_words(settings)]
    with packages_needed():
        from limbeck.pipeline import Run, RunFolder, estimate_costs, stages_of  # noqa: PLC0415
    with stoppable(folder, [*words, "--estimate"]) as display:
        estimate = estimate_costs(Run(recipe, RunFolder(folder), display), stages_of(recipe))
    screen = console()
    if not estimate.parts and not estimate.later:
        screen.print("No server has anything left to be asked.")
        return
    screen.print()
    if estimate.parts:
        show_table(screen, estimate.table_rows(), left=3)
        screen.print()
    for sentence in estimate.summary():
        screen.print(sentence)
    if any(part.bound for part in estimate.parts):
        screen.print("≤: at most; how many is known only on the way.")
    if estimate.later:
        screen.print(f"Not known before that is answered: {', '.join(estimate.later)}.")
    screen.print(f"{'Go on:':9}{command(*words)}")


def _run_folder(recipe_path: Path, out: Path | None) -> Path:
    folder = out or Path("runs") / recipe_path.stem
    _check_folder(folder)
    return folder


def set_words(settings: Sequence[str]) -> list[str]:
    """The settings as words of a command to go on with."""
    return [word for setting in settings for word in ("--set", setting)]


@contextmanager
def packages_needed() -> Iterator[None]:
    """Around the import of what does the work: says how to install what is missing.

    Raises:
        InputError: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"the package '{error.name}' is not installed", remedy="pip install 'limbeck[quickstart]'"
        ) from error


@contextmanager
def stoppable(folder: Path, words: Sequence[object]) -> Iterator[RunDisplay]:
    """The display of a work that Ctrl-C stops and the same command goes on with.

    Args:
        folder: where everything is kept.
        words: of the command, after `limbeck`.

    Raises:
        typer.Exit: with 130, after Ctrl-C.
    """
    try:
        with open_progress(console()) as display:
            yield display
    except KeyboardInterrupt as interruption:
        where = f" in {display.current!r}" if display.current else ""
        show_error(
            f"stopped{where}. Finished stages and the teacher's scores are kept in {folder}. To go on:",
            copy=command(*words),
        )
        raise typer.Exit(_INTERRUPTED) from interruption


def _check_folder(folder: Path) -> None:
    """Keeps a run out of a folder in which somebody keeps other things."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise InputError(
            "the folder is not empty, and no run folder", path=folder, remedy="name a new one with --out"
        )


def show_results(folder: Path) -> None:
    """The table of a finished run, and where everything lies."""
    from limbeck.evaluation import Results  # noqa: PLC0415 - takes half a second

    screen = console()
    for part in (folder, folder / "pairs"):
        if not (part / "metrics.json").exists():
            continue
        screen.print()
        show_table(screen, Results.read(part / "metrics.json").table_rows())
        screen.print()
        for title, name in (
            ("Report", "report.html"),
            ("Figures", "metrics.json"),
            ("Runs", "runs"),
            ("Scores", "scores"),
            ("Qrels", "qrels.tsv"),
        ):
            if (part / name).exists():
                screen.print(f"{title + ':':9}{part / name}")
    if (folder / "index").exists():
        screen.print(f"{'Search:':9}{command('search', folder, 'what you look for')}")


def show_stage(folder: Path, stage: str, recipe: Path, settings: list[str]) -> None:
    """Where the result of a stage lies, and what comes next."""
    screen = console()
    screen.print()
    for name in (stage, _OF_PAIRS.get(stage)):
        if name is not None and (folder / name).exists():
            screen.print(f"{'Done:':9}{folder / name}")
    if stage == "index":
        screen.print(f"{'Search:':9}{command('search', folder, 'what you look for')}")
    screen.print(f"{'Go on:':9}{command('run', recipe, '--out', folder, *set_words(settings))}")
