"""What the stages of a run are going to ask servers, and what it costs, reckoned before any is asked.

Design facts:
- A pair counts once, whichever stages ask for it, and not at all where its score is kept.
- What becomes known only on the way, such as the pairs that a batch will hold, is told as a bound: so many
  requests at most. A bound stops no run; the limit does, at the request that could pass it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from limbeck.servers import Budget, Cost, LimitReachedError
from limbeck.teachers import Pair, ScoreCache, score_key
from limbeck.teachers.server import ServerTeacher

#: Pairs that are looked up together.
_BLOCK = 4096
#: Pairs that stand for those of a bound: enough for the mean of their tokens.
_ALIKE = 1000


class Part(NamedTuple):
    """What a stage asks of one server.

    Attributes:
        stage: its name.
        what: is asked about, such as `"dev candidates"`.
        budget: of the server.
        cost: requests and tokens.
        bound: whether there are so many at most, and which is known only on the way.
    """

    stage: str
    what: str
    budget: Budget
    cost: Cost
    bound: bool


class CostEstimate:
    """What servers are going to be asked, part by part.

    Args:
        scores: the file of the scores that are kept.

    Attributes:
        stage: the name of the stage whose parts are being added.
        parts: those that ask for something.
        later: stages whose parts cannot be told yet: they ask about what servers have yet to answer.

    Example:
        >>> estimate = CostEstimate(Path("run/scores.sqlite"))
        >>> estimate.stage = "audit"
        >>> estimate.add_pairs("dev candidates", [server], [("who barks", "Dogs bark.")])
        >>> estimate.announce()
        ['teacher: Qwen/Qwen3-8B: 1 request with about 91 tokens; the recipe gives no price']
    """

    def __init__(self, scores: Path) -> None:
        self.stage = ""
        self.parts: list[Part] = []
        self.later: list[str] = []
        self._scores = scores
        self._counted: set[bytes] = set()

    def add(self, what: str, budget: Budget, cost: Cost, *, bound: bool = False) -> None:
        """Adds requests; none at all are left out."""
        if cost.requests:
            self.parts.append(Part(self.stage, what, budget, cost, bound))

    def add_pairs(self, what: str, servers: Sequence[ServerTeacher], pairs: Iterable[Pair]) -> None:
        """Adds pairs that each of the servers is going to score.

        Raises:
            InputError: as `ServerTeacher.cost`.
        """
        totals = [Cost(0, 0, 0) for _ in servers]
        remaining = iter(pairs)
        with ScoreCache(self._scores) as cache:
            while block := list(islice(remaining, _BLOCK)):
                for number, server in enumerate(servers):
                    asked = server.cost(self._unknown(server, block, cache))
                    totals[number] = Cost(*map(sum, zip(totals[number], asked, strict=True)))
        for server, total in zip(servers, totals, strict=True):
            self.add(what, server.client.budget, total)

    def _unknown(self, server: ServerTeacher, pairs: Sequence[Pair], cache: ScoreCache) -> list[Pair]:
        pair_of = {score_key(server.name, server.version, server.prompt, *pair): pair for pair in pairs}
        keys = [key for key in pair_of if key not in self._counted]
        unknown = [keys[at] for at in np.flatnonzero(np.isnan(cache.get(keys)))]
        self._counted.update(unknown)
        return [pair_of[key] for key in unknown]

    def add_bound(
        self, what: str, servers: Sequence[ServerTeacher], most: int, alike: Iterable[Pair]
    ) -> None:
        """Adds pairs that are known only on the way.

        Args:
            what: is asked about.
            servers: each of which is going to score them.
            most: how many pairs there are, at most.
            alike: pairs of the same kind; the first thousand tell how many tokens a pair has.

        Raises:
            InputError: as `ServerTeacher.cost`.
        """
        sample = list(islice(alike, _ALIKE))
        for server in servers if sample else ():
            share = most / len(sample)
            cost = Cost(*(math.ceil(count * share) for count in server.cost(sample)))
            self.add(what, server.client.budget, cost, bound=True)

    def announce(self) -> list[str]:
        """What is going to be asked, as sentences: one an account, and one a bound.

        Raises:
            LimitReachedError: what is sure to be asked would cost more than may still be spent.
        """
        sure = [self._announced(account) for account in self._accounts()]
        bounds = [
            f"{part.budget.account}: {part.what}: at most {_told(part)}" for part in self.parts if part.bound
        ]
        return sure + bounds

    def summary(self) -> list[str]:
        """As `announce`, where nothing follows: what the limit does not allow is told, and no error."""
        told = []
        for account in self._accounts():
            try:
                told.append(self._announced(account))
            except LimitReachedError as error:
                told.append(str(error))
        return told

    def table_rows(self) -> list[list[str]]:
        """A heading, then a row a part: stage, what is asked about, account, requests, tokens, cost."""
        rows = [["Stage", "Asked about", "For", "Requests", "Tokens", "Cost"]]
        for part in self.parts:
            most = "≤ " if part.bound else ""
            cost = "–" if (price := _price(part)) is None else f"{most}{price:.3g}"
            asked = f"{most}{part.cost.requests:,}", f"{most}{part.cost.tokens:,}"
            rows.append([part.stage, part.what, part.budget.account, *asked, cost])
        return rows

    def _accounts(self) -> list[str]:
        return list(dict.fromkeys(part.budget.account for part in self.parts if not part.bound))

    def _announced(self, account: str) -> str:
        parts = [part for part in self.parts if part.budget.account == account and not part.bound]
        total = Cost(*map(sum, zip(*(part.cost for part in parts), strict=True)))
        # Members of a teacher that ask the same model spend from one account: the lowest limit holds.
        budget = min(
            (part.budget for part in parts), key=lambda one: math.inf if one.limit is None else one.limit
        )
        requests: dict[str, int] = {}
        for part in parts:
            requests[part.what] = requests.get(part.what, 0) + part.cost.requests
        named = ", ".join(f"{what} {count:,}" for what, count in requests.items())
        try:
            return f"{account}: {budget.announce(total)} ({named})"
        except LimitReachedError as error:
            raise LimitReachedError(f"{account}: {error.problem} ({named})", remedy=error.remedy) from error


def _told(part: Part) -> str:
    price = _price(part)
    cost = "" if price is None else f": at most about {price:.3g}"
    limit = "" if part.budget.limit is None else f", and no more than the limit of {part.budget.limit:g} lets"
    return f"{part.cost}{cost}{limit}"


def _price(part: Part) -> float | None:
    return None if part.budget.price is None else part.budget.price.of(*part.cost[1:])
