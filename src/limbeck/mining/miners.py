"""Miners find the candidates that a teacher is to judge.

Memory does not grow with queries × depth: a miner yields one list at a time for a block of queries, and
`mine_to` writes each to disk as it comes.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Protocol

from limbeck.data import RankedList, Rankings, RankingsWriter, fuse
from limbeck.errors import InputError
from limbeck.mining.blocks import blocks_of
from limbeck.mining.bm25 import BM25, K1, B

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from limbeck.data import Judgements, Passages, Query

QUERY_BLOCK = 256


class Miner(Protocol):
    """Anything that finds passages for queries."""

    @property
    def name(self) -> str:
        """The source that its rankings name."""
        ...

    def mine(self, queries: Iterable[Query], depth: int) -> Iterator[RankedList]:
        """One list for each query, in their order, each with at most `depth` passages, best first."""
        ...


class BM25Miner:
    """Candidates that share words with the query.

    Args:
        bm25: an index; `BM25Miner.build(passages, ...)` makes it.

    Example:
        >>> for ranked in BM25Miner.build(passages, language="zh").mine(queries, depth=100):
        ...     print(ranked.query_id, ranked.passage_ids[:3])
    """

    name = "bm25"

    def __init__(self, bm25: BM25) -> None:
        self.bm25 = bm25

    @classmethod
    def build(cls, passages: Passages, language: str = "en", *, k1: float = K1, b: float = B) -> BM25Miner:
        """Index the passages; see `BM25.build`."""
        return cls(BM25.build(passages, language, k1=k1, b=b))

    def mine(self, queries: Iterable[Query], depth: int) -> Iterator[RankedList]:
        """One list for each query; empty where no word of the query occurs in the corpus."""
        for block in blocks_of(queries, QUERY_BLOCK):
            found = self.bm25.iter_search([query.text for query in block], depth)
            for query, (rows, scores) in zip(block, found, strict=True):
                yield RankedList(query.id, self.bm25.passages.ids(rows), scores)


class UnionMiner:
    """The candidates of several miners, fused by reciprocal rank (`limbeck.data.fuse`).

    Args:
        miners: at least one.
        member_depth: how many candidates each member finds; None for the depth asked for.

    Example:
        >>> UnionMiner([bm25_miner, dense_miner]).name
        'bm25+dense'
    """

    def __init__(self, miners: Sequence[Miner], *, member_depth: int | None = None) -> None:
        if not miners:
            raise InputError("a union of no miners", expected="at least one miner")
        self.miners = list(miners)
        self.member_depth = member_depth

    @property
    def name(self) -> str:
        """The names of the members, joined by "+"."""
        return "+".join(miner.name for miner in self.miners)

    def mine(self, queries: Iterable[Query], depth: int) -> Iterator[RankedList]:
        """One fused list for each query; the members advance together, a query at a time."""
        found = (miner.mine(queries, self.member_depth or depth) for miner in self.miners)
        for lists in zip(*found, strict=True):
            yield fuse(lists, depth)


def mine_to(
    path: str | os.PathLike[str],
    miner: Miner,
    queries: Iterable[Query],
    depth: int,
    *,
    skip: Judgements | None = None,
    progress: Callable[[int], None] | None = None,
) -> Rankings:
    """Mine all queries into a file, one list at a time; the file appears when all are done.

    Args:
        path: the `.arrow` file to make.
        miner: who finds the candidates.
        queries: what is asked.
        depth: how many candidates a query gets at most.
        skip: judgements whose relevant passages are left out; the lists are filled up to `depth` all the
        same.
        progress: called with the number of queries done since the last call.

    Returns:
        The rankings, mapped from the file.

    Example:
        >>> rankings = mine_to("candidates.arrow", miner, queries, 100, skip=judgements)
    """
    asked = depth
    if skip is not None:
        asked += max((len(skip.relevant(query_id)) for query_id in skip.query_ids), default=0)
    with RankingsWriter(path, miner.name) as writer:
        for ranked in miner.mine(queries, asked):
            writer.add(_without(ranked, skip, depth))
            if progress is not None:
                progress(1)
    return Rankings.open(path)


def _without(ranked: RankedList, skip: Judgements | None, depth: int) -> RankedList:
    left_out = set() if skip is None else set(skip.relevant(ranked.query_id))
    kept = (at for at, passage_id in enumerate(ranked.passage_ids) if passage_id not in left_out)
    rows = list(islice(kept, depth))
    return RankedList(ranked.query_id, [ranked.passage_ids[at] for at in rows], ranked.scores[rows])
