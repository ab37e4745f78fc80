"""What the student takes over from its teacher besides the lists' scores: features, and in-batch scores."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.data import PairFeatures, Rankings, write_pair_features
from limbeck.losses import D2LLMLoss, feature_imitation
from limbeck.students.dense.lists import ListCollator, TrainingList
from limbeck.students.dense.objective import D2LLMObjective, StudentLoss
from limbeck.students.dense.pair_lists import PairCollator, pair_dataset
from limbeck.students.dense.pair_objective import PairObjective, PairWeights
from limbeck.students.dense.student import DenseStudent
from limbeck.students.dense.training import train_student
from limbeck.teachers import CrossEncoderTeacher, ScoreCache, score_pairs
from tests.students.dense.conftest import World, make_world
from tests.students.dense.test_training import QUICK, SMALL
from tests.tiny_models import tiny_cross_encoder
from tests.trainings import assert_same, losses, run_killed, weights

OBJECTIVE = D2LLMObjective(D2LLMLoss(hard_easy_weight=1.0, feature_weight=1.0))


class Asked:
    """A teacher of its pairs alone: how many characters the two texts share; notes what it is asked."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []

    def __call__(self, pairs):
        self.pairs += pairs
        return np.array([self.score(*pair) for pair in pairs])

    @staticmethod
    def score(query, passage):
        return len(set(query) & set(passage)) / 4 - 2


def features_of(world: World, folder: Path) -> PairFeatures:
    """Random features of the lists' positives and hard negatives, in another order than theirs."""
    rankings = Rankings.from_dict(
        {row.query_id: {id_: float(at) for at, id_ in enumerate(row.passage_ids[:3])} for row in world.lists},
        "teacher",
    )
    rows = np.random.default_rng(0).normal(size=(len(rankings), 5)).astype(np.float16)
    write_pair_features(folder / "features.npy", [rows], len(rows))
    return PairFeatures(folder / "features.npy", rankings)


def collated(student, world, lists, **options):
    collate = ListCollator(student.model, world.queries, world.passages, **options)
    return collate([asdict(row) for row in lists])


def test_lists_carry_the_features_of_their_pairs(student, world, tmp_path):
    features = features_of(world, tmp_path)
    short = replace(world.lists[1], passage_ids=world.lists[1].passage_ids[:2], scores=[4.0, 1.5], hard=1)
    targets = collated(student, world, [world.lists[0], short], features=features)["label"]
    assert targets.teacher_features.shape == (2, 3, 5)
    for at, row in enumerate([world.lists[0], short]):
        for column in range(row.hard + 1):
            (expected,) = features.of(row.query_id, [row.passage_ids[column]])
            assert targets.teacher_features[at, column].tolist() == expected.tolist()
    assert targets.teacher_features[1, 2].eq(0).all()
    assert collated(student, world, world.lists)["label"].teacher_features.shape == (8, 3, 0)


def test_the_part_compares_the_students_features_with_the_teachers(student, world, tmp_path):
    batch = collated(student, world, world.lists[:4], features=features_of(world, tmp_path))
    targets = batch.pop("label")
    inputs = [
        {name.removeprefix(side): value for name, value in batch.items() if name.startswith(side)}
        for side in ("query_", "passage_")
    ]
    loss = StudentLoss(student.model, OBJECTIVE, cosine_weight=0.5)
    parts = loss(inputs, targets)
    queries, pool = (student.model(dict(part))["sentence_embedding"] for part in inputs)
    own = student.interaction.score(queries, pool[targets.lists]).features
    expected = feature_imitation(own, targets.teacher_features, targets.mask)
    torch.testing.assert_close(parts["feature_imitation_loss"], expected, rtol=1e-4, atol=1e-5)
    assert "cosine_feature_imitation_loss" not in parts  # a cosine has no features
    parts["feature_imitation_loss"].backward()
    assert student.interaction.branches["asymmetric"].weight.grad.abs().max() > 0
    assert student.interaction.branches["symmetric"].weight.grad is None


def test_the_batch_s_other_passages_are_scored_for_each_query(student, world):
    asked = Asked()
    lists = world.lists[:3]
    before = collated(student, world, lists)["label"]
    targets = collated(student, world, lists, ask=asked)["label"]
    pool = list(dict.fromkeys(passage for row in lists for passage in row.passage_ids))
    for at, row in enumerate(lists):
        for column, passage in enumerate(pool):
            content = world.passages[int(world.passages.rows([passage])[0])].content
            pair = (world.queries.text(row.query_id), content)
            listed = passage in row.passage_ids
            assert (pair in asked.pairs) == (not listed)
            assert targets.pool_teacher_mask[at, column] == (passage not in row.passage_ids[:3])
            if not listed:
                assert targets.pool_teacher[at, column] == pytest.approx(asked.score(*pair))
    # What the lists knew stays, and none was asked twice.
    known = before.pool_teacher_mask
    assert torch.equal(targets.pool_teacher[known], before.pool_teacher[known])
    assert len(set(asked.pairs)) == len(asked.pairs)


def test_no_score_of_the_batch_depends_on_its_order(student, world):
    found = []
    for lists in (world.lists, world.lists[::-1]):
        targets = collated(student, world, lists, ask=Asked())["label"]
        pool = list(dict.fromkeys(passage for row in lists for passage in row.passage_ids))
        found.append(
            {
                (row.query_id, pool[column]): float(targets.pool_teacher[at, column])
                for at, row in enumerate(lists)
                for column in targets.pool_teacher_mask[at].nonzero().flatten().tolist()
            }
        )
    assert found[0] == found[1]


def test_a_batch_of_one_list_asks_nothing(student, world):
    asked = Asked()
    collated(student, world, [TrainingList("q0", ["p0", "p8"], [1.0, 0.0], 1, ["p0"])], ask=asked)
    assert not asked.pairs


def test_the_other_texts_of_a_batch_of_pairs_are_scored_for_each_text(student, world):
    # Example 0: text 0, labelled with 1, a neighbour 2, a drawn 3. Example 1: 4, labelled with 0 and with 5.
    lists = np.array([[0, 1, 2, 3], [4, 5, 2, 0]])
    dataset = pair_dataset(lists, np.arange(6.0).reshape(2, 3), np.array([1.0, 0.5]), 1)
    asked, rows = Asked(), [dataset[0], dataset[1]]
    before = PairCollator(student.model, world.passages)(rows)["label"]
    targets = PairCollator(student.model, world.passages, ask=asked)(rows)["label"]
    content = {row: world.passages[row].content for row in range(6)}
    # The pool, in the order in which the lists name them: 1 2 3 5 0. A text is not asked about itself.
    wanted = [(0, 3, 5), (1, 0, 1), (1, 2, 3)]
    assert asked.pairs == [(content[(0, 4)[at]], content[text]) for at, _, text in wanted]
    for at, column, text in wanted:
        assert not before.pool_teacher_mask[at, column]
        assert targets.pool_teacher_mask[at, column]
        expected = asked.score(content[(0, 4)[at]], content[text])
        assert targets.pool_teacher[at, column] == pytest.approx(expected)
    known = before.pool_teacher_mask
    assert torch.equal(targets.pool_teacher[known], before.pool_teacher[known])
    assert targets.pool_teacher_mask.sum() == known.sum() + len(wanted)
    assert PairObjective(PairWeights()).reads_pool(targets)


def test_pairs_carry_the_features_of_their_lists_and_learn_from_them(student, world):
    # Two examples with neighbours (the second lacks one), then a text drawn at random, which has no feature.
    lists = np.array([[0, 1, 2, 3, 9], [4, 5, 6, -1, 10]])
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float16)
    dataset = pair_dataset(lists, np.zeros((2, 4)), np.array([1.0, 0.5]), 2)
    collate = PairCollator(student.model, world.passages, features=rows)
    for order in ([0, 1], [1, 0]):
        batch = collate([dataset[at] for at in order])
        features = batch["label"].teacher_features
        for at, example in enumerate(order):
            own = rows[:3] if example == 0 else rows[3:]
            np.testing.assert_array_equal(features[at, : len(own)].numpy(), own)
            assert features[at, len(own) :].eq(0).all()
    loss = StudentLoss(student.model, PairObjective(PairWeights(feature=2.0)), cosine_weight=0.5)
    targets = batch.pop("label")
    inputs = [
        {name.removeprefix(side): value for name, value in batch.items() if name.startswith(side)}
        for side in ("query_", "passage_")
    ]
    parts = loss(inputs, targets)
    queries, pool = (student.model(dict(part))["sentence_embedding"] for part in inputs)
    own = student.interaction.score(queries, pool[targets.lists]).features
    expected = 2 * feature_imitation(own, targets.teacher_features, targets.mask)
    torch.testing.assert_close(parts["feature_loss"], expected, rtol=1e-4, atol=1e-5)
    assert not any(name.startswith("cosine") and "feature" in name for name in parts)


def train(
    path, world: World, folder: Path, teacher: CrossEncoderTeacher, name: str, settings=QUICK, callbacks=()
):
    """With in-batch scores through the cache `scores.sqlite` of the folder, checkpoints in `name`."""
    student = DenseStudent.start(str(path), **SMALL)
    with ScoreCache(folder / "scores.sqlite") as cache:
        outcome = train_student(
            student,
            world.lists,
            queries=world.queries,
            passages=world.passages,
            objective=D2LLMObjective(D2LLMLoss(hard_easy_weight=1.0)),
            settings=settings,
            work_dir=folder / name,
            ask=partial(score_pairs, teacher, cache=cache),
            callbacks=callbacks,
        )
    return student, outcome, cache


def test_a_later_epoch_and_another_seed_pay_only_for_new_pairs(tiny_encoder_path, world, tmp_path):
    teacher = CrossEncoderTeacher(tiny_cross_encoder(tmp_path), max_length=32)
    whole = replace(QUICK, batch_size=8)  # every batch has all lists: all pairs are met at once
    asked = []
    score = teacher.score
    teacher.score = lambda pairs: asked.append(len(pairs)) or score(pairs)
    _, outcome, cache = train(tiny_encoder_path, world, tmp_path, teacher, "one", whole)
    assert len(asked) == 1
    assert cache.misses == asked[0]
    assert cache.hits == 3 * cache.misses
    assert all(value > 0 for value in losses(outcome, "hard_easy_rank_imitation_loss"))
    train(tiny_encoder_path, world, tmp_path, teacher, "two", replace(whole, seed=1))
    assert len(asked) == 1


@pytest.mark.slow
def test_a_killed_training_with_a_teacher_ends_with_the_same_weights(tiny_encoder_path, world, tmp_path):
    model = tiny_cross_encoder(tmp_path)
    run_killed(
        f"""
        from pathlib import Path
        from limbeck.teachers import CrossEncoderTeacher
        from tests.students.dense.test_imitation import make_world, train
        from tests.trainings import Kill
        folder = Path({str(tmp_path / "cut")!r})
        folder.mkdir()
        teacher = CrossEncoderTeacher({str(model)!r}, max_length=32)
        train({str(tiny_encoder_path)!r}, make_world(folder), folder, teacher, "work", callbacks=[Kill(4)])
        """
    )
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    teacher = CrossEncoderTeacher(model, max_length=32)
    again, _, _ = train(tiny_encoder_path, make_world(tmp_path), cut, teacher, "work")
    undisturbed, _, _ = train(tiny_encoder_path, world, whole, teacher, "work")
    assert_same(weights(again.model), weights(undisturbed.model))
