"""Scoring rankings with a teacher, through the cache.

Design facts:
- Pairs go in chunks of a fixed place in the question, and a chunk is committed whole or not at all. So a
  run that was killed goes on with the same chunks, and with them the same batches, as one that was not: the
  same scores.
- Within a block of many chunks the pairs go by passage: a teacher that encodes texts then meets each passage
  in one chunk, and not in as many as there are queries that it is a candidate of. For a teacher that reads a
  query once for all its passages they stay in the order of the queries.
- Scores of a teacher that gives them one by one, such as a server, are committed one by one.
- What a chunk asks twice, or the cache knows, is not scored again. A composite teacher's members are cached
  each for itself, so that trying other weights costs nothing.
"""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from limbeck.teachers.base import (
    CompositeTeacher,
    Pair,
    PrefixTeacher,
    StreamingTeacher,
    Teacher,
    check_scores,
)
from limbeck.teachers.cache import score_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from limbeck.data import Passages, Queries, Rankings
    from limbeck.teachers.cache import ScoreCache

CHUNK = 1024
BLOCK = 65_536


def score_rankings(
    teacher: Teacher,
    rankings: Rankings,
    queries: Queries,
    passages: Passages,
    cache: ScoreCache | None = None,
    *,
    chunk: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> Rankings:
    """The same pairs with the teacher's scores, each list in the teacher's order.

    Args:
        teacher: who scores.
        rankings: the pairs.
        queries: the texts of the queries.
        passages: the texts of the passages.
        cache: where scores are looked up and kept; None to score everything anew.
        chunk: pairs that are scored and committed together; a kill loses at most this many.
        progress: called with the number of pairs done since the last call.

    Returns:
        Rankings of the same queries and passages, with the teacher's name as source.

    Raises:
        InputError: for an id that queries or passages do not have, or a score that is NaN or infinite.

    Example:
        >>> with ScoreCache("scores.sqlite") as cache:
        ...     taught = score_rankings(teacher, candidates, queries, passages, cache)
    """
    found: list[NDArray[np.float64]] = [np.zeros(0)]
    for ids in _blocks(rankings.pairs(), BLOCK):
        rows = passages.rows([passage_id for _, passage_id in ids])
        order = np.arange(len(ids)) if _reads_queries_once(teacher) else np.argsort(rows, kind="stable")
        scores = np.empty(len(ids), np.float64)
        for start in range(0, len(ids), chunk):
            at = order[start : start + chunk]
            texts = queries.texts([ids[pair][0] for pair in at])
            asked = list(zip(texts, passages.contents(rows[at]), strict=True))
            scores[at] = score_pairs(teacher, asked, cache)
            if progress is not None:
                progress(len(at))
        found.append(scores)
    return rankings.rescored(np.concatenate(found), teacher.name)


def score_pairs(
    teacher: Teacher, pairs: Sequence[Pair], cache: ScoreCache | None = None
) -> NDArray[np.float64]:
    """The teacher's scores (pairs,) in the order asked, those that the cache lacks computed and committed.

    Raises:
        InputError: for a score that is NaN or infinite; it names the teacher and the pair.
    """
    if isinstance(teacher, CompositeTeacher):
        members = [score_pairs(member, pairs, cache) for member in teacher.members]
        return check_scores(teacher, pairs, teacher.combine(np.stack(members)))
    distinct = list(dict.fromkeys(pairs))
    keys = [score_key(teacher.name, teacher.version, teacher.prompt, *pair) for pair in distinct]
    scores = np.full(len(distinct), np.nan) if cache is None else cache.get(keys)
    missing = np.flatnonzero(np.isnan(scores))
    if len(missing):
        asked, unknown = [distinct[at] for at in missing], [keys[at] for at in missing]
        if cache is not None and isinstance(teacher, StreamingTeacher):
            scores[missing] = _kept_as_they_come(teacher, asked, unknown, cache)
        else:
            scores[missing] = check_scores(teacher, asked, teacher.score(asked))
            if cache is not None:
                cache.put(unknown, scores[missing])
    score_of = dict(zip(distinct, scores.tolist(), strict=True))
    return np.array([score_of[pair] for pair in pairs], np.float64)


def _kept_as_they_come(
    teacher: StreamingTeacher, asked: Sequence[Pair], keys: Sequence[bytes], cache: ScoreCache
) -> NDArray[np.float64]:
    """The scores (pairs,), each committed by itself, so that a failure loses none that came before it."""
    scores = np.full(len(asked), np.nan)
    with closing(teacher.scores_as_they_come(asked)) as arriving:
        for at, score in arriving:
            scores[at : at + 1] = check_scores(teacher, asked[at : at + 1], np.array([score]))
            cache.put(keys[at : at + 1], scores[at : at + 1])
    return check_scores(teacher, asked, scores)


def _reads_queries_once(teacher: Teacher) -> bool:
    """Whether the teacher, or one that it asks, does: such a one is the dearest of them."""
    if isinstance(teacher, CompositeTeacher):
        return any(_reads_queries_once(member) for member in teacher.members)
    return isinstance(teacher, PrefixTeacher) and teacher.shares_prefix


def _blocks(pairs: Iterator[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    while held := list(islice(pairs, size)):
        yield held
