"""Changing an identifier index: build, add, delete, merge.

Design facts:
- Every change writes new files and then renames a new manifest over the old one, so that a kill at any
  instant leaves the state before or the state after. What a killed writer left is removed by the next one.
- Writers hold `.write-lock`. A merge holds `.merge-lock` all the time and `.write-lock` only to publish:
  passages are added and deleted while it works; what was deleted meanwhile is deleted from its result.
- Only neighbouring parts are merged, so that the parts' ranges of passage numbers stay apart and in order.
- Files that the new manifest does not name are unlinked as soon as it is published; readers that have them
  open are not disturbed (see `snapshot`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck.errors import InputError
from limbeck.files import atomic_folder
from limbeck.indexes.fm_index.building import PartBuilder
from limbeck.indexes.fm_index.file_format import note_path
from limbeck.indexes.fm_index.kernels.layout import POSITION_LIMIT
from limbeck.indexes.fm_index.locking import locked, locked_if_free
from limbeck.indexes.fm_index.manifest import NAME, Manifest, PartEntry, file_checksum
from limbeck.indexes.fm_index.part import Part
from limbeck.indexes.fm_index.ragged import integer_array, token_array
from limbeck.indexes.fm_index.snapshot import OpenPart, Snapshot, open_snapshot, write_deletions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limbeck.indexes.fm_index.ragged import Tokens

WRITE_LOCK = ".write-lock"
MERGE_LOCK = ".merge-lock"
DEAD_SHARE = 0.25
"""A part of which more than this share of tokens is deleted is written anew by `merge(everything=False)`."""
GROWTH = 2
"""It also joins a part with those after it, unless it is over this many times as large as all of them."""

_EXTRACTED = 4096


def build(folder: Path, passages: Iterable[Tokens], *, part_tokens: int) -> None:
    """Make an index in a new folder, which appears when it is complete.

    Raises:
        InputError: something is there already; passages that are not token ids; a `part_tokens` out of range.
    """
    if not 1 <= part_tokens <= POSITION_LIMIT:
        raise InputError(f"part_tokens is {part_tokens}", expected=f"1 to {POSITION_LIMIT}")
    if folder.is_dir():
        if any(folder.iterdir()):
            raise InputError(
                "the folder is not empty",
                path=folder,
                expected="a new folder",
                remedy="name another; to add passages to an index, open it and use add()",
            )
        folder.rmdir()
    with atomic_folder(folder) as staging:
        entries, count = _write_parts(staging, passages, Manifest(1, 0, part_tokens))
        Manifest(1, count, part_tokens, entries).write(staging)


def add(folder: Path, passages: Iterable[Tokens], *, wait_s: float) -> range:
    """Add passages at the end; their numbers.

    Raises:
        InputError: passages that are not token ids; another writer for longer than `wait_s`.
    """
    with _writing(folder, wait_s) as manifest:
        planned = replace(manifest, generation=manifest.generation + 1)
        entries, count = _write_parts(folder, passages, planned)
        if count:
            following = manifest.next_number + count
            replace(planned, next_number=following, parts=manifest.parts + entries).write(folder)
    return range(manifest.next_number, manifest.next_number + count)


def _write_parts(
    folder: Path, passages: Iterable[Tokens], planned: Manifest
) -> tuple[tuple[PartEntry, ...], int]:
    """Write passages as one part or more; `planned` says from which number on, and in which state."""
    entries: list[PartEntry] = []
    builder, number, count = PartBuilder(), planned.next_number, 0

    def close() -> None:
        name = f"part-{planned.generation:010d}-{len(entries)}"
        entries.append(_write_part(folder, name, builder, number + count - builder.passage_count))

    for passage in passages:
        tokens = token_array(passage, name=f"passage {number + count}")
        size = builder.token_count + builder.passage_count + len(tokens) + 1
        full = builder.token_count + len(tokens) > planned.part_tokens or size > POSITION_LIMIT
        if full and builder.passage_count:
            close()
            builder = PartBuilder()
        builder.add(tokens)
        count += 1
    if builder.passage_count:
        close()
    return tuple(entries), count


def _write_part(folder: Path, name: str, builder: PartBuilder, numbers: int | NDArray[np.int64]) -> PartEntry:
    tokens, passages = builder.token_count, builder.passage_count
    builder.write(folder / name, numbers)
    return PartEntry(name, file_checksum(folder / name), tokens, passages)


def delete(folder: Path, numbers: Iterable[int], *, wait_s: float) -> None:
    """Delete passages: all of them, or none when one is not there. Takes a pass over each part concerned.

    Raises:
        InputError: a number that no passage has, or whose passage is deleted; another writer for longer than
            `wait_s`.
    """
    wanted = np.unique(_numbers(numbers))
    with _writing(folder, wait_s) as manifest:
        snapshot = open_snapshot(folder)
        generation = manifest.generation + 1
        entries = list(manifest.parts)
        for index, (_, rows) in enumerate(snapshot.find_numbers(wanted)):
            if len(rows):
                name = f"deletions-{generation:010d}-{index}"
                entries[index] = _with_deletions(folder, snapshot.parts[index], rows, name)
        if len(wanted):
            replace(manifest, generation=generation, parts=tuple(entries)).write(folder)


def _numbers(numbers: Iterable[int]) -> NDArray[np.int64]:
    values = numbers if isinstance(numbers, np.ndarray) else list(numbers)
    return np.ravel(integer_array(values, name="the passage numbers"))


def _with_deletions(folder: Path, part: OpenPart, rows: NDArray[np.int64], name: str) -> PartEntry:
    """The part's entry with more rows deleted, none of them before."""
    # Stable sorting is quick with two runs that are in order.
    dead_rows = np.sort(np.concatenate([part.dead_rows, rows.astype(np.uint32)]), kind="stable")
    dead = np.sort(np.concatenate([part.dead, part.part.ranks_of_passages(rows)]), kind="stable")
    return replace(part.entry, deletions=write_deletions(folder, name, part.entry.file, dead_rows, dead))


def merge(folder: Path, *, everything: bool, wait_s: float) -> bool:
    """Join parts and drop what is deleted; whether there was anything to do.

    Raises:
        InputError: another writer at the end, or, if everything is to be joined, another merge, for longer
            than `wait_s`.
    """
    Manifest.read(folder)  # before the lock file is made: this may be no index
    lock = folder / MERGE_LOCK
    if everything:
        with locked(lock, wait_s=wait_s):
            return _merge_runs(folder, everything=True, wait_s=wait_s)
    with locked_if_free(lock) as free:  # upkeep: nobody need wait for another that is at it
        return free and _merge_runs(folder, everything=False, wait_s=wait_s)


def _merge_runs(folder: Path, *, everything: bool, wait_s: float) -> bool:
    merged = False
    while True:
        snapshot = open_snapshot(folder)
        run = plan(snapshot.manifest, everything=everything)
        if run is None:
            return merged
        _merge_run(snapshot, run, wait_s)
        merged = True


def plan(manifest: Manifest, *, everything: bool) -> range | None:
    """The next run of neighbouring parts to write as one; None when all is well.

    Everything: as few parts as `part_tokens` allows, nothing deleted in any. Else, so that each token is
    written again a number of times that grows with the logarithm of the index only: from the last part
    backwards, each one that is at most `GROWTH` times as large as those after it together; and any part of
    which more than `DEAD_SHARE` is deleted.
    """
    sizes = [part.live_tokens for part in manifest.parts]
    if everything:
        return _first_packing(manifest, sizes)
    first = len(sizes)
    total = 0
    while first and (total == 0 or sizes[first - 1] <= GROWTH * total):
        if total + sizes[first - 1] > manifest.part_tokens:
            break
        first -= 1
        total += sizes[first]
    if len(sizes) - first > 1:
        return range(first, len(sizes))
    for index, part in enumerate(manifest.parts):
        dead = part.deletions
        if dead is not None and (dead.tokens > DEAD_SHARE * part.tokens or not part.live_passages):
            return range(index, index + 1)
    return None


def _first_packing(manifest: Manifest, sizes: Sequence[int]) -> range | None:
    start = 0
    while start < len(sizes):
        stop, total = start + 1, sizes[start]
        while stop < len(sizes) and total + sizes[stop] <= manifest.part_tokens:
            total += sizes[stop]
            stop += 1
        if stop - start > 1 or manifest.parts[start].deletions is not None:
            return range(start, stop)
        start = stop
    return None


def _merge_run(snapshot: Snapshot, run: range, wait_s: float) -> None:
    folder, olds = snapshot.folder, [snapshot.parts[index] for index in run]
    name = f"merged-{snapshot.manifest.generation:010d}-{run.start}"
    entry = _write_merged(folder, name, olds)
    with _writing(folder, wait_s, merging=True) as manifest:
        now = open_snapshot(folder, snapshot)
        files = [part.entry.file for part in now.parts]
        start = files.index(olds[0].entry.file)
        generation = manifest.generation + 1
        news: tuple[PartEntry, ...] = ()
        if entry is not None:
            gone = [
                np.setdiff1d(old.live_numbers, part.live_numbers) for old, part in _pairs(olds, now, start)
            ]
            news = (_after_deletions(folder, entry, np.concatenate(gone), f"deletions-{generation:010d}-m"),)
        parts = manifest.parts[:start] + news + manifest.parts[start + len(olds) :]
        replace(manifest, generation=generation, parts=parts).write(folder)


def _pairs(olds: Sequence[OpenPart], now: Snapshot, start: int) -> Iterator[tuple[OpenPart, OpenPart]]:
    """Each part with what it has become while others wrote: only merges remove parts or put any between."""
    return zip(olds, now.parts[start : start + len(olds)], strict=True)


def _write_merged(folder: Path, name: str, olds: Sequence[OpenPart]) -> PartEntry | None:
    """One part of what lives in several; None when nothing does."""
    builder = PartBuilder()
    for old in olds:
        rows = np.flatnonzero(~old.dead_mask) if len(old.dead_rows) else np.arange(old.part.passage_count)
        for start in range(0, len(rows), _EXTRACTED):
            offsets, tokens = old.part.extract(rows[start : start + _EXTRACTED])
            builder.add_many(tokens, offsets)
    if not builder.passage_count:
        return None
    return _write_part(folder, name, builder, np.concatenate([old.live_numbers for old in olds]))


def _after_deletions(folder: Path, entry: PartEntry, gone: NDArray[np.int64], name: str) -> PartEntry:
    if not len(gone):
        return entry
    part = Part(folder / entry.file)
    rows = np.searchsorted(part.numbers, gone)
    nothing = np.zeros(0, np.uint32)
    return _with_deletions(folder, OpenPart(entry, part, nothing, nothing), rows, name)


@contextmanager
def _writing(folder: Path, wait_s: float, *, merging: bool = False) -> Iterator[Manifest]:
    """Hold the write lock; gives the present manifest, and tidies up before and after."""
    Manifest.read(folder)  # before the lock file is made: this may be no index
    with locked(folder / WRITE_LOCK, wait_s=wait_s):
        manifest = Manifest.read(folder)
        if not merging:  # the merge's own result is not named yet
            _tidy(folder, manifest, merging=False)
        try:
            yield manifest
        finally:  # an error leaves parts that no manifest names
            _tidy(folder, Manifest.read(folder), merging=merging)


def _tidy(folder: Path, manifest: Manifest, *, merging: bool) -> None:
    """Remove what no manifest names; what a merge is working on is left alone, unless it is the caller's."""
    if merging:
        _remove_strangers(folder, manifest, spare_merge=False)
        return
    with locked_if_free(folder / MERGE_LOCK) as free:
        _remove_strangers(folder, manifest, spare_merge=not free)


def _remove_strangers(folder: Path, manifest: Manifest, *, spare_merge: bool) -> None:
    named = manifest.files | {note_path(folder / name).name for name in manifest.files}
    for path in folder.iterdir():
        name = path.name.removeprefix(".")
        ours = name.startswith(("part-", "deletions-", "merged-", f"{NAME}."))
        if not ours or path.name in named or (spare_merge and name.startswith("merged-")):
            continue
        with contextlib.suppress(OSError):  # elsewhere than on POSIX, while a reader has it open
            path.unlink()
