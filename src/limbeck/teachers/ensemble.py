"""Several teachers as one: `score = slope · sum over members m of w_m (s_m - mean_m) / std_m + bias`.

Design facts:
- Means and deviations are those of all development candidates together, constants of the ensemble. So a
  pair's score never depends on which pairs are asked with it (a normalisation by query would).
- Weights maximise the listwise softmax likelihood of the judged passages (ListNet: Cao et al., ICML 2007),
  are not negative, and are drawn to one another (L2 to their mean), so that few queries cannot tear them
  apart. The problem is convex: one answer, without a seed.
- Slope and bias make `sigmoid(score)` the probability that a candidate is judged relevant (Platt,
  "Probabilistic Outputs for Support Vector Machines", 1999). Relevant passages that nobody judged make it
  too low.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from limbeck.data import Rankings
from limbeck.errors import InputError
from limbeck.evaluation import evaluate_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from limbeck.data import Judgements
    from limbeck.teachers.base import Pair, Teacher

PULL = 1.0
FOLDS = 10
METRIC = "nDCG@10"
_RIDGE = 1e-3  # keeps the weights finite where the candidates are separated without error


class EnsembleTeacher:
    """The weighted sum of its members' standardised scores; see the module.

    Args:
        members: the teachers.
        weights: (members,), not negative.
        means: (members,), of each member's scores.
        stds: (members,), their standard deviations, positive.
        slope: what the sum is multiplied with.
        bias: what is added to that.

    Raises:
        InputError: for arrays of another length than the members, or values out of range.

    Example:
        >>> fit = fit_ensemble([scored.by_bm25, scored.by_encoder], judgements)
        >>> teacher = fit.teacher([bm25_teacher, encoder_teacher])
    """

    name = "ensemble"
    prompt = ""

    def __init__(
        self,
        members: Sequence[Teacher],
        weights: Sequence[float],
        means: Sequence[float],
        stds: Sequence[float],
        *,
        slope: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        self.members = tuple(members)
        self.weights, self.means, self.stds = (
            np.asarray(values, np.float64) for values in (weights, means, stds)
        )
        self.slope, self.bias = slope, bias
        for what, values in (("weights", self.weights), ("means", self.means), ("deviations", self.stds)):
            if values.shape != (len(self.members),) or not np.isfinite(values).all():
                raise InputError(
                    f"an ensemble of {len(self.members)} has the {what} {values.tolist()}",
                    expected="one finite number a member",
                )
        if not self.members or (self.weights < 0).any() or not (self.stds > 0).all() or not slope > 0:
            raise InputError(
                "an ensemble cannot be made of this",
                expected="members, weights of 0 or more, deviations and a slope above 0",
            )

    @property
    def version(self) -> str:
        """A hash of the members' identities and of all numbers."""
        digest = hashlib.blake2b(digest_size=8)
        for member in self.members:
            digest.update(f"{member.name}\0{member.version}\0{member.prompt}\0".encode())
        numbers = [*self.weights, *self.means, *self.stds, self.slope, self.bias]
        digest.update(np.array(numbers, "<f8").tobytes())
        return digest.hexdigest()

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """The scores (pairs,), logits; asks all members anew (`score_rankings` asks the cache)."""
        if not pairs:
            return np.zeros(0)
        return self.combine(np.stack([member.score(pairs) for member in self.members]))

    def combine(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The scores (pairs,) out of the members' (members, pairs)."""
        standard = (scores - self.means[:, None]) / self.stds[:, None]
        return np.asarray(self.slope * (self.weights @ standard) + self.bias, np.float64)


@dataclass(frozen=True)
class EnsembleFit:
    """What `fit_ensemble` found.

    Attributes:
        names: the members' names.
        weights: (members,).
        means: (members,).
        stds: (members,).
        slope: of the calibration.
        bias: of the calibration.
        member_ndcg: nDCG@10 of each member alone on the development queries, (members,).
        fitted_ndcg: nDCG@10 of the ensemble on the queries that it was fitted on: too good.
        held_out: the development candidates, the lists of each tenth of the queries scored by an ensemble
            that was fitted on the others: what the audit should see.
        held_out_ndcg: the nDCG@10 of `held_out`.
        queries: how many queries had a relevant candidate to learn from.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    slope: float
    bias: float
    member_ndcg: tuple[float, ...]
    fitted_ndcg: float
    held_out: Rankings
    held_out_ndcg: float
    queries: int

    def teacher(self, members: Sequence[Teacher]) -> EnsembleTeacher:
        """The ensemble of these members, given in the order in which their scores were."""
        return EnsembleTeacher(members, self.weights, self.means, self.stds, slope=self.slope, bias=self.bias)


def fit_ensemble(
    scored: Sequence[Rankings], judgements: Judgements, *, pull: float = PULL, folds: int = FOLDS
) -> EnsembleFit:
    """Fit weights and calibration on development queries.

    Args:
        scored: the development candidates with each member's scores: the same pairs in all.
        judgements: of the development queries.
        pull: strength of the L2 that draws the weights to their mean, against the sum of the queries'
        log-likelihoods.
        folds: parts of the cross-validation, at most one a query.

    Raises:
        InputError: when the pairs differ, or no query has both a relevant and another candidate.

    Example:
        >>> fit = fit_ensemble([by_bm25, by_encoder, by_cross_encoder], judgements)
        >>> fit.weights, fit.held_out_ndcg
        ((0.9, 1.4, 2.2), 0.561)
    """
    candidates = _Candidates.collect(scored, judgements)
    weights = candidates.fit_weights(candidates.learnable, pull)
    names = tuple(rankings.source for rankings in scored)
    if not weights.any():  # no member is any good: let all speak
        weights = np.ones(len(names))
    total = candidates.standard @ weights
    slope, bias = _platt(total, candidates.relevant)
    held_out = candidates.held_out(pull, folds)
    reference = scored[0].for_queries(candidates.query_ids)

    def ndcg(rankings: Rankings) -> float:
        return evaluate_run(rankings, candidates.judgements, [METRIC]).mean(METRIC)

    held_out_rankings = reference.rescored(held_out, "ensemble")
    return EnsembleFit(
        names=names,
        weights=tuple(weights.tolist()),
        means=tuple(candidates.means.tolist()),
        stds=tuple(candidates.stds.tolist()),
        slope=slope,
        bias=bias,
        member_ndcg=tuple(ndcg(rankings) for rankings in scored),
        fitted_ndcg=ndcg(reference.rescored(total, "ensemble")),
        held_out=held_out_rankings,
        held_out_ndcg=ndcg(held_out_rankings),
        queries=len(candidates.learnable),
    )


@dataclass(frozen=True)
class _Candidates:
    """The development candidates as arrays; rows of a query are together."""

    query_ids: list[str]
    ends: NDArray[np.int64]  # (queries + 1,) where each query's rows begin and end
    standard: NDArray[np.float64]  # (rows, members)
    target: NDArray[np.float64]  # (rows,) grades above 0, as a distribution over the rows of a query
    means: NDArray[np.float64]
    stds: NDArray[np.float64]
    judgements: Judgements

    @classmethod
    def collect(cls, scored: Sequence[Rankings], judgements: Judgements) -> _Candidates:
        if not scored:
            raise InputError("an ensemble of no members", expected="the scores of at least one teacher")
        query_ids = [query_id for query_id in scored[0].query_ids if query_id in judgements]
        columns: list[list[float]] = [[] for _ in scored]
        targets: list[float] = []
        ends = [0]
        for query_id in query_ids:
            passage_ids = scored[0].list_for(query_id).passage_ids
            grades = judgements.grades(query_id)
            gains = [max(0, grades.get(passage_id, 0)) for passage_id in passage_ids]
            targets += [gain / max(1, sum(gains)) for gain in gains]
            ends.append(ends[-1] + len(passage_ids))
            for column, rankings in zip(columns, scored, strict=True):
                column.extend(_aligned(rankings, query_id, passage_ids))
        raw = np.array(columns, np.float64).T.reshape(-1, len(scored))
        if not len(raw):
            raise InputError("no development query has candidates", remedy="mine the development queries")
        means, stds = raw.mean(axis=0), raw.std(axis=0)
        # A member that says the same of everything adds nothing; mean and deviation would be off by rounding.
        same = np.ptp(raw, axis=0) == 0
        means[same], stds[same] = raw[0, same], 1.0
        found = cls(
            query_ids,
            np.array(ends),
            (raw - means) / stds,
            np.array(targets),
            means,
            stds,
            judgements.subset(query_ids),
        )
        if not found.learnable:
            raise InputError(
                "no development query has a relevant passage among its candidates, beside others",
                remedy="mine deeper, or judge more development queries",
            )
        return found

    @property
    def relevant(self) -> NDArray[np.bool_]:
        """Which candidates are relevant, (rows,)."""
        return np.asarray(self.target > 0, bool)

    @property
    def learnable(self) -> list[int]:
        """The queries with a relevant and another candidate."""
        spans = [self.relevant[start:end] for start, end in zip(self.ends[:-1], self.ends[1:], strict=True)]
        return [query for query, span in enumerate(spans) if span.any() and not span.all()]

    def fit_weights(self, queries: Sequence[int], pull: float) -> NDArray[np.float64]:
        """The weights (members,) that explain these queries best; 0 for who says the same of everything."""
        lengths = np.diff(self.ends)[queries]
        rows = np.concatenate([np.arange(*self.ends[query : query + 2]) for query in queries])
        features, target = self.standard[rows], self.target[rows]
        starts = np.cumsum(lengths) - lengths

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            logits = features @ weights
            logits -= np.repeat(np.maximum.reduceat(logits, starts), lengths)  # the softmax does not change
            exponentials = np.exp(logits)
            sums = np.add.reduceat(exponentials, starts)
            apart = weights - weights.mean()
            value = np.log(sums).sum() - target @ logits + pull * apart @ apart + _RIDGE * weights @ weights
            gradient = features.T @ (exponentials / np.repeat(sums, lengths) - target)
            return float(value), gradient + 2 * pull * apart + 2 * _RIDGE * weights

        start = np.ones(self.standard.shape[1])
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start))
        return np.asarray(found.x * np.ptp(self.standard, axis=0).astype(bool), np.float64)

    def held_out(self, pull: float, folds: int) -> NDArray[np.float64]:
        """Scores (rows,), each query's by weights that were fitted on the queries of the other folds."""
        scores = np.zeros(len(self.standard))
        fold_of = np.arange(len(self.query_ids)) % max(2, min(folds, len(self.query_ids)))
        for fold in range(int(fold_of.max()) + 1):
            others = [query for query in self.learnable if fold_of[query] != fold]
            weights = self.fit_weights(others, pull) if others else np.ones(self.standard.shape[1])
            for query in np.flatnonzero(fold_of == fold):
                rows = slice(self.ends[query], self.ends[query + 1])
                scores[rows] = self.standard[rows] @ weights
        return scores


def _aligned(rankings: Rankings, query_id: str, passage_ids: Sequence[str]) -> list[float]:
    ranked = rankings.list_for(query_id)
    score_of = dict(zip(ranked.passage_ids, ranked.scores.tolist(), strict=True))
    if set(score_of) != set(passage_ids):
        raise InputError(
            f"the members of the ensemble scored different candidates for query '{query_id}'",
            expected="the same pairs in all rankings",
            remedy="score one set of candidates with every member",
        )
    return [score_of[passage_id] for passage_id in passage_ids]


def _platt(total: NDArray[np.float64], relevant: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope (above 0) and bias of a logistic regression of relevance on a score, with Platt's targets."""
    positives, negatives = int(relevant.sum()), int((~relevant).sum())
    target = np.where(relevant, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = parameters[0] * total + parameters[1]
        value = float((np.logaddexp(0, logits) - target * logits).mean())
        error = (expit(logits) - target) / len(total)
        return value, np.array([error @ total, error.sum()])

    start = np.array([1.0, np.log((positives + 1) / (negatives + 1))])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(1e-3, None), (None, None)])
    return float(found.x[0]), float(found.x[1])
