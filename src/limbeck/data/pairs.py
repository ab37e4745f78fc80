"""Sentence pairs: two texts and how they stand to each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from limbeck.data.arrow import FINGERPRINT, Fingerprint, open_arrow, read_last, schema_of, write_last
from limbeck.errors import InputError
from limbeck.files import Located, atomic_path
from limbeck.texts import is_unicode

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

_COLUMNS = ("text1", "text2", "label")


@dataclass(frozen=True, slots=True)
class SentencePair:
    """Two texts with a number (similarity) or a class ("entailment")."""

    text1: str
    text2: str
    label: float | str


class SentencePairs:
    """Labelled pairs of texts; the labels are all finite numbers or all classes, as the first one is.

    Made with `of`, opened with `open`; in memory 8 bytes a pair and the UTF-8 text, or mapped.

    Example:
        >>> pairs = SentencePairs.of([SentencePair("A cat sat.", "A cat was sitting.", 4.5)])
        >>> pairs[0].label, pairs.classes
        (4.5, [])
    """

    def __init__(self, table: pa.Table, fingerprint: str) -> None:
        self._table = table
        self.fingerprint = fingerprint

    @classmethod
    def of(cls, pairs: Iterable[SentencePair]) -> SentencePairs:
        """Pairs in memory.

        Raises:
            InputError: for a text that is blank or has half of a surrogate pair, a label that is NaN or
                infinite, numbers mixed with classes, no pair at all.
        """
        held: list[SentencePair] = []
        for number, pair in enumerate(pairs):
            problem = _problem(pair, held[0] if held else pair)
            if problem:
                path, line = pairs.place(number) if isinstance(pairs, Located) else (None, None)
                raise InputError(
                    problem if path else f"{problem} (record {number + 1})", path=path, line=line
                )
            held.append(pair)
        if not held:
            raise InputError("there is no pair at all", expected="at least one")
        columns = [pa.array([getattr(pair, name) for pair in held]) for name in _COLUMNS]
        table = pa.Table.from_arrays(columns, names=list(_COLUMNS))
        digest = Fingerprint(len(_COLUMNS))
        digest.update(columns)
        return cls(table, digest.hexdigest())

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[SentencePair]:
        for batch in self._table.to_batches():
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield SentencePair(*values)

    def __getitem__(self, row: int) -> SentencePair:
        if not -len(self) <= row < len(self):
            raise IndexError(f"pair {row} of {len(self)}")
        return SentencePair(*(column[row].as_py() for column in self._table.columns))

    @property
    def classes(self) -> list[str]:
        """The classes in alphabetical order; empty when the labels are numbers."""
        labels = self._table.column("label")
        return sorted(labels.unique().to_pylist()) if pa.types.is_string(labels.type) else []

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write an Arrow file of text1, text2, label."""
        fields = [(name, self._table.schema.field(name).type) for name in _COLUMNS]
        schema = schema_of("pairs", fields)
        with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), schema) as writer:
            writer.write_table(self._table.cast(schema))
            write_last(writer, schema, {FINGERPRINT: self.fingerprint.encode()})

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SentencePairs:
        """Map what `write` wrote; an InputError when it is not that."""
        reader = open_arrow(path, "pairs")
        return cls(reader.read_all(), read_last(reader)[FINGERPRINT].decode())


def _problem(pair: SentencePair, first: SentencePair) -> str | None:
    if not pair.text1.strip() or not pair.text2.strip():
        return f"{'text1' if not pair.text1.strip() else 'text2'} is empty"
    for name in _COLUMNS:
        if not is_unicode(str(getattr(pair, name))):
            return f"{name} has half of a surrogate pair"
    if isinstance(first.label, str) != isinstance(pair.label, str):
        found = "a class" if isinstance(pair.label, str) else "a number"
        return f"the label {pair.label!r} is {found}, the first one is not"
    if not isinstance(pair.label, str) and not math.isfinite(pair.label):
        return f"the label is {pair.label}"
    return None
