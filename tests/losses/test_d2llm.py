from __future__ import annotations

import math

import pytest
import torch

from limbeck.losses import (
    D2LLMLoss,
    InBatchCandidates,
    PairFeatureBatch,
    contrastive_imitation,
    feature_imitation,
    hard_easy_rank_imitation,
    in_batch_cross_entropy,
    rank_imitation,
)


def row(*values):
    return torch.tensor([values], dtype=torch.float64)


def real(rows, columns):
    return torch.ones(rows, columns, dtype=torch.bool)


def test_contrastive_imitation_by_hand():
    # u·z: 0.9·2 = 1.8, (1 - 0.8)·1 = 0.2, (1 - 0.1)·(-1) = -0.9; all over τ = 0.5
    scaled = [3.6, 0.4, -1.8]
    expected = math.log(sum(map(math.exp, scaled))) - 3.6
    found = contrastive_imitation(row(2, 1, -1), row(0.9, 0.8, 0.1), real(1, 3), temperature=0.5)
    assert float(found) == pytest.approx(expected)


def test_a_negative_that_the_teacher_likes_is_pushed_less():
    student = torch.zeros(1, 3, requires_grad=True)
    contrastive_imitation(student, torch.tensor([[0.9, 0.8, 0.1]]), real(1, 3)).backward()
    _, liked, disliked = student.grad[0].tolist()
    assert 0 < liked < disliked


def test_contrastive_imitation_skips_a_row_without_its_positive():
    student, teacher, mask = torch.randn(2, 3), torch.rand(2, 3), real(2, 3)
    mask[1, 0] = False
    found = contrastive_imitation(student, teacher, mask)
    torch.testing.assert_close(found, contrastive_imitation(student[:1], teacher[:1], mask[:1]))


def test_rank_imitation_by_hand():
    # z = 1 2 4 (mean 7/3), s = 0.1 0.2 0.9 (mean 0.4)
    z, s = [1 - 7 / 3, 2 - 7 / 3, 4 - 7 / 3], [-0.3, -0.2, 0.5]
    covariance = sum(a * b for a, b in zip(z, s, strict=True))
    correlation = covariance / math.sqrt(sum(a * a for a in z) * sum(b * b for b in s))
    found = rank_imitation(row(1, 2, 4), row(0.1, 0.2, 0.9), real(1, 3))
    assert float(found) == pytest.approx(1 - correlation, abs=1e-6)


def test_rank_imitation_ranges_from_agreement_to_its_opposite():
    teacher = row(0.1, 0.2, 0.9)
    assert float(rank_imitation(4 * teacher - 3, teacher, real(1, 3))) == pytest.approx(0, abs=1e-6)
    assert float(rank_imitation(-teacher, teacher, real(1, 3))) == pytest.approx(2, abs=1e-4)


def test_rank_imitation_sees_the_order_of_very_small_scores():
    student, teacher = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1e-30, 2e-30, 3e-30]])
    assert float(rank_imitation(student, teacher, real(1, 3))) == pytest.approx(0, abs=1e-5)


def hard_easy(student_hard, student_easy, teacher_hard, teacher_easy, mask_hard=None, mask_easy=None):
    return hard_easy_rank_imitation(
        student_hard,
        student_easy,
        teacher_hard=teacher_hard,
        teacher_easy=teacher_easy,
        mask_hard=real(*student_hard.shape) if mask_hard is None else mask_hard,
        mask_easy=real(*student_easy.shape) if mask_easy is None else mask_easy,
    )


def test_hard_easy_by_hand():
    # hard z 1, 0 with s 0.6, 0.1; easy z 0.5 with s 0.2: pair (1, 0.5) weighs 0.4, pair (0, 0.5) nothing
    expected = 0.4 * math.log(1 + math.exp(-0.5)) / 2
    assert float(hard_easy(row(1, 0), row(0.5), row(0.6, 0.1), row(0.2))) == pytest.approx(expected)


def test_hard_easy_ignores_padding_and_rows_without_pairs():
    student_hard = torch.tensor([[1.0, 7.0], [2.0, 3.0]], requires_grad=True)
    student_easy = torch.tensor([[0.5, 9.0], [1.0, 1.0]], requires_grad=True)
    teacher_hard, teacher_easy = (
        torch.tensor([[0.6, 0.9], [0.9, 0.9]]),
        torch.tensor([[0.2, 0.0], [0.1, 0.1]]),
    )
    mask_hard = torch.tensor([[True, False], [True, True]])
    mask_easy = torch.tensor([[True, False], [False, False]])
    loss = hard_easy(student_hard, student_easy, teacher_hard, teacher_easy, mask_hard, mask_easy)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.4 * math.log(1 + math.exp(-0.5)))
    for gradient in (student_hard.grad, student_easy.grad):
        assert gradient[0, 0] != 0
        assert gradient[0, 1] == 0
        assert gradient[1].eq(0).all()


def test_hard_easy_gradient():
    generator = torch.Generator().manual_seed(0)
    hard = torch.randn(2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    easy = torch.randn(2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.rand(2, 7, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True, True, False, True], [True, True, True, True]])
    assert torch.autograd.gradcheck(
        lambda a, b: hard_easy(a, b, teacher[:, :3], teacher[:, 3:], mask_easy=mask), [hard, easy]
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_hard_easy_in_half_precision(dtype):
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand(2, 3, generator=generator).to(dtype) for _ in range(4)]
    loss = hard_easy(*inputs)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, hard_easy(*(tensor.float() for tensor in inputs)))


def test_feature_imitation_by_hand():
    # Teacher: cosines 0.6 (0, 1), 0 (0, 2), 0.8 (1, 2); student: 1, 0, 0. Two hard negatives, so K² = 4.
    teacher = torch.tensor([[[2.0, 0.0], [0.6, 0.8], [0.0, 3.0]]], dtype=torch.float64)
    student = torch.tensor([[[1.0, 0, 0], [5.0, 0, 0], [0, 0, 2.0]]], dtype=torch.float64)
    expected = 2 * (0.4**2 + 0.0**2 + 0.8**2) / 4
    assert float(feature_imitation(student, teacher, real(1, 3))) == pytest.approx(expected, abs=1e-7)


def brute_feature_imitation(student, teacher, mask):
    values = []
    for row in range(len(mask)):
        listed = [at for at in range(mask.shape[1]) if mask[row, at]]
        if not mask[row, 0] or len(listed) < 2:
            continue
        total = 0.0
        for i in listed:
            for j in listed:
                cosines = [
                    torch.nn.functional.cosine_similarity(side[row, i], side[row, j], dim=0)
                    for side in (teacher, student)
                ]
                total += float(cosines[0] - cosines[1]) ** 2
        values.append(total / (len(listed) - 1) ** 2)
    return sum(values) / max(1, len(values))


@pytest.mark.parametrize("seed", range(5))
def test_feature_imitation_against_brute_force(seed):
    generator = torch.Generator().manual_seed(seed)
    student = torch.rand(4, 5, 3, generator=generator, dtype=torch.float64)
    teacher = torch.randn(4, 5, 7, generator=generator, dtype=torch.float64)
    mask = torch.rand(4, 5, generator=generator) < 0.6
    mask[0] = torch.tensor([True, False, False, False, False])
    found = feature_imitation(student, teacher, mask)
    assert float(found) == pytest.approx(brute_feature_imitation(student, teacher, mask), abs=1e-6)


def test_feature_imitation_gradient_and_padding():
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert torch.autograd.gradcheck(lambda features: feature_imitation(features, teacher, mask), [student])
    teacher[0, 2] = torch.nan
    feature_imitation(student, teacher, mask).backward()
    assert student.grad.isfinite().all()
    assert student.grad[0, 2].eq(0).all()
    assert student.grad[0, 1].ne(0).any()


def test_feature_imitation_of_silent_features_is_finite():
    student = torch.zeros(1, 3, 4, requires_grad=True)
    loss = feature_imitation(student, torch.ones(1, 3, 2, dtype=torch.float16), real(1, 3))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(9 / 4, abs=1e-3)
    assert student.grad.isfinite().all()


def test_feature_imitation_is_one_part_of_the_sum():
    student, teacher, mask = lists()
    generator = torch.Generator().manual_seed(2)
    features = PairFeatureBatch(
        torch.rand(2, 3, 4, generator=generator), torch.rand(2, 3, 5, generator=generator)
    )
    value = D2LLMLoss(feature_weight=0.1)(student, teacher, mask, features=features)
    part = feature_imitation(features.student, features.teacher, mask)
    torch.testing.assert_close(value.parts["feature_imitation"], part)
    without = D2LLMLoss()(student, teacher, mask, features=features)
    assert "feature_imitation" not in without.parts
    torch.testing.assert_close(value.total, without.total + 0.1 * part)


def test_features_of_other_lists_are_refused(refused):
    refused(lambda: feature_imitation(torch.ones(1, 2, 3), torch.ones(1, 3, 3), real(1, 2)), "have shapes")


def in_batch(teacher=True):
    generator = torch.Generator().manual_seed(5)
    mask = real(2, 4)
    mask[0, 3] = False
    return InBatchCandidates(
        logits=torch.randn(2, 4, generator=generator),
        target=torch.tensor([0, 1]),
        mask=mask,
        teacher=torch.rand(2, 4, generator=generator) if teacher else None,
    )


def lists():
    generator = torch.Generator().manual_seed(6)
    return torch.randn(2, 3, generator=generator), torch.rand(2, 3, generator=generator), real(2, 3)


def test_the_sum_is_weighted_by_name():
    student, teacher, mask = lists()
    candidates = in_batch()
    value = D2LLMLoss(contrastive_weight=2, rank_weight=3, hard_easy_weight=5, in_batch_weight=7)(
        student, teacher, mask, candidates
    )
    easy = candidates.mask.clone()
    easy[0, 0] = easy[1, 1] = False  # the positives are no negatives
    expected = {
        "contrastive_imitation": (2, contrastive_imitation(student, teacher, mask)),
        "rank_imitation": (3, rank_imitation(student, teacher, mask)),
        "in_batch_cross_entropy": (
            7,
            in_batch_cross_entropy(candidates.logits, candidates.target, candidates.mask),
        ),
        "hard_easy_rank_imitation": (
            5,
            hard_easy(student[:, 1:], candidates.logits, teacher[:, 1:], candidates.teacher, mask_easy=easy),
        ),
    }
    assert value.parts.keys() == expected.keys()
    for name, (_, part) in expected.items():
        torch.testing.assert_close(value.parts[name], part)
    torch.testing.assert_close(value.total, sum(weight * part for weight, part in expected.values()))


def test_published_weights_are_the_default():
    loss = D2LLMLoss()
    weights = (loss.contrastive_weight, loss.rank_weight, loss.hard_easy_weight, loss.in_batch_weight)
    assert weights == (1.0, 1.0, 0.01, 1.0)


def test_parts_that_cannot_or_shall_not_take_part_are_absent():
    student, teacher, mask = lists()
    assert set(D2LLMLoss()(student, teacher, mask).parts) == {"contrastive_imitation", "rank_imitation"}
    with_candidates = D2LLMLoss(rank_weight=0)(student, teacher, mask, in_batch(teacher=False))
    assert set(with_candidates.parts) == {"contrastive_imitation", "in_batch_cross_entropy"}


def test_a_loss_without_parts_still_goes_back():
    student, teacher, mask = lists()
    student.requires_grad_()
    value = D2LLMLoss(contrastive_weight=0, rank_weight=0)(student, teacher, mask)
    value.total.backward()
    assert value.total == 0
    assert not value.parts


def test_unknown_teacher_scores_in_the_batch_do_not_count():
    student, teacher, mask = lists()
    full = in_batch()
    scores = full.teacher.clone()
    scores[:, 2] = torch.nan
    known = real(2, 4)
    known[:, 2] = False
    partly = InBatchCandidates(full.logits, full.target, full.mask, scores, known)
    assert D2LLMLoss()(student, teacher, mask, partly).total.isfinite()
