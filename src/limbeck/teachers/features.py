"""Features of pairs: what a teacher's scores were read from, through the cache.

A student that imitates features needs them for every passage of its lists, in every epoch. The teacher gives
them once, with the scores; `PairFeatures` of `limbeck.data` then reads them without a teacher.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from limbeck.errors import InputError
from limbeck.teachers.base import CompositeTeacher, FeatureTeacher, Pair, Teacher, check_scores, shorten
from limbeck.teachers.cache import score_key
from limbeck.teachers.ensemble import EnsembleTeacher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from limbeck.data import Passages, Queries, Rankings
    from limbeck.teachers.cache import ScoreCache

CHUNK = 256


def feature_teacher(teacher: Teacher) -> FeatureTeacher:
    """The teacher that gives the features: itself, or of several the one that counts most and has some.

    Raises:
        InputError: there is none.
    """
    if isinstance(teacher, FeatureTeacher):
        return teacher
    members: Sequence[Teacher] = teacher.members if isinstance(teacher, CompositeTeacher) else ()
    if isinstance(teacher, EnsembleTeacher):
        members = [members[at] for at in np.argsort(-teacher.weights, kind="stable")]
    found = next((member for member in members if isinstance(member, FeatureTeacher)), None)
    if found is None:
        raise InputError(
            f"the teacher '{teacher.name}' has no features to imitate",
            expected="a cross-encoder or an LLM among its members",
            remedy="set loss.feature to 0, or add such a member",
        )
    return found


def score_pairs_with_features(
    teacher: FeatureTeacher, pairs: Sequence[Pair], cache: ScoreCache | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float16]]:
    """Scores (pairs,) and features (pairs, dimension) in the order asked; what the cache lacks is computed.

    Of a pair whose score alone is in the cache, that score stays.

    Args:
        teacher: who scores.
        pairs: at least one.
        cache: where both are looked up and kept; None to compute everything anew.

    Raises:
        InputError: for a score or a feature that is NaN or infinite, or features of another shape than one
            row a pair.
    """
    distinct = list(dict.fromkeys(pairs))
    keys = [score_key(teacher.name, teacher.version, teacher.prompt, *pair) for pair in distinct]
    scores = np.full(len(distinct), np.nan) if cache is None else cache.get(keys)
    features: list[NDArray[np.float16] | None]
    features = [None] * len(distinct) if cache is None else cache.features(keys)
    missing = [at for at, feature in enumerate(features) if feature is None or np.isnan(scores[at])]
    if missing:
        asked = [distinct[at] for at in missing]
        given, rows = teacher.score_with_features(asked)
        given = check_scores(teacher, asked, given)
        _check_features(teacher, asked, rows)
        if cache is not None:
            cache.put([keys[at] for at in missing], given, rows)
        for at, score, row in zip(missing, given.tolist(), rows.astype(np.float16), strict=True):
            scores[at] = score if np.isnan(scores[at]) else scores[at]
            features[at] = row if features[at] is None else features[at]
    place = {pair: at for at, pair in enumerate(distinct)}
    order = [place[pair] for pair in pairs]
    return scores[order], np.stack([row for row in features if row is not None])[order]


def text_pairs(rankings: Rankings, queries: Queries, passages: Passages) -> Iterator[Pair]:
    """The texts of the pairs of rankings, in the order of `Rankings.pairs`."""
    for ranked in rankings:
        query = queries.text(ranked.query_id)
        for content in passages.contents(passages.rows(ranked.passage_ids)):
            yield query, content


def feature_blocks(
    teacher: FeatureTeacher,
    pairs: Iterable[Pair],
    cache: ScoreCache | None = None,
    *,
    chunk: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> Iterator[NDArray[np.float16]]:
    """The features of pairs in the order asked, in blocks (pairs, dimension).

    The scores that are computed with them are cached too.

    Args:
        teacher: who scores.
        pairs: read as they are needed. Those of a query stand together best: a teacher may read it once for
            all of them.
        cache: where scores and features are looked up and kept; None to compute everything anew.
        chunk: pairs that are scored and committed together; a kill loses at most this many.
        progress: called with the number of pairs done since the last call.
    """
    left = iter(pairs)
    while asked := list(islice(left, chunk)):
        yield score_pairs_with_features(teacher, asked, cache)[1]
        if progress is not None:
            progress(len(asked))


def _check_features(teacher: Teacher, pairs: Sequence[Pair], features: NDArray[np.float32]) -> None:
    if features.ndim != 2 or len(features) != len(pairs):
        raise InputError(
            f"the teacher '{teacher.name}' gave features of shape {features.shape} for {len(pairs)} pairs",
            expected="one row a pair",
        )
    bad = np.flatnonzero(~np.isfinite(features).all(1))
    if len(bad):
        query, passage = pairs[bad[0]]
        raise InputError(
            f"the teacher '{teacher.name}' gave a feature that is not finite to the query '{shorten(query)}' "
            f"and the passage '{shorten(passage)}'",
            remedy="look for broken weights or an overflow of half precision",
        )
