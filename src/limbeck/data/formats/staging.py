"""How every importer writes a data set: into a folder beside the target, moved there when all is well."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from limbeck.data.dataset import DATASET_FILES, judgements_file, queries_file
from limbeck.data.queries import Queries
from limbeck.files import atomic_folder

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from limbeck.data.judgements import Judgements


@contextmanager
def dataset_folder(into: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder whose files become the data set in `into`; an error leaves `into` as it was."""
    with atomic_folder(into, stale=DATASET_FILES) as staging:
        yield staging


def write_split(folder: Path, split: str, queries: Queries, judgements: Judgements) -> None:
    """Write the judgements of a split, and those of the queries that they name, in the order of `queries`."""
    rows = np.sort(queries.rows(judgements.query_ids))
    Queries.write(folder / queries_file(split), queries.take(rows))
    judgements.write(folder / judgements_file(split))
