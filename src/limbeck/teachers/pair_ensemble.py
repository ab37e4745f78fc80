"""Several teachers of pairs as one, fitted on labelled dev pairs.

Design facts:
- The numbers are those of `EnsembleTeacher`: a weighted sum of standardised member scores, weights of 0 or
  more. For graded labels the weights are those of non-negative least squares on the labels (Lawson & Hanson
  1974); for binary ones they maximise the logistic likelihood.
- Slope and bias make `sigmoid(score)` the expected label (Platt 1999, with labels between 0 and 1 as well).
- What the audit looks at is held out: each pair's score comes from a fit on the other folds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from scipy.special import expit

from limbeck.errors import InputError

Kind = Literal["graded", "binary"]

FOLDS = 10
_RIDGE = 1e-3  # keeps weights and slope finite where pairs are separated without error


@dataclass(frozen=True)
class PairEnsembleFit:
    """The numbers of an `EnsembleTeacher` for pairs.

    Attributes:
        weights: (members,), not negative.
        means: (members,), of each member's scores.
        stds: (members,), their standard deviations.
        slope: what the weighted sum is multiplied with.
        bias: what is added to that.
        held_out: the ensemble's scores of the pairs it was fitted on, each by a fit without it (pairs,);
            of one member its own scores, whose order no fit changes.
    """

    weights: list[float]
    means: list[float]
    stds: list[float]
    slope: float
    bias: float
    held_out: NDArray[np.float64]


def fit_pair_ensemble(
    scores: NDArray[np.float64],
    targets: NDArray[np.float64],
    kind: Kind,
    *,
    name: str = "the pairs",
    seed: int = 0,
) -> PairEnsembleFit:
    """Weights for the members, and a calibrated logit.

    Args:
        scores: of the members (members, pairs), on labelled pairs that no member learned from.
        targets: labels from 0 to 1 (pairs,).
        kind: `"graded"` or `"binary"`.
        name: of the set, for messages.
        seed: of the folds.

    Raises:
        InputError: a member gives all pairs the same score; or no member goes with the labels, so that every
            weight is 0: such an ensemble scores all pairs alike, and nothing can be learnt from it.

    Example:
        >>> scores, targets = np.array([[-2.0, 0.0, 1.0, 3.0]]), np.array([0.0, 0.2, 0.7, 1.0])
        >>> fit = fit_pair_ensemble(scores, targets, "graded")
        >>> fit.weights
        [1.0]
    """
    _require_spread(scores, name)
    numbers = _fitted(scores, targets, kind)
    if numbers is None:
        raise _against_the_labels(scores, targets, name)
    count = scores.shape[1]
    if len(scores) == 1:  # no weight is fitted, and a slope above 0 leaves the order as it is
        return _fit(numbers, numbers.combined(scores))
    fold = np.random.default_rng(seed).permutation(count) % min(FOLDS, count)
    held_out = np.empty(count)
    for number in range(int(fold.max()) + 1):
        out = fold == number
        # A fold without which nothing is left to tell apart says nothing; the whole fit stands in. So it does
        # where no member goes with the labels of the others.
        rest, part = scores[:, ~out], targets[~out]
        enough = len(part) > len(scores) and np.ptp(part) > 0 and bool(np.ptp(rest, axis=1).all())
        fitted = _fitted(rest, part, kind) if enough else None
        held_out[out] = (fitted or numbers).combined(scores[:, out])
    return _fit(numbers, held_out)


def calibration(scores: NDArray[Any], targets: NDArray[Any]) -> tuple[float, float]:
    """Slope (above 0) and bias that make `sigmoid(slope · score + bias)` the expected target.

    They maximise the likelihood of the targets, which lie between 0 and 1. Scores that do not rise with the
    targets have no such slope; they get the slope 1 and the bias of the mean target.

    Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999.

    Args:
        scores: (pairs,).
        targets: (pairs,).
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(targets, np.float64)
    spread = float(values.std())
    if np.ptp(values) > 0:
        (slope,), bias = _logistic(((values - values.mean()) / spread)[None], truth, bounded=False)
        if slope > 0:
            slope /= spread
            return float(slope), float(bias - slope * values.mean())
    return 1.0, levelling(values, truth)


def levelling(scores: NDArray[Any], targets: NDArray[Any]) -> float:
    """The bias with which scores, as wide as they are, have the logit of the mean target as their mean.

    Args:
        scores: (pairs,).
        targets: (pairs,), from 0 to 1.
    """
    mean = float(np.clip(np.mean(targets), 1e-6, 1 - 1e-6))
    return float(np.log(mean / (1 - mean)) - np.mean(scores))


class _Numbers(NamedTuple):
    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    stds: NDArray[np.float64]
    slope: float
    bias: float

    def combined(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The ensemble's scores (pairs,) out of those of the members (members, pairs)."""
        standardised = (scores - self.means[:, None]) / self.stds[:, None]
        return np.asarray(self.slope * (self.weights @ standardised) + self.bias)


def _fit(numbers: _Numbers, held_out: NDArray[np.float64]) -> PairEnsembleFit:
    weights, means, stds = (part.tolist() for part in (numbers.weights, numbers.means, numbers.stds))
    return PairEnsembleFit(weights, means, stds, numbers.slope, numbers.bias, held_out)


def _require_spread(scores: NDArray[np.float64], name: str) -> None:
    spreads = np.ptp(scores, axis=1)  # a deviation may be rounded to something above 0
    if not (spreads > 0).all():
        raise InputError(
            f"{name}: member {int(np.argmin(spreads)) + 1} of the teacher gives all dev pairs the same score",
            expected="scores that differ",
            remedy="leave the member out, or name another",
        )


def _against_the_labels(scores: NDArray[np.float64], targets: NDArray[np.float64], name: str) -> InputError:
    found = (np.corrcoef(one, targets)[0, 1] for one in scores)
    told = ", ".join(f"{value:+.2f} of member {number}" for number, value in enumerate(found, start=1))
    return InputError(
        f"{name}: no member of the teacher goes with the labels of the dev pairs (correlation {told}): with "
        "weights of 0 it would score all pairs alike and teach nothing, with --anyway too",
        expected="a member whose scores rise with the labels",
        remedy="see that `labels` says which end or class is positive, and that the `prompt` of an LLM names "
        "the right words under yes and no; else fine-tune a member on the labels, or name another",
    )


def _fitted(scores: NDArray[np.float64], targets: NDArray[np.float64], kind: Kind) -> _Numbers | None:
    """The numbers of the ensemble; None where every weight is 0. No member gives all pairs the same score."""
    means, stds = scores.mean(axis=1), scores.std(axis=1)
    standardised = (scores - means[:, None]) / stds[:, None]
    if kind == "graded":
        weights, _ = nnls(standardised.T, targets - targets.mean())
    else:
        weights, _ = _logistic(standardised, targets, bounded=True)
    if not weights.sum() > 0:
        return None
    weights = weights / weights.sum()
    slope, bias = calibration(weights @ standardised, targets)
    return _Numbers(weights, means, stds, slope, bias)


def _logistic(
    inputs: NDArray[np.float64], targets: NDArray[np.float64], *, bounded: bool
) -> tuple[NDArray[np.float64], float]:
    """Coefficients (inputs,) and intercept of the likeliest logistic model; inputs are (inputs, pairs)."""

    def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = point[:-1] @ inputs + point[-1]
        value = np.mean(np.logaddexp(0, logits) - targets * logits) + _RIDGE / 2 * point[:-1] @ point[:-1]
        off = (expit(logits) - targets) / len(targets)
        return float(value), np.append(inputs @ off + _RIDGE * point[:-1], off.sum())

    limits = [(0.0 if bounded else None, None)] * len(inputs) + [(None, None)]
    found = minimize(loss, np.zeros(len(inputs) + 1), jac=True, bounds=limits, method="L-BFGS-B")
    return found.x[:-1], float(found.x[-1])
