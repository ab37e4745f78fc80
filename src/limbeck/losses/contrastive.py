"""Losses that tell the right passage of a query from the other passages of the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses._lists import masked, mean_over, positive_temperature, widened, without_padding


def in_batch_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of each query's own passage among the candidates of the batch.

    A row that has no other candidate, or whose target is masked, contributes nothing.

    Source: van den Oord et al. 2018, arXiv 1807.03748, equation 4 (InfoNCE).

    Args:
        logits: (batch, candidates).
        target: the column of each row's positive (batch,), integers.
        mask: True for a real candidate (batch, candidates).
        temperature: divides the logits.

    Raises:
        InputError: shapes that do not fit, or a temperature that is not above 0.

    Example:
        >>> logits, everything = torch.zeros(2, 4), torch.ones(2, 4, dtype=torch.bool)
        >>> round(float(in_batch_cross_entropy(logits, torch.tensor([0, 1]), everything)), 4)  # log 4
        1.3863
    """
    if logits.ndim != 2 or target.shape != logits.shape[:1]:
        raise InputError(
            f"logits have shape {tuple(logits.shape)} and targets {tuple(target.shape)}",
            expected="logits (batch, candidates) and targets (batch,)",
        )
    scaled = without_padding(masked(logits, mask) / positive_temperature(temperature), mask)
    column = target.unsqueeze(1)
    loss = scaled.logsumexp(1) - scaled.gather(1, column).squeeze(1)
    return mean_over(loss, mask.gather(1, column).squeeze(1) & (mask.sum(1) >= 2))


def in_batch_contrastive(
    queries: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    mask: Tensor | None = None,
    temperature: float = 0.05,
) -> Tensor:
    """InfoNCE on cosines: each query against its positive, the others' positives and the extra negatives.

    Source: Karpukhin et al. 2020, arXiv 2004.04906, section 3.2 (in-batch negatives); temperature as van den
    Oord et al. 2018, arXiv 1807.03748.

    Args:
        queries: vectors (batch, dim).
        positives: vectors (batch, dim); row i belongs to query i.
        negatives: more negatives for every query (extra, dim), hard ones for example.
        mask: (batch, batch + extra), False where a candidate must not count as a negative of a query, for
            it is the same passage as the positive or known to be relevant; `distinct_candidates` makes it.
        temperature: divides the cosines.

    Example:
        >>> vectors = torch.eye(3)
        >>> float(in_batch_contrastive(vectors, vectors)) < 1e-6
        True
    """
    shapes = [tuple(vectors.shape) for vectors in (queries, positives, negatives) if vectors is not None]
    if queries.ndim != 2 or queries.shape != positives.shape or shapes[-1][1:] != shapes[0][1:]:
        raise InputError(
            f"queries, positives and negatives have shapes {shapes}",
            expected="queries and positives (batch, dim), negatives (extra, dim)",
        )
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    # Autocast would put the product in half precision, whose steps near 1 are coarser than a temperature of
    # 0.05 can bear.
    with torch.autocast(queries.device.type, enabled=False):
        cosines = functional.normalize(widened(queries)) @ functional.normalize(widened(candidates)).T
    rows = torch.arange(len(queries), device=queries.device)
    if mask is None:
        mask = torch.ones_like(cosines, dtype=torch.bool)
    return in_batch_cross_entropy(cosines, rows, mask, temperature)


def distinct_candidates(positive_keys: Tensor, candidate_keys: Tensor) -> Tensor:
    """The mask for candidates of which some are the same passage as a row's positive.

    Args:
        positive_keys: a number for each row's positive (batch,), its row in the corpus for example.
        candidate_keys: the same for all candidates (batch + extra,), the positives first.

    Returns:
        (batch, batch + extra), False where candidate j is another copy of the positive of row i.

    Example:
        >>> distinct_candidates(torch.tensor([7, 8, 7]), torch.tensor([7, 8, 7, 8])).int().tolist()
        [[1, 1, 0, 1], [1, 1, 1, 0], [0, 1, 1, 1]]
    """
    different = positive_keys.unsqueeze(1) != candidate_keys.unsqueeze(0)
    rows = torch.arange(len(positive_keys), device=different.device)
    different[rows, rows] = True
    return different
