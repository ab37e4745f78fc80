"""What asking servers costs, reckoned beforehand: counted by hand, from tokens of three bytes."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.pipeline.estimates import CostEstimate
from limbeck.servers import Budget, Cost, Endpoint, Ledger, LimitReachedError, Price, ServerClient
from limbeck.teachers import ScoreCache, ServerTeacher, score_key
from limbeck.teachers.llm import Prompt

PRICE = Price(prompt=1e6, completion=0)  # one a token that is sent
#: One token each of "?" and "!", and as many as the texts have; an answer has one.
PROMPT = Prompt("{query}?{passage}!", ("yes",), ("no",))
SHORT, LONG = ("cat", "dog"), ("cat", "dog fish bird")  # 2 + 1 + 1, 2 + 1 + 5 tokens


@pytest.fixture
def server():
    """Makes teachers that nobody asks."""
    made = []

    def teacher(prompt=PROMPT, *, price=PRICE, limit=None, account="teacher: m", ledger=None):
        budget = Budget(price, limit, ledger, account)
        made.append(ServerClient(Endpoint("http://127.0.0.1:9/v1", "m"), budget))
        return ServerTeacher(made[-1], prompt, api="completions")

    yield teacher
    for client in made:
        client.close()


@pytest.fixture
def estimate(tmp_path):
    return CostEstimate(tmp_path / "scores.sqlite")


def costs(estimate):
    return [(part.what, part.cost) for part in estimate.parts]


def test_a_pair_counts_once_whoever_asks_for_it(estimate, server):
    teacher = server()
    # More than are looked up at once, and the first of them again at the end.
    many = [(f"{number:03}", "dog") for number in range(1000)] * 5
    estimate.add_pairs("dev", [teacher], [SHORT, LONG, SHORT])
    estimate.add_pairs("test", [teacher], [LONG, SHORT])
    estimate.add_pairs("train", [teacher], [SHORT, *many])
    assert costs(estimate) == [("dev", Cost(2, 4 + 8, 2)), ("train", Cost(1000, 4000, 1000))]


def test_a_score_that_is_kept_is_not_counted(estimate, server, tmp_path):
    teacher = server()
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        cache.put([score_key(teacher.name, teacher.version, teacher.prompt, *SHORT)], np.array([0.5]))
    estimate.add_pairs("dev", [teacher], [SHORT, LONG])
    assert costs(estimate) == [("dev", Cost(1, 8, 1))]


def test_two_questions_to_one_model_are_paid_from_one_limit(estimate, server):
    ledger = Ledger()
    one = server(limit=10.0, ledger=ledger)
    other = server(Prompt("{query} {passage}", ("yes",), ("no",)), limit=9.0, ledger=ledger)
    estimate.add_pairs("dev", [one, other], [LONG])
    assert [part.cost.prompt_tokens for part in estimate.parts] == [8, 7]
    with pytest.raises(
        LimitReachedError, match=r"teacher: m: 2 requests .* cost about 15; .* limit is 9 \(dev 2\)"
    ):
        estimate.announce()
    assert estimate.summary()[0].startswith("teacher: m: 2 requests with about 17 tokens would cost about 15")
    # The same question to the same model has the same scores, wherever the model is.
    twice = CostEstimate(estimate._scores)
    twice.add_pairs("dev", [one, server()], [LONG])
    assert costs(twice) == [("dev", Cost(1, 8, 1))]


def test_a_bound_is_told_and_stops_nothing(estimate, server):
    teacher = server(limit=20.0)
    estimate.add_pairs("dev", [teacher], [SHORT])
    # Three such pairs, of five tokens and a third: a hundred have 533 and a third.
    estimate.add_bound("batches", [teacher], 100, [SHORT, LONG, SHORT])
    assert costs(estimate)[1] == ("batches", Cost(100, 534, 100))
    sure, bound = estimate.announce()
    assert sure == ("teacher: m: 1 request with about 5 tokens: at most about 4; 0 of 20 is spent (dev 1)")
    assert bound == (
        "teacher: m: batches: at most 100 requests with about 634 tokens: at most about 534, and no more "
        "than the limit of 20 lets"
    )
    assert len(estimate.summary()) == 1
    assert [row[1:] for row in estimate.table_rows()[1:]] == [
        ["dev", "teacher: m", "1", "5", "4"],
        ["batches", "teacher: m", "≤ 100", "≤ 634", "≤ 534"],
    ]


def test_nothing_to_ask(estimate, server):
    estimate.add_pairs("dev", [server()], [])
    estimate.add_bound("batches", [server()], 7, [])
    estimate.add_bound("more batches", [server()], 0, [SHORT])
    assert (estimate.parts, estimate.announce(), estimate.summary()) == ([], [], [])


def test_accounts_are_told_apart_and_some_have_no_price(estimate, server):
    estimate.stage = "audit"
    other = server(Prompt("{query} {passage}", ("yes",), ("no",)), account="filter: m")
    estimate.add_pairs("dev", [server(price=None), other], [SHORT])
    assert estimate.announce() == [
        "teacher: m: 1 request with about 5 tokens; the recipe gives no price (dev 1)",
        "filter: m: 1 request with about 4 tokens: at most about 3; 0 is spent (dev 1)",
    ]
    assert estimate.table_rows()[1:] == [
        ["audit", "dev", "teacher: m", "1", "5", "–"],
        ["audit", "dev", "filter: m", "1", "4", "3"],
    ]
