from __future__ import annotations

import math

import pytest
import torch

from limbeck.errors import InputError
from limbeck.losses import distinct_candidates, in_batch_contrastive, in_batch_cross_entropy


def test_cross_entropy_by_hand():
    logits = torch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 5.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    first = math.log(math.e + 1 + math.e**3) - 1
    second = math.log(1 + math.e**2) - 2
    found = in_batch_cross_entropy(logits, torch.tensor([0, 1]), mask)
    assert float(found) == pytest.approx((first + second) / 2)


def test_cross_entropy_skips_rows_without_a_contest():
    logits = torch.randn(3, 4, requires_grad=True)
    mask = torch.tensor([[True] * 4, [True, False, False, False], [False, True, True, True]])
    # row 1 has its target alone, row 2 has its target masked
    loss = in_batch_cross_entropy(logits, torch.tensor([2, 0, 0]), mask)
    loss.backward()
    torch.testing.assert_close(loss, in_batch_cross_entropy(logits[:1], torch.tensor([2]), mask[:1]))
    assert logits.grad[1:].eq(0).all()


def test_contrastive_by_hand():
    queries = torch.tensor([[2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    positives = torch.tensor([[3.0, 4.0], [0.0, 1.0]], dtype=torch.float64)  # cosines 0.6 0 / 0.8 1
    negatives = torch.tensor([[-1.0, 0.0]], dtype=torch.float64)  # cosines -1 / 0
    first = math.log(math.exp(1.2) + math.exp(0) + math.exp(-2)) - 1.2
    second = math.log(math.exp(1.6) + math.exp(2) + math.exp(0)) - 2
    found = in_batch_contrastive(queries, positives, negatives, temperature=0.5)
    assert float(found) == pytest.approx((first + second) / 2)


def test_contrastive_leaves_out_what_the_mask_names():
    generator = torch.Generator().manual_seed(1)
    queries, positives = torch.randn(2, 3, 4, generator=generator)
    positives[2] = positives[0]
    mask = distinct_candidates(torch.tensor([4, 5, 4]), torch.tensor([4, 5, 4]))
    found = in_batch_contrastive(queries, positives, mask=mask)
    cosines = torch.nn.functional.cosine_similarity(queries[:, None], positives[None], dim=2) / 0.05
    rows = [
        float(torch.logsumexp(cosines[i, kept], 0) - cosines[i, i])
        for i, kept in enumerate([[0, 1], [0, 1, 2], [1, 2]])
    ]
    assert float(found) == pytest.approx(sum(rows) / 3, rel=1e-4)


def test_contrastive_gradient():
    generator = torch.Generator().manual_seed(2)
    inputs = [torch.randn(rows, 3, generator=generator, dtype=torch.float64) for rows in (3, 3, 2)]
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[0, 1] = mask[2, 4] = False
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(lambda q, p, n: in_batch_contrastive(q, p, n, mask, 0.5), inputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_contrastive_is_computed_in_float32_also_under_autocast(dtype):
    generator = torch.Generator().manual_seed(3)
    queries, positives = torch.randn(2, 6, 8, generator=generator).to(dtype)
    queries.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = in_batch_contrastive(queries, positives)
    found.backward()
    torch.testing.assert_close(found, in_batch_contrastive(queries.detach().float(), positives.float()))
    assert queries.grad.dtype == dtype
    assert queries.grad.isfinite().all()


def test_order_of_the_batch_does_not_matter():
    generator = torch.Generator().manual_seed(4)
    queries, positives = torch.randn(2, 5, 3, generator=generator)
    order = torch.tensor([3, 1, 4, 0, 2])
    found = in_batch_contrastive(queries[order], positives[order])
    torch.testing.assert_close(found, in_batch_contrastive(queries, positives))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="queries, positives and negatives"):
        in_batch_contrastive(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(1, 4))
    with pytest.raises(InputError, match="targets"):
        in_batch_cross_entropy(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long), torch.ones(2, 3).bool())
