"""`limbeck quickstart`: the main job on the Python standard library, which every machine has."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.options import Anyway, Settings, add_verb

RECIPE = "quickstart.yaml"
SEARCHES = (
    "run a function every few seconds in the background",
    "remove duplicates but keep the order",
    "turn a string with a date into a datetime",
)


def quickstart(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The run folder.")] = Path("quickstart"),
    settings: Settings = None,
    anyway: Anyway = False,
) -> None:
    """Make a search over the Python standard library: mine, teach, distil, index, evaluate, search.

    Takes minutes on two cores. Stopped at any point and started again, it goes on from the last
    finished stage; started once more, it uses what is there.
    """
    from limbeck.cli.running import run_recipe, show_results  # noqa: PLC0415 - reads the recipe's types

    with resources.as_file(resources.files("limbeck") / RECIPE) as recipe:
        folder = run_recipe("quickstart", recipe, out, settings or [], anyway=anyway)
    show_results(folder)
    from limbeck.cli.opening import open_retriever  # noqa: PLC0415
    from limbeck.cli.search import show_search  # noqa: PLC0415

    retriever = open_retriever(folder)
    for query in SEARCHES:
        show_search(retriever, query, 3)


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    add_verb(app, quickstart, "limbeck quickstart", "limbeck quickstart --out runs/stdlib --set seed=1")
