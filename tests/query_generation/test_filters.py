"""Which questions are dropped, and why."""

from __future__ import annotations

import math

import numpy as np

from limbeck.data import RankedList, Rankings
from limbeck.query_generation.filters import Question, drop_by_ranker, drop_by_text, round_trip_pairs

TITLES = {"cats": "Where cats sleep", "dogs": "", "birds": "", "old": ""}


def asked(*rows: tuple[str, str]) -> list[Question]:
    return [Question(f"q{at}", passage, text) for at, (passage, text) in enumerate(rows)]


def reasons(questions: list[Question]) -> list[str | None]:
    return [question.dropped for question in questions]


def test_one_reason_for_each():
    judged = drop_by_text(
        asked(
            ("cats", "where cats sleep?"),
            ("cats", "do cats sleep during the day"),
            ("cats", "Do cats sleep during the day?"),
            ("cats", "why"),
            ("dogs", "who barks at the moon in the night"),
            ("dogs", "one two three four five six seven eight nine"),
            ("birds", "Who barks at the moon in the night?"),
            ("birds", "what do birds eat in winter"),
        ),
        TITLES.__getitem__,
        max_words=8,
    )
    assert reasons(judged) == [
        "title", None, "repeated", "too-short", "unspecific", "too-long", "unspecific", None,
    ]  # fmt: skip
    assert [question.id for question in judged] == [f"q{at}" for at in range(8)]


def test_near_questions_of_other_passages_are_unspecific():
    rows = (("cats", "who wrote the book about the sea"), ("dogs", "who wrote a book about the sea"))
    assert reasons(drop_by_text(asked(*rows), TITLES.__getitem__, threshold=0.6)) == ["unspecific"] * 2
    assert reasons(drop_by_text(asked(*rows), TITLES.__getitem__, threshold=0.95)) == [None, None]


def test_a_repeated_question_does_not_make_another_unspecific():
    rows = (("cats", "who barks at night"), ("cats", "who barks at night ?"), ("dogs", "who sleeps all day"))
    assert reasons(drop_by_text(asked(*rows), TITLES.__getitem__)) == [None, "repeated", None]


def test_the_passage_is_among_what_the_ranker_scores_once():
    questions = asked(("cats", "a b c"), ("dogs", "d e f"), ("birds", "g h i"))
    found = Rankings.from_lists(
        [
            RankedList("q0", ["dogs", "cats"], np.array([2.0, 1.0])),
            RankedList("q1", ["old"], np.array([1.0])),
        ],
        "bm25",
    )
    pairs = round_trip_pairs(questions, found)
    assert [pairs.list_for(one.id).passage_ids for one in questions] == [
        ["cats", "dogs"], ["dogs", "old"], ["birds"],
    ]  # fmt: skip


def test_the_rank_counts_those_with_the_same_score():
    questions = asked(("cats", "a"), ("cats", "b"), ("cats", "c"))
    scored = Rankings.from_dict(
        {
            "q0": {"cats": 3.0, "dogs": 1.0},
            "q1": {"cats": 1.0, "dogs": 1.0},
            "q2": {"cats": 0.0, "dogs": 1.0, "old": 2.0},
        },
        "teacher",
    )
    judged = drop_by_ranker(questions, scored, rank=2)
    assert [(one.rank, one.score, one.dropped) for one in judged] == [
        (1, 3.0, None), (2, 1.0, None), (3, 0.0, "not-found"),
    ]  # fmt: skip
    assert reasons(drop_by_ranker(questions, scored, rank=1)) == [None, "not-found", "not-found"]
    # The sigmoid of log 3 is 0.75.
    likely = Rankings.from_dict({"q0": {"cats": math.log(3)}}, "teacher")
    assert reasons(drop_by_ranker(questions[:1], likely, rank=1, min_probability=0.74)) == [None]
    assert reasons(drop_by_ranker(questions[:1], likely, rank=1, min_probability=0.76)) == ["unlikely"]
