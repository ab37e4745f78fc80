"""Which passages a query learns from, and what a batch of such lists says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.data import Judgements, RankedList, Rankings
from limbeck.students.dense.lists import (
    JudgedExample,
    ListBatch,
    ListCollator,
    TrainingList,
    judged_positives,
    list_batch,
    positives_with_negatives,
    training_lists,
)

HARD = [f"h{i}" for i in range(6)]


def ranking(lists, source="teacher"):
    return Rankings.from_lists(
        (
            RankedList(query, list(scores), np.array(list(scores.values()), dtype=float)).ordered()
            for query, scores in lists.items()
        ),
        source,
    )


def scored(*passages, start=9.0):
    return {passage: start - i for i, passage in enumerate(passages)}


def lists_of(candidates, easy=None, judgements=(("q1", "p", 1),), hard_negatives=2, seed=0):
    found = training_lists(
        ranking(candidates),
        ranking(easy or {}, "random"),
        Judgements(judgements),
        hard_negatives=hard_negatives,
        seed=seed,
    )
    return list(found)


def test_a_list_is_positive_then_hard_then_easy_with_the_teachers_scores():
    (row,) = lists_of({"q1": scored("h0", "p", "h1")}, {"q1": {"e": -3.0}})
    assert row.passage_ids[0] == "p"
    assert set(row.passage_ids[1:3]) == {"h0", "h1"}
    assert row.passage_ids[3] == "e"
    assert dict(zip(row.passage_ids, row.scores, strict=True)) == {"h0": 9, "p": 8, "h1": 7, "e": -3}
    assert (row.query_id, row.hard, row.positives) == ("q1", 2, ["p"])


def test_every_positive_heads_a_list_and_is_no_negative_of_the_others():
    judged = [("q1", "p", 2), ("q1", "p2", 1), ("q1", "h0", 0)]
    rows = lists_of({"q1": scored("p", "p2", *HARD)}, {"q1": scored("p2", "e")}, judged, hard_negatives=99)
    assert [row.passage_ids[0] for row in rows] == ["p", "p2"]
    for row in rows:
        assert set(row.passage_ids[1:]) == {*HARD, "e"}
        assert row.positives == ["p", "p2"]
        assert row.hard == 6


def test_an_easy_passage_that_was_mined_counts_once_as_a_hard_one():
    (row,) = lists_of({"q1": scored("p", "h0")}, {"q1": {"h0": -5.0, "e": -6.0}})
    assert row.passage_ids == ["p", "h0", "e"]
    assert row.scores == [9.0, 8.0, -6.0]


def test_draws_are_without_repetition_and_bounded():
    (row,) = lists_of({"q1": scored("p", *HARD)}, hard_negatives=4)
    assert len(set(row.passage_ids)) == len(row.passage_ids) == 5
    assert row.hard == 4


def examples_of(candidates, judgements=(("q1", "p", 1),), hard_negatives=2, seed=0):
    found = positives_with_negatives(
        ranking(candidates), Judgements(judgements), hard_negatives=hard_negatives, seed=seed
    )
    return list(found)


@pytest.mark.parametrize("seed", range(3))
def test_a_bi_encoder_has_the_hard_negatives_that_the_student_has(seed):
    judged = [("q1", "p", 2), ("q1", "p2", 1), ("q2", "p", 1)]
    candidates = {"q1": scored("p", "p2", *HARD), "q2": scored("p2", *HARD, "p")}
    rows = lists_of(candidates, judgements=judged, hard_negatives=3, seed=seed)
    assert examples_of(candidates, judged, hard_negatives=3, seed=seed) == [
        JudgedExample(row.query_id, row.passage_ids) for row in rows
    ]


def test_too_few_candidates_of_a_bi_encoder_stand_several_times_and_none_give_no_example():
    judged = [("q1", "p", 1), ("q2", "p", 1), ("q3", "p", 0)]
    candidates = {"q1": scored("p", "h0", "h1"), "q2": scored("p"), "q3": scored("p", "h0")}
    (row,) = examples_of(candidates, judged, hard_negatives=5)
    assert row.query_id == "q1"
    assert row.passage_ids[0] == "p"
    first, second = row.passage_ids[1:3]
    assert {first, second} == {"h0", "h1"}
    assert row.passage_ids[3:] == [first, second, first]


def test_judged_positives_are_those_of_grade_1_or_more():
    judged = Judgements([("q1", "p", 2), ("q1", "p2", 1), ("q1", "h0", 0), ("q2", "p", 1)])
    assert list(judged_positives(judged)) == [
        JudgedExample("q1", ["p"]),
        JudgedExample("q1", ["p2"]),
        JudgedExample("q2", ["p"]),
    ]


def draw(candidates, seed=0):
    return {row.query_id: row.passage_ids for row in lists_of(candidates, seed=seed)}


def test_a_draw_depends_on_query_and_seed_and_not_on_the_company_or_the_scores():
    candidates = {"q0": scored(*HARD), "q1": scored("p", *HARD)}
    alone = draw({"q1": candidates["q1"]})["q1"]
    assert draw(candidates)["q1"] == alone
    reversed_scores = {"q1": scored(*reversed(["p", *HARD]))}
    assert draw(reversed_scores)["q1"] == alone
    assert any(draw({"q1": candidates["q1"]}, seed)["q1"] != alone for seed in range(1, 5))


def test_draws_differ_between_queries():
    many = {f"q{i}": scored("p", *HARD) for i in range(20)}
    rows = lists_of(many, judgements=[(query, "p", 1) for query in many])
    assert len({tuple(row.passage_ids) for row in rows}) > 5


@pytest.mark.parametrize(
    ("candidates", "judged", "hard"),
    [
        (scored("h0", "h1"), [("q1", "p", 1)], 2),  # the positive has no score
        (scored("p"), [("q1", "p", 1)], 2),  # no negative
        (scored("p", "h0"), [("q1", "p", 1)], 0),  # none is asked for
        (scored("p", "h0"), [("q1", "p", 0)], 2),  # not relevant
    ],
)
def test_what_cannot_teach_gives_no_list(candidates, judged, hard):
    assert lists_of({"q1": candidates}, judgements=judged, hard_negatives=hard) == []


def test_without_hard_negatives_the_easy_ones_remain():
    (row,) = lists_of({"q1": scored("p", "h0")}, {"q1": scored("e")}, hard_negatives=0)
    assert (row.passage_ids, row.hard) == (["p", "e"], 0)


ROWS = [
    TrainingList("q1", ["a", "b", "c", "d"], [4.0, 3.0, 2.0, 1.0], 2, ["a", "f"]),
    TrainingList("q2", ["e", "b", "f"], [0.5, -1.0, -2.0], 1, ["e"]),
]


def test_a_batch_by_hand():
    pool, batch = list_batch(ROWS)
    assert pool == ["a", "b", "c", "d", "e", "f"]
    assert batch.lists.tolist() == [[0, 1, 2], [4, 1, 0]]
    assert batch.mask.tolist() == [[True, True, True], [True, True, False]]
    assert batch.teacher.tolist() == [[4, 3, 2], [0.5, -1, 0]]
    # q1: less its hard b, c and its other positive f; its own easy d stays. q2: less its hard b.
    assert batch.candidates.int().tolist() == [[1, 0, 0, 1, 1, 0], [1, 0, 1, 1, 1, 1]]
    assert batch.pool_teacher.tolist() == [[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, -2]]
    assert batch.pool_teacher_mask.int().tolist() == [[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]]


def test_positives_of_a_query_never_serve_as_its_negatives():
    rows = [
        TrainingList("q1", ["a", "x"], [2.0, 1.0], 1, ["a", "b"]),
        TrainingList("q1", ["b", "x"], [2.0, 1.0], 1, ["a", "b"]),
        TrainingList("q2", ["b", "y"], [2.0, 1.0], 1, ["b"]),
    ]
    pool, batch = list_batch(rows)
    assert pool == ["a", "x", "b", "y"]
    assert batch.candidates.int().tolist() == [[1, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 0]]


def test_a_batch_without_hard_negatives_has_lists_of_the_positive_alone():
    _, batch = list_batch([TrainingList("q1", ["a", "e"], [2.0, 1.0], 0, ["a"])])
    assert batch.lists.tolist() == [[0]]
    assert batch.mask.tolist() == [[True]]
    assert batch.pool_teacher_mask.tolist() == [[False, True]]


def test_a_batch_moves_with_all_its_parts():
    _, batch = list_batch(ROWS)
    moved = batch.to("meta")
    assert isinstance(moved, ListBatch)
    assert {getattr(moved, name).device.type for name in ListBatch.__slots__} == {"meta"}


def test_the_collator_tokenises_queries_and_pool(student, world):
    collate = ListCollator(student.model, world.queries, world.passages)
    rows = world.lists[:2]
    batch = collate([{name: getattr(row, name) for name in TrainingList.__slots__} for row in rows])
    pool, targets = list_batch(rows)
    expected = student.model.preprocess([world.passages[int(p[1:])].content for p in pool])
    assert torch.equal(batch["passage_input_ids"], expected["input_ids"])
    assert torch.equal(batch["passage_attention_mask"], expected["attention_mask"])
    assert batch["query_input_ids"].shape[0] == 2
    assert torch.equal(batch["label"].teacher, targets.teacher)


def test_training_reads_a_text_as_encoding_does(student, world):
    student.model.prompts = {"query": "what is ", "document": "the "}
    batch = ListCollator(student.model, world.queries, world.passages)(
        [{name: getattr(world.lists[0], name) for name in TrainingList.__slots__}]
    )
    asked = student.model.preprocess(["what is cat dog"])
    given = student.model.preprocess(
        ["the " + world.passages[int(p[1:])].content for p in list_batch(world.lists[:1])[0]]
    )
    assert torch.equal(batch["query_input_ids"], asked["input_ids"])
    assert torch.equal(batch["passage_input_ids"], given["input_ids"])
