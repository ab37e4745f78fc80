"""Students: the fast retrievers that learn from a teacher's rankings."""

from __future__ import annotations

from pathlib import Path

from limbeck.errors import InputError

#: Stages of a run that learns from pairs, and of one with a corpus.
_PAIRS, _DATA = "pair-data", "data"


def require_corpus(run_folder: Path) -> None:
    """Does nothing unless a run learnt from pairs alone: then there is nothing to search.

    Raises:
        InputError: it did.
    """
    if (run_folder / _PAIRS).is_dir() and not (run_folder / _DATA).is_dir():
        raise InputError(
            "this run learnt from pairs alone: there is no corpus to search",
            path=run_folder,
            expected="the folder of a run whose recipe names a corpus under `data`",
            remedy="add one to the recipe, or score pairs with "
            "limbeck.students.dense.pair_scoring.PairScorer and the student in distil/student",
        )
