from __future__ import annotations

import multiprocessing
import sqlite3

import pytest

from limbeck.errors import InputError
from limbeck.servers import Budget, Cost, Ledger, LimitReachedError, Price
from limbeck.servers.budget import Spending

PRICE = Price(prompt=2.0, completion=10.0)


def test_price_is_of_a_million_tokens():
    assert PRICE.of(1_000_000, 0) == 2
    assert PRICE.of(500_000, 100_000) == 1 + 1


def test_what_is_under_way_counts_and_what_was_refused_does_not():
    budget = Budget(PRICE, ledger=Ledger(), account="a")
    first, second, third = (budget.enter(100, 1) for _ in range(3))
    assert budget.spent == Spending(3, 300, 3, pytest.approx(630e-6))
    budget.settle(first, 100, prompt_tokens=80, completion_tokens=1)
    budget.withdraw(second)
    assert budget.spent == Spending(2, 180, 2, pytest.approx(170e-6 + 210e-6))
    budget.settle(third, 100, prompt_tokens=100, completion_tokens=0)
    assert budget.spent == Spending(2, 180, 1, pytest.approx(370e-6))


def test_it_stops_before_the_request_that_could_pass_the_limit():
    budget = Budget(PRICE, limit=0.5, ledger=Ledger())
    number = budget.enter(200_000, 0)  # 0.4
    with pytest.raises(LimitReachedError, match=r"the limit of 0\.5 is reached: 0\.4 is spent.*cost 0\.2"):
        budget.enter(100_000, 0)
    assert budget.spent.requests == 1
    budget.settle(number, 200_000, 150_000, 0)  # 0.3
    budget.enter(100_000, 0)
    assert budget.spent.cost == pytest.approx(0.5)


def test_a_prompt_that_was_longer_than_counted_makes_later_ones_count_for_more():
    budget = Budget(PRICE, ledger=Ledger())
    budget.settle(budget.enter(100, 0), 100, prompt_tokens=150, completion_tokens=0)
    budget.enter(1000, 0)
    assert budget.spent.prompt_tokens == 150 + 1500
    # One that was shorter does not make them count for less.
    budget.settle(budget.enter(100, 0), 100, prompt_tokens=50, completion_tokens=0)
    budget.enter(1000, 0)
    assert budget.spent.prompt_tokens == 150 + 1500 + 50 + 1500


def test_accounts_are_apart_and_outlive_the_process(tmp_path):
    path = tmp_path / "folder" / "spent.sqlite"
    one = Budget(PRICE, ledger=Ledger(path), account="one")
    one.settle(one.enter(1000, 1), 1000, 1000, 1)
    one.enter(1000, 1)  # its answer never comes
    two = Budget(PRICE, ledger=Ledger(path), account="two")
    assert two.spent.requests == 0
    assert (
        Budget(PRICE, ledger=Ledger(path), account="one").spent == one.spent == Spending(2, 2000, 2, 0.00402)
    )


def test_an_estimate_says_what_it_would_cost_and_refuses_what_is_too_much():
    budget = Budget(PRICE, limit=1.0, ledger=Ledger())
    told = budget.announce(Cost(requests=1000, prompt_tokens=400_000, completion_tokens=1000))
    assert told == "1,000 requests with about 401,000 tokens: at most about 0.81; 0 of 1 is spent"
    budget.enter(100_000, 0)
    with pytest.raises(LimitReachedError, match=r"cost about 0\.81; 0\.2 is spent, and the limit is 1\."):
        budget.announce(Cost(1000, 400_000, 1000))
    assert Budget().announce(Cost(1, 2, 3)) == "1 request with about 5 tokens; the recipe gives no price"


def test_a_limit_without_a_price():
    with pytest.raises(InputError, match="needs a price"):
        Budget(limit=1.0)


def test_a_database_of_something_else_is_no_ledger(tmp_path):
    with sqlite3.connect(tmp_path / "spent.sqlite") as connection:
        connection.execute("CREATE TABLE open (door TEXT)")
    with pytest.raises(InputError, match=r"spent\.sqlite: this cannot be read as a ledger"):
        Ledger(tmp_path / "spent.sqlite")


def test_a_file_that_is_no_ledger(tmp_path):
    (tmp_path / "spent.sqlite").write_text("not a database, but long enough to look at" * 50)
    with pytest.raises(InputError, match=r"spent\.sqlite: this cannot be read as a ledger"):
        Ledger(tmp_path / "spent.sqlite")


def _spend_all(path, granted):
    budget = Budget(Price(1e6, 0), limit=100, ledger=Ledger(path))
    while True:
        try:
            budget.enter(1, 0)
        except LimitReachedError:
            return
        with granted.get_lock():
            granted.value += 1


def test_processes_do_not_pass_the_limit_together(tmp_path):
    context = multiprocessing.get_context("forkserver")
    granted = context.Value("i", 0)
    workers = [context.Process(target=_spend_all, args=(tmp_path / "l.sqlite", granted)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert granted.value == 100
