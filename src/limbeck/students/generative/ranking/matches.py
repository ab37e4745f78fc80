"""The identifiers by which a query's passages are scored in training, in an Arrow file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from limbeck.data.arrow import open_arrow, schema_of
from limbeck.errors import InputError
from limbeck.files import atomic_path
from limbeck.indexes.fm_index import Ragged
from limbeck.students.generative.identifiers import ViewSettings

KIND = "identifier matches"
#: In place of a view: a single token, scored by the first decoding step.
UNIGRAM = -1
_SETTINGS = b"limbeck.matches"
_BATCH = 1024
_COLUMNS = {
    "views": pa.int8(), "lengths": pa.int32(), "tokens": pa.uint32(), "frequencies": pa.float64(),
    "factors": pa.float64(), "positions": pa.int32(), "contributions": pa.float64(),
}  # fmt: skip
_SCHEMA = [
    ("query_id", pa.string()),
    ("passage_id", pa.string()),
    *((name, pa.list_(kind)) for name, kind in _COLUMNS.items()),
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class PassageMatches:
    """The identifiers that count in a passage for a query, in the order in which they count.

    Attributes:
        views: (matches,) the place of each one's view in the list of views, or `UNIGRAM`.
        tokens: (matches,) rows, without markers; none is empty.
        frequencies: (matches,) float64, `F`, logarithms of their smoothed corpus frequencies.
        factors: (matches,) float64, what a weight is multiplied by for the tokens that are not new.
        positions: (matches,) int64, where in the passage they begin, in tokens, markers included.
        contributions: (matches,) float64, what they added to the score when they were collected.
    """

    views: NDArray[np.int64]
    tokens: Ragged
    frequencies: NDArray[np.float64]
    factors: NDArray[np.float64]
    positions: NDArray[np.int64]
    contributions: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.views)

    @property
    def score(self) -> float:
        """The passage's score when the matches were collected, as far as they go."""
        return float(self.contributions.sum())


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """How matches were made, and for whom.

    Attributes:
        views: settings of the views, in the order to which `PassageMatches.views` refers.
        unigram_view: the place of the view whose first step scores the unigrams; None without such a view.
        vocabulary: fingerprint of the generator's vocabulary.
    """

    views: list[ViewSettings]
    unigram_view: int | None
    vocabulary: str


class Matches:
    """The matches of (query, passage) pairs.

    Example:
        >>> matches = Matches.open("matches.arrow")  # doctest: +SKIP
        >>> matches.of("q1", "d7").score  # doctest: +SKIP
        431.7
    """

    def __init__(self, batches: Sequence[pa.RecordBatch], settings: MatchSettings) -> None:
        self.settings = settings
        self._batches = batches
        self._rows = {
            (query, passage): (number, row)
            for number, batch in enumerate(batches)
            for row, (query, passage) in enumerate(
                zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
            )
        }

    @classmethod
    def write(
        cls,
        path: str | os.PathLike[str],
        rows: Iterable[tuple[str, str, PassageMatches]],
        settings: MatchSettings,
    ) -> Matches:
        """Write matches, whole or not at all, and open them.

        Args:
            path: of the file.
            rows: query id, passage id and matches; each pair once.
            settings: how they were made.
        """
        schema = schema_of(KIND, _SCHEMA)
        metadata = {**schema.metadata, _SETTINGS: json.dumps(asdict(settings)).encode()}
        schema = schema.with_metadata(metadata)
        with (
            atomic_path(path) as temporary,
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, schema) as writer,
        ):
            for batch in _batched(rows, _BATCH):
                writer.write_batch(_record_batch(batch, schema))
        return cls.open(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Matches:
        """Map what `write` wrote into memory; only the ids are loaded.

        Raises:
            InputError: there is no such file, or it is of another kind.
        """
        reader = open_arrow(path, KIND)
        try:
            raw: dict[str, Any] = json.loads(reader.schema.metadata[_SETTINGS])
            views = [ViewSettings(**view) for view in raw["views"]]
            settings = MatchSettings(views, raw["unigram_view"], raw["vocabulary"])
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                "the settings of the matches cannot be read", path=Path(path), remedy="collect them again"
            ) from error
        return cls([reader.get_batch(number) for number in range(reader.num_record_batches)], settings)

    @classmethod
    def joined(cls, parts: Sequence[Matches]) -> Matches:
        """The matches of several files, at least one, all made with the same settings.

        Raises:
            InputError: they were not.
        """
        settings = parts[0].settings
        if any(part.settings != settings for part in parts):
            raise InputError(
                "the files of matches were made with different views or vocabularies",
                remedy="collect them again, all with one retriever",
            )
        return cls([batch for part in parts for batch in part._batches], settings)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, pair: tuple[str, str]) -> bool:
        return pair in self._rows

    def of(self, query_id: str, passage_id: str) -> PassageMatches:
        """The matches of a passage for a query.

        Raises:
            InputError: none were collected for the two.
        """
        if (query_id, passage_id) not in self._rows:
            raise InputError(
                f"no identifiers were collected for query '{query_id}' and passage '{passage_id}'",
                expected="matches of every passage of the lists",
                remedy="collect the matches again, for these lists",
            )
        number, row = self._rows[query_id, passage_id]
        batch = self._batches[number]
        values = {name: batch.column(name)[row].values.to_numpy(zero_copy_only=False) for name in _COLUMNS}
        offsets = np.concatenate([[0], np.cumsum(values["lengths"], dtype=np.int64)])
        return PassageMatches(
            values["views"].astype(np.int64), Ragged(offsets, values["tokens"]), values["frequencies"],
            values["factors"], values["positions"].astype(np.int64), values["contributions"],
        )  # fmt: skip


def _record_batch(rows: Sequence[tuple[str, str, PassageMatches]], schema: pa.Schema) -> pa.RecordBatch:
    flat: dict[str, list[NDArray[Any]]] = {
        "views": [one.views for _, _, one in rows],
        "lengths": [one.tokens.lengths for _, _, one in rows],
        "tokens": [one.tokens.values for _, _, one in rows],
        "frequencies": [one.frequencies for _, _, one in rows],
        "factors": [one.factors for _, _, one in rows],
        "positions": [one.positions for _, _, one in rows],
        "contributions": [one.contributions for _, _, one in rows],
    }
    columns = [pa.array([row[0] for row in rows]), pa.array([row[1] for row in rows])]
    for name, parts in flat.items():
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int32)
        values = pa.array(np.concatenate(parts).astype(_COLUMNS[name].to_pandas_dtype()))
        columns.append(pa.ListArray.from_arrays(pa.array(offsets), values))
    return pa.record_batch(columns, schema=schema)


def _batched(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    batch: list[T] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
