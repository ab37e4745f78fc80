"""One state of an identifier index, open for reading.

The files of a state never change. Those of an older state are unlinked by the writer that replaced it;
whoever has them open goes on reading them, since the system keeps a mapped file until the last map is gone
(POSIX; on other systems they stay until a later writer can remove them). A reader that finds a file gone
between reading the manifest and opening it starts again with the new manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck.errors import InputError
from limbeck.indexes.fm_index.file_format import SectionFile, write_sections
from limbeck.indexes.fm_index.manifest import DeletionsEntry, Manifest, PartEntry, file_checksum
from limbeck.indexes.fm_index.part import NO_DEAD, Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REMEDY = "restore the folder from a copy, or build the index again"
_ATTEMPTS = 100


@dataclass(frozen=True)
class OpenPart:
    """A part and what is deleted of it.

    Args:
        entry: what the manifest says of it.
        part: the open file.
        dead_rows: (deleted passages,) uint32, ascending, counted within the part.
        dead: (deleted tokens,) uint32, the ranks of their suffixes, ascending.
    """

    entry: PartEntry
    part: Part
    dead_rows: NDArray[np.uint32]
    dead: NDArray[np.uint32]

    @cached_property
    def dead_mask(self) -> NDArray[np.bool_]:
        """Which passages are deleted, (passages,), or (0,) when none is."""
        mask = np.zeros(self.part.passage_count if len(self.dead_rows) else 0, np.bool_)
        mask[self.dead_rows] = True
        return mask

    @property
    def live_numbers(self) -> NDArray[np.int64]:
        """The numbers of the passages that are not deleted, ascending."""
        numbers = self.part.numbers
        return numbers[~self.dead_mask] if len(self.dead_rows) else numbers

    def rows(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Rows of passages (numbers,), and whether each is in the part and not deleted."""
        stored = self.part.numbers
        rows = np.searchsorted(stored, numbers)
        inside = rows < len(stored)
        rows[~inside] = 0
        inside[inside] = stored[rows[inside]] == numbers[inside]
        if len(self.dead_rows):
            inside[inside] = ~self.dead_mask[rows[inside]]
        return rows, inside


@dataclass(frozen=True)
class Snapshot:
    """A manifest with its parts open."""

    folder: Path
    manifest: Manifest
    parts: tuple[OpenPart, ...]

    @cached_property
    def state(self) -> str:
        """What tells this state from others: the manifest's checksum, which covers those of all files."""
        return self.manifest.checksum

    def find_numbers(self, numbers: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Where passages are: for each part, the places in `numbers` that it holds, and their rows.

        Raises:
            InputError: a number that no live passage has.
        """
        found = []
        missing = np.ones(len(numbers), np.bool_)
        for part in self.parts:
            rows, inside = part.rows(numbers)
            found.append((np.flatnonzero(inside), rows[inside]))
            missing &= ~inside
        if missing.any():
            number = int(numbers[missing][0])
            given = 0 <= number < self.manifest.next_number
            raise InputError(
                f"passage {number} is deleted" if given else f"there is no passage {number}",
                path=self.folder,
                expected="the number of a passage in the index",
                remedy="refresh() if another has changed the index; `numbers` lists the passages",
            )
        return found


def open_snapshot(folder: Path, previous: Snapshot | None = None, *, verify: bool = False) -> Snapshot:
    """Open the present state; what it shares with `previous` is not opened again.

    Raises:
        InputError: no index there, or a file of it is missing, damaged or not the one it was.
    """
    for _ in range(_ATTEMPTS):
        manifest = Manifest.read(folder)
        if previous is not None and manifest == previous.manifest and not verify:
            return previous
        known = {part.entry.file: part for part in previous.parts} if previous and not verify else {}
        try:
            parts = tuple(
                _open(folder, entry, known.get(entry.file), verify=verify) for entry in manifest.parts
            )
            _check_order(folder, manifest, parts)
        except (InputError, OSError):
            if Manifest.read(folder) == manifest:
                raise
        else:
            return Snapshot(folder, manifest, parts)
    raise InputError("the index changed at each attempt to open it", path=folder, remedy="try again")


def _open(folder: Path, entry: PartEntry, known: OpenPart | None, *, verify: bool) -> OpenPart:
    if known is not None and known.entry == entry:
        return known
    if known is not None and known.entry.checksum == entry.checksum:
        part = known.part
    else:
        _check_file(folder / entry.file, entry.checksum)
        part = Part(folder / entry.file, verify=verify)
    if (part.token_count, part.passage_count) != (entry.tokens, entry.passages):
        raise _mismatch(folder / entry.file)
    dead_rows, dead = NO_DEAD, NO_DEAD
    if entry.deletions is not None:
        dead_rows, dead = read_deletions(folder, entry, entry.deletions, verify=verify)
    return OpenPart(entry, part, dead_rows, dead)


def _check_file(path: Path, checksum: str) -> None:
    if file_checksum(path) != checksum:
        raise _mismatch(path)


def _mismatch(path: Path) -> InputError:
    return InputError(
        "the file is damaged, or not the one that the manifest names",
        path=path,
        expected="the file that was written with the manifest",
        remedy=_REMEDY,
    )


def _check_order(folder: Path, manifest: Manifest, parts: tuple[OpenPart, ...]) -> None:
    last = -1
    for part in parts:
        numbers = part.part.numbers
        if len(numbers):
            if numbers[0] <= last:
                raise _mismatch(folder / part.entry.file)
            last = int(numbers[-1])
    if last >= manifest.next_number:
        raise _mismatch(folder / parts[-1].entry.file)


def write_deletions(
    folder: Path, name: str, part_file: str, rows: NDArray[np.uint32], ranks: NDArray[np.uint32]
) -> DeletionsEntry:
    """Remember what is deleted of a part.

    Args:
        folder: of the index.
        name: the file to write.
        part_file: the part's file.
        rows: (deleted passages,), ascending.
        ranks: (deleted tokens,), ascending.
    """
    small = np.dtype("uint32")
    write_sections(
        folder / name, [("rows", small, [rows]), ("ranks", small, [ranks])], {"deletions_of": part_file}
    )
    return DeletionsEntry(name, file_checksum(folder / name), len(ranks), len(rows))


def read_deletions(
    folder: Path, part: PartEntry, entry: DeletionsEntry, *, verify: bool = False
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The rows and ranks that `write_deletions` wrote.

    Raises:
        InputError: the file is missing, damaged, or belongs to another part.
    """
    path = folder / entry.file
    _check_file(path, entry.checksum)
    file = SectionFile(path, verify=verify)
    if file.facts.get("deletions_of") != part.file:
        raise _mismatch(path)
    rows, ranks = file.array("rows"), file.array("ranks")
    fits = (
        len(rows) == entry.passages
        and len(ranks) == entry.tokens
        and (not len(rows) or rows[-1] < part.passages)
        and (not len(ranks) or ranks[-1] < part.tokens)
    )
    if not fits:
        raise _mismatch(path)
    return rows, ranks
