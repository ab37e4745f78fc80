"""What asking a server costs: prices, an estimate before, a ledger of what was spent, and a limit.

Design facts:
- A request is entered into the ledger before it is sent, at the most that it may cost, and corrected when its
  answer says what it used. What a process was waiting for when it was killed, or when its time ran out, stays
  entered: the server may well have charged for it.
- A request that was refused, or never reached the server, is taken out again.
- Looking at the limit and entering are one transaction, so that several processes cannot pass it together.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from limbeck.errors import InputError
from limbeck.files import make_folder

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

BUSY_SECONDS = 60.0
_MILLION = 1e6
_TABLES = """
CREATE TABLE IF NOT EXISTS settled (
    account TEXT PRIMARY KEY, requests INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER, cost REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS open (
    id INTEGER PRIMARY KEY, account TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, cost REAL
);
"""
_SPENT = """
SELECT coalesce(sum(requests), 0), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0),
    coalesce(sum(cost), 0.0)
FROM (
    SELECT requests, prompt_tokens, completion_tokens, cost FROM settled WHERE account = :account
    UNION ALL
    SELECT 1, prompt_tokens, completion_tokens, cost FROM open WHERE account = :account
)
"""


class LimitReachedError(InputError):
    """The next request could cost more than what may still be spent."""


class Price(NamedTuple):
    """What tokens cost, in any currency.

    Attributes:
        prompt: of a million tokens that are sent.
        completion: of a million tokens that are written.

    Example:
        >>> Price(prompt=0.15, completion=0.6).of(2_000_000, 1_000)
        0.3006
    """

    prompt: float
    completion: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """The price of so many tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / _MILLION


class Cost(NamedTuple):
    """What a number of requests asks for: the tokens that they send, and the most that are written."""

    requests: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        """Sent and written."""
        return self.prompt_tokens + self.completion_tokens

    def __str__(self) -> str:
        requests = "1 request" if self.requests == 1 else f"{self.requests:,} requests"
        return f"{requests} with about {self.tokens:,} tokens"


class Spending(NamedTuple):
    """What was asked for so far; of requests whose answers never came, the most that they can have cost."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float


class Ledger:
    """What was spent, on disk, for as long as the file stays.

    Args:
        path: an SQLite file; made when it is missing, with its folder. None keeps the ledger in memory.

    Raises:
        InputError: the file is something else.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._lock = threading.Lock()  # a client asks from a thread of its own
        if path is not None:
            make_folder(Path(path).parent)
        try:
            self._connection = sqlite3.connect(
                ":memory:" if path is None else path,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.executescript(_TABLES)
            self._connection.execute(_SPENT, {"account": ""})  # tables of these names may be somebody else's
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"this cannot be read as a ledger of what was spent ({error})",
                path=path,
                expected="a file that limbeck made",
                remedy="move the file away",
            ) from error

    def enter(self, account: str, asked: Spending, limit: float | None) -> int:
        """Enter requests that are about to be sent, unless the account would pass its limit.

        Returns:
            The number under which to settle or withdraw them.

        Raises:
            LimitReachedError: it would; nothing is entered.
        """
        with self._transaction() as connection:
            spent = Spending(*connection.execute(_SPENT, {"account": account}).fetchone())
            if limit is not None and spent.cost + asked.cost > limit:
                raise LimitReachedError(
                    f"the limit of {limit:g} is reached: {spent.cost:.6g} is spent, and the next request may "
                    f"cost {asked.cost:.2g}",
                    remedy="raise `limit` and start again: what was answered is not asked again",
                )
            row = connection.execute(
                "INSERT INTO open (account, prompt_tokens, completion_tokens, cost) VALUES (?, ?, ?, ?)",
                (account, *asked[1:]),
            )
            return int(row.lastrowid or 0)

    def settle(self, number: int, used: Spending) -> None:
        """What was entered has been answered, and cost this."""
        with self._transaction() as connection:
            entered = connection.execute("SELECT account FROM open WHERE id = ?", (number,)).fetchone()
            connection.execute("INSERT OR IGNORE INTO settled VALUES (?, 0, 0, 0, 0.0)", entered)
            connection.execute(
                "UPDATE settled SET requests = requests + ?, prompt_tokens = prompt_tokens + ?, "
                "completion_tokens = completion_tokens + ?, cost = cost + ? WHERE account = ?",
                (*used, *entered),
            )
            connection.execute("DELETE FROM open WHERE id = ?", (number,))

    def withdraw(self, number: int) -> None:
        """What was entered has cost nothing."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM open WHERE id = ?", (number,))

    def spent(self, account: str) -> Spending:
        """What an account has spent so far."""
        with self._lock:
            return Spending(*self._connection.execute(_SPENT, {"account": account}).fetchone())

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


@dataclass
class Budget:
    """What one purpose may spend.

    Args:
        price: of tokens; None where they cost nothing, or nobody knows what.
        limit: the most that may be spent, in the currency of the price; None sets no limit.
        ledger: where it is written down.
        account: under which name.

    Raises:
        InputError: a limit without a price.

    Example:
        >>> budget = Budget(Price(0.15, 0.6), limit=5, ledger=Ledger("spent.sqlite"), account="teacher")
        >>> budget.announce(Cost(requests=20_000, prompt_tokens=6_000_000, completion_tokens=20_000))
        '20,000 requests with about 6,020,000 tokens: at most about 0.912; 0 of 5 is spent'
    """

    price: Price | None = None
    limit: float | None = None
    ledger: Ledger | None = None
    account: str = ""

    def __post_init__(self) -> None:
        if self.limit is not None and self.price is None:
            raise InputError("a limit on what may be spent needs a price", remedy="set `price`")
        self._ledger = self.ledger or Ledger()
        #: How many tokens a prompt had for each that was counted beforehand, at the most.
        self._factor = 1.0

    @property
    def spent(self) -> Spending:
        """What was spent so far, by earlier processes too."""
        return self._ledger.spent(self.account)

    def announce(self, asked: Cost) -> str:
        """What is going to be asked and what it will cost, as a sentence.

        Raises:
            LimitReachedError: it would cost more than may still be spent.
        """
        if self.price is None:
            return f"{asked}; the recipe gives no price"
        cost, spent = self.price.of(*asked[1:]), self.spent.cost
        if self.limit is not None and spent + cost > self.limit:
            raise LimitReachedError(
                f"{asked} would cost about {cost:.3g}; {spent:.3g} is spent, and the limit is {self.limit:g}",
                remedy="raise `limit`, or ask less: fewer candidates or neighbours, fewer queries or pairs, "
                "shorter passages",
            )
        limit = "" if self.limit is None else f" of {self.limit:g}"
        return f"{asked}: at most about {cost:.3g}; {spent:.3g}{limit} is spent"

    def enter(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Enter a request before it is sent, with the tokens that it sends and the most that it may get.

        Raises:
            LimitReachedError: it could cost more than may still be spent.
        """
        return self._ledger.enter(
            self.account, self._priced(round(prompt_tokens * self._factor), completion_tokens), self.limit
        )

    def settle(self, number: int, counted: int, prompt_tokens: int, completion_tokens: int) -> None:
        """A request was answered.

        Args:
            number: what `enter` gave.
            counted: the prompt's tokens as they were counted beforehand.
            prompt_tokens: as the server counts.
            completion_tokens: as the server counts.
        """
        self._factor = max(self._factor, prompt_tokens / max(counted, 1))
        self._ledger.settle(number, self._priced(prompt_tokens, completion_tokens))

    def withdraw(self, number: int) -> None:
        """A request was refused, or did not reach the server."""
        self._ledger.withdraw(number)

    def _priced(self, prompt_tokens: int, completion_tokens: int) -> Spending:
        cost = 0.0 if self.price is None else self.price.of(prompt_tokens, completion_tokens)
        return Spending(1, prompt_tokens, completion_tokens, cost)
