"""What takes long is kept block by block: the answers of a retriever to many questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from limbeck.data import Query, Rankings
from limbeck.mining import Miner
from limbeck.mining.blocks import blocks_of
from limbeck.pipeline.run import Run

T = TypeVar("T")
#: Questions that are answered and kept together: what a kill can cost.
BLOCK = 128


def kept_blocks(folder: Path, items: Sequence[T]) -> Iterator[tuple[Path, list[T]]]:
    """Items in blocks, with the file in which what is computed of each is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, block in enumerate(blocks_of(items, BLOCK)):
        yield folder / f"{number:06}.arrow", block


def kept_answers(
    run: Run, title: str, miner: Miner, queries: Sequence[Query], *, depth: int, folder: Path
) -> Rankings:
    """What a retriever finds for questions; what an interrupted attempt has left is not asked again.

    Args:
        run: is told how far it is.
        title: of this work, for people.
        miner: the retriever.
        queries: the questions, the same in every attempt.
        depth: passages a question.
        folder: where the blocks are kept, of one retriever and one depth.
    """
    parts = []
    with run.progress.task(title, len(queries)) as advance:
        for path, block in kept_blocks(folder, queries):
            if not path.is_file():
                Rankings.from_lists(miner.mine(block, depth), miner.name).write(path)
            parts.append(Rankings.open(path))
            advance(len(block))
    return Rankings.from_lists((ranked for part in parts for ranked in part), miner.name)
