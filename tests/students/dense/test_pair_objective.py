"""Lists of pairs, and what a student minimises on them, against values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from limbeck.data import Passage, Passages
from limbeck.errors import InputError
from limbeck.losses import contrastive_imitation, hard_easy_rank_imitation, in_batch_cross_entropy
from limbeck.students.dense.objective import ScoredBatch
from limbeck.students.dense.pair_lists import PairCollator, pair_dataset
from limbeck.students.dense.pair_objective import PairObjective, PairWeights
from limbeck.students.dense.student import DenseStudent

#: Two lists over six texts: first and labelled text, two neighbours, one at random; a neighbour is missing.
LISTS = np.array([[0, 1, 2, 3, 4], [1, 5, 0, -1, 2]])
SCORES = np.array([[2.0, 1.0, -1.0, -3.0], [-1.0, 0.5, 0.0, -2.0]])
GOLD = np.array([0.9, 0.2])
NOTHING = dict.fromkeys(
    ("pointwise", "labels", "batch_rank", "rank", "contrastive", "in_batch", "hard_easy"), 0.0
)


@pytest.fixture
def student(tiny_encoder_path: Path) -> DenseStudent:
    return DenseStudent.start(str(tiny_encoder_path), heads=4, hidden=16, features=8, device="cpu")


@pytest.fixture
def scored(student: DenseStudent, tmp_path: Path) -> ScoredBatch:
    return batch_of(student, tmp_path, GOLD)


def batch_of(student: DenseStudent, tmp_path: Path, gold: np.ndarray) -> ScoredBatch:
    texts = ("cat", "dog", "bird", "fish", "sea", "city")
    table = Passages.write(
        tmp_path / "texts.arrow", (Passage(str(row), text) for row, text in enumerate(texts))
    )
    rows = list(pair_dataset(LISTS, SCORES, gold, neighbours=2))
    targets = PairCollator(student.model, table)(rows)["label"]
    pool = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    return ScoredBatch(pool.gather(1, targets.lists), pool, targets)


def part(scored: ScoredBatch, name: str, **options: float) -> float:
    parts = PairObjective(PairWeights(**(NOTHING | {name: 1.0})), **options)(scored)
    assert list(parts) == [f"{name}_loss"]
    parts[f"{name}_loss"].backward(retain_graph=True)  # every part has a gradient
    return parts[f"{name}_loss"].item()


def test_a_batch_lays_lists_over_one_pool(scored: ScoredBatch):
    targets = scored.targets
    # The pool, in the order in which the lists name them: 1 2 3 4 5 0.
    assert targets.lists.tolist() == [[0, 1, 2], [4, 5, 0]]
    assert targets.mask.tolist() == [[True, True, True], [True, True, False]]
    assert targets.teacher.tolist() == [[2.0, 1.0, -1.0], [-1.0, 0.5, 0.0]]
    assert targets.pool_teacher.nonzero().tolist() == [[0, 3], [1, 1]]
    assert targets.gold.tolist() == pytest.approx([0.9, 0.2])
    # Not among the negatives: the text itself, its neighbours, and what it is labelled with in either order.
    assert targets.candidates.int().tolist() == [[1, 0, 0, 1, 1, 0], [0, 1, 1, 1, 1, 0]]


def test_pointwise_and_labels_are_cross_entropies_of_scaled_logits(scored: ScoredBatch):
    student = torch.sigmoid(0.5 * scored.pool.detach() - 0.3)
    at = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (1, 1)]
    taught = torch.sigmoid(torch.tensor([2.0, 1.0, -1.0, -3.0, -1.0, 0.5, -2.0]))
    expected = binary_cross_entropy(torch.stack([student[place] for place in at]), taught)
    assert part(scored, "pointwise", scale=0.5, bias=-0.3) == pytest.approx(float(expected), rel=1e-5)
    labelled = torch.stack([student[0, 0], student[1, 4]])
    expected = binary_cross_entropy(labelled, torch.tensor([0.9, 0.2]))
    assert part(scored, "labels", scale=0.5, bias=-0.3) == pytest.approx(float(expected), rel=1e-5)


def test_orders_are_correlations(scored: ScoredBatch):
    logits = scored.pool.detach().double()
    first = np.corrcoef(logits[0, :3], torch.sigmoid(torch.tensor([2.0, 1.0, -1.0])))[0, 1]
    second = np.corrcoef(logits[1, 4:], torch.sigmoid(torch.tensor([-1.0, 0.5])))[0, 1]
    assert part(scored, "rank") == pytest.approx(1 - (first + second) / 2, abs=1e-4)
    rising = bool(logits[0, 0] > logits[1, 4])  # two pairs lie on a line, up or down
    assert part(scored, "batch_rank") == pytest.approx(0 if rising else 2, abs=1e-3)


def test_parts_with_a_positive_take_the_lists_that_have_one(scored: ScoredBatch):
    targets, taught = scored.targets, torch.sigmoid(scored.targets.teacher)
    one = slice(0, 1)
    expected = contrastive_imitation(scored.lists[one], taught[one], targets.mask[one], 2.0)
    assert part(scored, "contrastive", temperature=2.0) == pytest.approx(float(expected))
    expected = in_batch_cross_entropy(scored.pool[one], torch.tensor([0]), targets.candidates[one])
    assert part(scored, "in_batch") == pytest.approx(float(expected))
    assert part(scored, "in_batch", positive_from=1.0) == 0
    expected = hard_easy_rank_imitation(
        scored.lists[:, 1:],
        scored.pool,
        teacher_hard=taught[:, 1:],
        teacher_easy=torch.sigmoid(targets.pool_teacher),
        mask_hard=targets.mask[:, 1:],
        mask_easy=targets.pool_teacher_mask,
    )
    assert part(scored, "hard_easy") == pytest.approx(float(expected))


def test_a_list_without_a_label_has_part_in_what_the_teacher_says_alone(
    scored: ScoredBatch, student: DenseStudent, tmp_path: Path
):
    half = batch_of(student, tmp_path, np.array([0.9, np.nan]))
    for name in ("pointwise", "batch_rank", "rank", "hard_easy", "contrastive", "in_batch"):
        assert part(half, name) == part(scored, name)
    # A mean over both lists, one of which has no label to differ from.
    logit = torch.sigmoid(half.pool.detach()[0, 0])
    expected = float(binary_cross_entropy(logit, torch.tensor(0.9))) / 2
    half.pool.grad = None
    assert part(half, "labels") == pytest.approx(expected, rel=1e-5)
    assert half.pool.grad.nonzero().tolist() == [[0, 0]]
    none = batch_of(student, tmp_path, np.array([np.nan, np.nan]))
    for name in ("labels", "contrastive", "in_batch"):
        assert part(none, name) == 0
    assert part(none, "pointwise") == part(scored, "pointwise")
    assert none.pool.grad.isfinite().all()


def test_weights_multiply_and_nothing_is_refused(scored: ScoredBatch):
    both = PairObjective(PairWeights(**(NOTHING | {"labels": 2.0, "rank": 0.5})))(scored)
    assert float(both["labels_loss"]) == pytest.approx(2 * part(scored, "labels"))
    assert float(both["rank_loss"]) == pytest.approx(0.5 * part(scored, "rank"))
    with pytest.raises(InputError, match="every loss on pairs has the weight 0"):
        PairObjective(PairWeights(**NOTHING))
