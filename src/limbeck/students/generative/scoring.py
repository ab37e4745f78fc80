"""How much an identifier says about a passage: its probability for the query against its corpus frequency.

With `L` the log-probability of an identifier given the query and `F` the logarithm of its smoothed corpus
frequency, `w = max(0, (L + log(1 - e^F)) - (F + log(1 - e^L)))²`: the log-odds that the query makes it, over
the log-odds that the corpus does (Bevilacqua et al., "Autoregressive Search Engines", NeurIPS 2022, section
3.3; the square as in the published code).

All functions are pure and differentiable.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: What is added to every count, and to the number of tokens.
SMOOTHING = 5.0
#: A certain identifier would have infinite odds; a log-probability counts as at most this.
CERTAIN = -1e-5
#: Added to the log-probability of pseudo-queries: they are longer than the other identifiers, and so less
#: probable as a whole. In the published code.
PSEUDO_QUERY_BONUS = 14.0
#: What the sum is capped at. In the published code.
PSEUDO_QUERY_CAP = -1.0


def log_frequencies(counts: Tensor, token_count: int) -> Tensor:
    """`F = log((count + 5) / (tokens + 5))`, in the precision of float64.

    Args:
        counts: occurrences of identifiers, any shape.
        token_count: tokens in the index.

    Example:
        >>> log_frequencies(torch.tensor([5]), 15).exp().tolist()
        [0.5]
    """
    return torch.log((counts.double() + SMOOTHING) / (token_count + SMOOTHING)).clamp_max(CERTAIN)


def identifier_weights(
    log_probabilities: Tensor,
    frequencies: Tensor,
    *,
    bonus: Tensor | float = 0.0,
    cap: Tensor | float = 0.0,
    squared: bool = True,
) -> Tensor:
    """The weight of identifiers, `w(i, q)`.

    Args:
        log_probabilities: `L`, of the tokens without markers, any shape; ≤ 0.
        frequencies: `F`, of the same shape, see `log_frequencies`.
        bonus: added to `L`; of the same shape, or one number.
        cap: what `L` with its bonus is at most.
        squared: False for unigrams.

    Returns:
        Not negative, of the same shape and the wider of the two types.

    Example:
        >>> odds = torch.tensor([0.5, 0.2]).log()  # of 1 and 1/4
        >>> identifier_weights(odds[:1], odds[1:], squared=False).exp().tolist()
        [4.0]
    """
    cap = torch.as_tensor(cap, dtype=log_probabilities.dtype, device=log_probabilities.device)
    raised = torch.minimum(log_probabilities + bonus, cap.clamp_max(CERTAIN))
    weights = (log_odds(raised) - log_odds(frequencies)).clamp_min(0)
    return weights.square() if squared else weights


def log_odds(log_probabilities: Tensor) -> Tensor:
    """`log(p / (1 - p))` of `log p` < 0, exact at both ends.

    `log(1 - e^x)` loses its digits where `e^x` nears 0 or 1; either end has a form of its own (Mächler,
    "Accurately computing log(1 - exp(-|a|))", 2012).
    """
    near_one = log_probabilities > -math.log(2)
    # Each branch computes only what it may: an infinite value that is not chosen still spoils the gradient.
    large = torch.where(near_one, log_probabilities, -1.0)
    small = torch.where(near_one, -1.0, log_probabilities)
    complement = torch.where(near_one, torch.log(-torch.expm1(large)), torch.log1p(-torch.exp(small)))
    return log_probabilities - complement
