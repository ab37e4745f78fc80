"""A retrieval data set: passages, and for each split the queries and their judgements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.data.judgements import Judgements
from limbeck.data.passages import Passages
from limbeck.data.queries import Queries
from limbeck.errors import InputError
from limbeck.files import require_folder

if TYPE_CHECKING:
    import os

SPLITS = ("train", "dev", "test")
PASSAGES_FILE = "passages.arrow"
TRAINING_PASSAGES_FILE = "training_passages.arrow"
# What an import makes in its folder, so that importing again leaves no split of the earlier data behind.
DATASET_FILES = ("passages*.arrow", "training_passages*.arrow", "queries-*.arrow", "judgements-*.arrow")


def queries_file(split: str) -> str:
    """The name of the file that holds the queries of a split."""
    return f"queries-{split}.arrow"


def judgements_file(split: str) -> str:
    """The name of the file that holds the judgements of a split."""
    return f"judgements-{split}.arrow"


@dataclass(frozen=True)
class RetrievalDataset:
    """Passages, queries and judgements that belong together.

    Args:
        passages: what is searched.
        queries: by split; the usual names are "train", "dev", "test".
        judgements: by split, for the same splits.
        training_passages: the same ids with other text, where the text that is searched would give the
            training queries away; None when there is no such need.
    """

    passages: Passages
    queries: dict[str, Queries]
    judgements: dict[str, Judgements]
    training_passages: Passages | None = None

    @property
    def training_view(self) -> Passages:
        """The passages as training must see them."""
        return self.training_passages or self.passages

    @property
    def splits(self) -> list[str]:
        """The splits, the usual ones first."""
        usual = [split for split in SPLITS if split in self.queries]
        return usual + sorted(set(self.queries) - set(usual))

    def check(self) -> None:
        """An InputError when a judged id does not exist, or the training passages have other ids."""
        for split, judgements in self.judgements.items():
            judgements.check(self.passages, self.queries[split])
        other = self.training_passages
        if other is not None and (
            len(other) != len(self.passages) or not other.contains(self.passages.ids()).all()
        ):
            raise InputError("the training passages have other ids than the passages", path=other.path)


def open_dataset(folder: str | os.PathLike[str]) -> RetrievalDataset:
    """Open what an import wrote into `folder`; tables are mapped, judgements are loaded.

    Raises:
        InputError: for a missing folder, one without `passages.arrow`, and queries without judgements or the
            reverse.

    Example:
        >>> dataset = open_dataset("data/scifact")
        >>> dataset.splits, len(dataset.passages)
        (['train', 'dev', 'test'], 5183)
    """
    folder = require_folder(folder, expected="a folder that an import wrote")
    queries = {
        _split(file): file for file in sorted(folder.glob("queries-*.arrow")) if ".ids." not in file.name
    }
    judgements = {_split(file): file for file in sorted(folder.glob("judgements-*.arrow"))}
    if set(queries) != set(judgements):
        split = sorted(set(queries) ^ set(judgements))[0]
        raise InputError(
            f"split {split!r} has {'queries' if split in queries else 'judgements'} only",
            path=folder,
            expected=f"{queries_file(split)} and {judgements_file(split)}",
            remedy="import the data again",
        )
    training = folder / TRAINING_PASSAGES_FILE
    return RetrievalDataset(
        Passages.open(folder / PASSAGES_FILE),
        {split: Queries.open(file) for split, file in queries.items()},
        {split: Judgements.open(file) for split, file in judgements.items()},
        Passages.open(training) if training.exists() else None,
    )


def _split(file: Path) -> str:
    return file.stem.partition("-")[2]
