"""The objectives, and the loss module that computes them from one encoding of each text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from limbeck.errors import InputError
from limbeck.losses import (
    LIST_LOSSES,
    D2LLMLoss,
    contrastive_imitation,
    hard_easy_rank_imitation,
    in_batch_cross_entropy,
    kl_divergence,
    rank_imitation,
)
from limbeck.students.dense.lists import ListCollator, TrainingList, list_batch
from limbeck.students.dense.objective import D2LLMObjective, ListObjective, ScoredBatch, StudentLoss
from limbeck.students.dense.pair_objective import PairObjective, PairWeights
from limbeck.students.dense.student import DenseStudent
from tests.tiny_models import tiny_decoder

ROWS = [
    TrainingList("q1", ["a", "b", "c", "d"], [2.0, 1.0, -1.0, -2.0], 2, ["a"]),
    TrainingList("q2", ["e", "b", "f"], [0.5, -0.5, -3.0], 1, ["e"]),
]


def scored_batch():
    _, targets = list_batch(ROWS)
    pool = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    return ScoredBatch(pool.gather(1, targets.lists), pool, targets)


def test_d2llm_objective_is_the_weighted_losses():
    batch = scored_batch()
    weights = {"contrastive": 0.5, "rank": 2.0, "hard_easy": 0.1, "in_batch": 0.7}
    loss = D2LLMLoss(**{f"{name}_weight": weight for name, weight in weights.items()}, temperature=2.0)
    parts = D2LLMObjective(loss, teacher_scale=1.5, teacher_bias=-0.2)(batch)
    targets = batch.targets
    teacher = torch.sigmoid(1.5 * targets.teacher - 0.2)
    easy = torch.sigmoid(1.5 * targets.pool_teacher - 0.2)
    expected = {
        "contrastive_imitation_loss": 0.5 * contrastive_imitation(batch.lists, teacher, targets.mask, 2.0),
        "rank_imitation_loss": 2.0 * rank_imitation(batch.lists, teacher, targets.mask),
        "in_batch_cross_entropy_loss": 0.7
        * in_batch_cross_entropy(batch.pool, torch.tensor([0, 4]), targets.candidates),
        "hard_easy_rank_imitation_loss": 0.1
        * hard_easy_rank_imitation(
            batch.lists[:, 1:],
            batch.pool,
            teacher_hard=teacher[:, 1:],
            teacher_easy=easy,
            mask_hard=targets.mask[:, 1:],
            mask_easy=targets.pool_teacher_mask,
        ),
    }
    assert parts.keys() == expected.keys()
    for name, part in expected.items():
        torch.testing.assert_close(parts[name], part)


def test_d2llm_parts_go_back():
    batch = scored_batch()
    sum(D2LLMObjective(D2LLMLoss())(batch).values()).backward()
    assert (batch.pool.grad != 0).all()


def test_a_d2llm_objective_of_nothing_is_refused():
    nothing = D2LLMLoss(contrastive_weight=0, rank_weight=0, hard_easy_weight=0, in_batch_weight=0)
    with pytest.raises(InputError, match="weight 0"):
        D2LLMObjective(nothing)


@pytest.mark.parametrize("name", sorted(LIST_LOSSES))
def test_list_objective_is_the_loss_of_each_row_with_its_easy_negatives(name):
    batch, loss = scored_batch(), LIST_LOSSES[name]
    parts = ListObjective(name, loss, weight=2.0, in_batch_weight=0.5)(batch)
    student = torch.tensor(
        [[*batch.pool[0, [0, 1, 2, 3]].tolist()], [*batch.pool[1, [4, 1, 5]].tolist(), 0.0]]
    )
    teacher = torch.tensor([[2.0, 1.0, -1.0, -2.0], [0.5, -0.5, -3.0, 0.0]])
    mask = torch.tensor([[True] * 4, [True] * 3 + [False]])
    torch.testing.assert_close(parts[f"{name}_loss"], 2 * loss(student, teacher, mask))
    entropy = in_batch_cross_entropy(batch.pool, batch.positive, batch.targets.candidates)
    torch.testing.assert_close(parts["in_batch_loss"], 0.5 * entropy)


def test_list_objective_scales_the_teacher():
    batch = scored_batch()
    targets = batch.targets
    halved = replace(targets, teacher=targets.teacher / 2, pool_teacher=targets.pool_teacher / 2)
    scaled = ListObjective("kl", kl_divergence, in_batch_weight=0, teacher_scale=2.0)
    plain = ListObjective("kl", kl_divergence, in_batch_weight=0)
    expected = plain(batch)["kl_loss"]
    torch.testing.assert_close(scaled(replace(batch, targets=halved))["kl_loss"], expected)
    assert not torch.isclose(plain(replace(batch, targets=halved))["kl_loss"], expected)


def test_list_objective_without_in_batch():
    parts = ListObjective("kl", kl_divergence, in_batch_weight=0)(scored_batch())
    assert set(parts) == {"kl_loss"}


KL = ListObjective("kl_divergence", kl_divergence)


def collated(student, world, rows=slice(0, 4)):
    collate = ListCollator(student.model, world.queries, world.passages)
    features = [{name: getattr(row, name) for name in TrainingList.__slots__} for row in world.lists[rows]]
    batch = collate(features)
    inputs = [
        {name.removeprefix(side): value for name, value in batch.items() if name.startswith(side)}
        for side in ("query_", "passage_")
    ]
    return inputs, batch["label"]


def wakened(student):
    """The student with every weight of its heads away from zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for module in (student.model[1], student.interaction):
            for weights in module.parameters():
                weights.add_(0.2 * torch.randn(weights.shape, generator=generator))
    return student


def test_the_loss_is_the_objective_on_the_students_own_embeddings(student, world):
    wakened(student)
    inputs, targets = collated(student, world)
    found = StudentLoss(student.model, KL, cosine_weight=0.5)(inputs, targets)
    queries, pool = (student.model(dict(part))["sentence_embedding"] for part in inputs)
    logits = student.interaction.score(queries, pool.expand(len(queries), *pool.shape)).logits
    cosine = student.interaction.cosine_scale * queries @ pool.T + student.interaction.cosine_bias
    whole = KL(ScoredBatch(logits.gather(1, targets.lists), logits, targets))
    apart = KL(ScoredBatch(cosine.gather(1, targets.lists), cosine, targets))
    expected = whole | {f"cosine_{name}": 0.5 * part for name, part in apart.items()}
    assert found.keys() == expected.keys()
    for name, part in expected.items():
        torch.testing.assert_close(found[name], part, rtol=1e-4, atol=1e-5)


class Whole:
    """An objective that is given all logits of the batch, whether it reads them or not."""

    def __init__(self, objective):
        self.objective = objective

    def reads_pool(self, targets):
        return True

    def __call__(self, batch):
        return self.objective(batch)


LISTS_ALONE = D2LLMObjective(D2LLMLoss(hard_easy_weight=0, in_batch_weight=0))


@pytest.mark.parametrize(
    ("objective", "easy"),
    [(LISTS_ALONE, True), (ListObjective("kl", kl_divergence, in_batch_weight=0), False)],
)
def test_what_reads_the_lists_alone_is_the_same_without_the_other_passages(student, world, objective, easy):
    wakened(student)
    inputs, targets = collated(student, world)
    if not easy:
        targets = replace(targets, pool_teacher_mask=torch.zeros_like(targets.pool_teacher_mask))
    assert not objective.reads_pool(targets)
    losses, gradients = [], []
    for one in (objective, Whole(objective)):
        student.model.zero_grad()
        parts = StudentLoss(student.model, one, cosine_weight=0.5)(inputs, targets)
        sum(parts.values()).backward()
        losses.append(parts)
        weights = dict(student.model.named_parameters())
        gradients.append({name: w.grad for name, w in weights.items() if w.grad is not None})
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("objective", "easy", "reads"),
    [
        (KL, False, True),
        (ListObjective("kl", kl_divergence, in_batch_weight=0), True, True),
        (D2LLMObjective(D2LLMLoss(in_batch_weight=0)), False, True),
        (D2LLMObjective(D2LLMLoss(hard_easy_weight=0)), False, True),
        (PairObjective(PairWeights()), False, False),
        (PairObjective(PairWeights()), True, True),
        (PairObjective(PairWeights(pointwise=0)), True, False),
        (PairObjective(PairWeights(in_batch=1)), False, True),
        (PairObjective(PairWeights(hard_easy=1)), False, True),
    ],
)
def test_an_objective_says_whether_it_reads_passages_outside_the_lists(objective, easy, reads):
    _, targets = list_batch(ROWS)
    assert targets.pool_teacher_mask.any()
    if not easy:
        targets = replace(targets, pool_teacher_mask=torch.zeros_like(targets.pool_teacher_mask))
    assert objective.reads_pool(targets) is reads


@pytest.fixture(scope="module")
def decoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_decoder(tmp_path_factory.mktemp("decoder"))


@pytest.mark.parametrize("side", ["right", "left"])
def test_parts_change_nothing(student, world, decoder_path, side):
    if side == "left":
        student = DenseStudent.start(str(decoder_path), max_length=32, heads=4, hidden=16, device="cpu")
    wakened(student)
    inputs, targets = collated(student, world, slice(0, 8))
    # Texts of several lengths, or nothing is trimmed.
    mask = inputs[1]["attention_mask"]
    assert bool(mask[:, 0 if side == "right" else -1].all())
    assert not bool(mask.all())
    whole = StudentLoss(student.model, KL, tokens=100_000)(inputs, targets)
    for tokens in (1, 50):  # a text at a time, and several
        parts = StudentLoss(student.model, KL, tokens=tokens)(inputs, targets)
        for name, part in whole.items():
            torch.testing.assert_close(parts[name], part, rtol=1e-4, atol=1e-5)


def test_gradient_reaches_encoder_pooling_and_interaction(student, world):
    wakened(student)
    inputs, targets = collated(student, world)
    sum(StudentLoss(student.model, KL)(inputs, targets).values()).backward()
    still = {name for name, weights in student.model.named_parameters() if weights.grad is None}
    # The other branch, and what the backbone has and does not use.
    assert all("symmetric" in name.split(".") or "pooler" in name for name in still), still
    for part in ("0.", "1.attention_pooling", "1.branch", "3.query_half", "3.passage_half", "3.branches"):
        gradients = [
            weights.grad.abs().max()
            for name, weights in student.model.named_parameters()
            if name.startswith(part) and weights.grad is not None
        ]
        assert max(gradients) > 0, part


def test_the_symmetric_task_uses_its_own_branch(student, world):
    inputs, targets = collated(student, world)
    sum(StudentLoss(student.model, KL, task="symmetric")(inputs, targets).values()).backward()
    assert student.interaction.outputs["symmetric"].weight.grad is not None
    assert student.interaction.outputs["asymmetric"].weight.grad is None


def test_a_student_without_cosine_part_learns_from_its_logits_alone(tiny_encoder_path, world):
    student = DenseStudent.start(str(tiny_encoder_path), heads=4, interaction_start="random", device="cpu")
    inputs, targets = collated(student, world)
    assert set(StudentLoss(student.model, KL, cosine_weight=0.5)(inputs, targets)) == {
        "kl_divergence_loss",
        "in_batch_loss",
    }


def test_logits_are_computed_in_float32_under_autocast(student, world):
    inputs, targets = collated(student, world)
    with torch.autocast("cpu", torch.bfloat16):
        parts = StudentLoss(student.model, KL)(inputs, targets)
    assert {part.dtype for part in parts.values()} == {torch.float32}
