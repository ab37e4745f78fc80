"""Having questions written for a corpus, block by block.

Design facts:
- A corpus is read in blocks of passages; the questions of a block are written to a file that appears whole.
  A process that is killed loses the block under way, and nothing else; memory does not grow with the corpus.
- What a block's questions depend on (the writer's settings, the passages) is noted beside the blocks. When
  it has changed, they are written anew.
"""

from __future__ import annotations

import hashlib
import json
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from limbeck.data.formats.fields import json_object
from limbeck.errors import InputError
from limbeck.files import Records, write_text

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from limbeck.data import Passage, Passages
    from limbeck.students.generative.pseudo_queries import PseudoQueries

_SETTINGS = "pseudo-queries.json"
_BLOCK = "pseudo-queries-{:07}.jsonl"
_BLOCKS = "pseudo-queries-*.jsonl"


class QueryWriter(Protocol):
    """Anything that writes questions which a passage answers.

    What is written for a passage depends on the passage and the writer's settings alone, not on what else is
    read with it: that is what lets a corpus be written block by block.
    """

    def settings(self) -> dict[str, Any]:
        """What the questions depend on besides the passages, as JSON values."""
        ...

    def write(self, passages: Sequence[Passage], count: int) -> list[list[str]]:
        """(passages,) lists of up to `count` questions each: single lines, none empty, none twice."""
        ...


def write_questions(
    writer: QueryWriter,
    passages: Passages,
    count: int,
    *,
    work_dir: str | os.PathLike[str],
    rows: NDArray[np.int64] | None = None,
    block_size: int = 512,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[str, list[str]]]:
    """Have questions written for passages of a corpus.

    A call that was killed and is made again with the same arguments goes on with the first block of passages
    that it had not finished, and ends with the same questions.

    Args:
        writer: what writes.
        passages: the corpus.
        count: questions that are asked for, for each passage.
        work_dir: for the blocks; it may be removed when all is read.
        rows: of the passages that get questions; None takes all.
        block_size: passages whose questions are written to one file.
        progress: is told how many more passages are done, those of an earlier call among them.

    Returns:
        Passage ids with their questions, in the order of the corpus, read from the blocks one after another;
        passages without a question are left out.

    Raises:
        InputError: a number that is not positive; while iterating, a block that cannot be read.

    Example:
        >>> dict(write_questions(ClozeWriter(), passages, 1, work_dir="work"))
        {'d1': ['Cats sleep for most of the day.']}
    """
    for name, value in (("count", count), ("block_size", block_size)):
        if value < 1:
            raise InputError(f"{name} is {value}", expected="a positive integer")
    rows = np.arange(len(passages)) if rows is None else rows
    folder = Path(work_dir)
    _prepare(
        folder,
        {
            **writer.settings(),
            "count": count,
            "passages": passages.fingerprint,
            "rows": hashlib.blake2b(rows.astype("<i8").tobytes(), digest_size=16).hexdigest(),
            "block_size": block_size,
        },
    )
    blocks = []
    for number, start in enumerate(range(0, len(rows), block_size)):
        read = list(passages.take(rows[start : start + block_size]))
        blocks.append(folder / _BLOCK.format(number))
        if not blocks[-1].is_file():
            _write_block(blocks[-1], [passage.id for passage in read], writer.write(read, count))
        if progress is not None:
            progress(len(read))
    return _filled(blocks)


def generate_pseudo_queries(
    writer: QueryWriter,
    passages: Passages,
    count: int,
    path: str | os.PathLike[str],
    *,
    work_dir: str | os.PathLike[str],
    block_size: int = 512,
    progress: Callable[[int], None] | None = None,
) -> PseudoQueries:
    """Have questions written for all passages of a corpus, as identifiers of a generative student.

    Args:
        writer: what writes.
        passages: the corpus.
        count: questions that are asked for, for each passage.
        path: of the table to make, which `PseudoQueries.open` reads; a passage without questions is not
            in it.
        work_dir: for the blocks, as `write_questions`.
        block_size: likewise.
        progress: likewise.

    Returns:
        The questions, mapped from `path`.

    Raises:
        InputError: as `write_questions`, or no question was written for any passage.

    Example:
        >>> questions = generate_pseudo_queries(
        ...     writer, data.passages, 5, "pseudo-queries.arrow", work_dir="work"
        ... )  # doctest: +SKIP
        >>> questions.of("d7")  # doctest: +SKIP
        ['how long do cats sleep', 'do cats sleep during the day']
    """
    from limbeck.students.generative.pseudo_queries import PseudoQueries, write_texts  # noqa: PLC0415

    found = write_questions(
        writer, passages, count, work_dir=work_dir, block_size=block_size, progress=progress
    )
    first = next(found, None)
    if first is None:
        raise InputError("the model wrote no question for any passage", remedy="train it for longer")
    write_texts(path, chain([first], found))
    return PseudoQueries.open(path)


def _prepare(folder: Path, settings: dict[str, Any]) -> None:
    """Removes blocks that were written with other settings, and notes these."""
    noted, text = folder / _SETTINGS, json.dumps(settings, indent=2) + "\n"
    if noted.is_file() and noted.read_text(encoding="utf-8") == text:
        return
    for block in folder.glob(_BLOCKS):
        block.unlink()
    with write_text(noted) as stream:
        stream.write(text)


def _write_block(path: Path, ids: Sequence[str], questions: Sequence[list[str]]) -> None:
    """One line a passage, also for one without questions."""
    with write_text(path) as stream:
        for id_, texts in zip(ids, questions, strict=True):
            stream.write(json.dumps({"id": id_, "questions": texts}, ensure_ascii=False) + "\n")


def _filled(blocks: Sequence[Path]) -> Iterator[tuple[str, list[str]]]:
    """The passages that have questions, in the order of the corpus."""
    for block in blocks:
        for record in Records(block, json_object):
            if record["questions"]:
                yield record["id"], record["questions"]
