"""Servers that a recipe names: clients with a ledger beside the scores, teachers, and what they will cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from limbeck.pipeline.run import Run
from limbeck.recipes import Recipe, ServerMember
from limbeck.recipes.server import ServerSection
from limbeck.servers import Budget, Endpoint, Ledger, Price, TokenCounter
from limbeck.teachers import CompositeTeacher, Pair, ScoreCache, Teacher, score_key
from limbeck.teachers.server import ServerTeacher

if TYPE_CHECKING:
    from limbeck.servers import ServerClient

#: Beside the scores that were paid for, and so shared by the runs of a family, as they are.
LEDGER = "spent.sqlite"
_BLOCK = 4096


def open_client(run: Run, section: ServerSection, purpose: str) -> ServerClient:
    """A client whose spending is written down under the model's name and what it is for."""
    from limbeck.servers.client import ServerClient  # noqa: PLC0415 - needs the package openai

    price = None if section.price is None else Price(section.price.prompt, section.price.completion)
    ledger = Ledger(run.scores.with_name(LEDGER))
    budget = Budget(price, section.limit, ledger, account=f"{purpose}: {section.model}")
    return ServerClient(endpoint_of(section), budget)


def endpoint_of(section: ServerSection) -> Endpoint:
    """Where a section's server is and how it may be asked."""
    return Endpoint(**section.model_dump(include={field.name for field in fields(Endpoint)}))


def asks_server(recipe: Recipe) -> bool:
    """Whether the teacher, or a member of it, is asked over the network."""
    return any(isinstance(member, ServerMember) for member in recipe.teacher.members)


def server_teacher(run: Run, member: ServerMember, purpose: str = "teacher") -> ServerTeacher:
    """A member of a teacher that is asked over the network."""
    return ServerTeacher(
        open_client(run, member, purpose),
        member.question,
        api=member.api,
        max_length=member.max_length,
        counter=TokenCounter(member.tokenizer),
        top=member.top_logprobs,
        options=member.options,
    )


def announce_costs(run: Run, teachers: Sequence[Teacher], pairs: Iterable[Pair]) -> None:
    """Notes what the servers among teachers will be asked, and what it will cost.

    Args:
        run: whose scores are looked up: what is there is not asked again.
        teachers: servers, what asks them, or anything else, which costs nothing.
        pairs: what is going to be asked.

    Raises:
        LimitReachedError: it would cost more than may still be spent; nothing has been asked then.
    """
    servers = _servers(teachers)
    if not servers:
        return
    totals = {server: [0, 0, 0] for server in servers}
    remaining = iter(pairs)
    with ScoreCache(run.scores) as cache:
        while block := list(dict.fromkeys(islice(remaining, _BLOCK))):
            for server in servers:
                keys = [score_key(server.name, server.version, server.prompt, *pair) for pair in block]
                unknown = np.flatnonzero(np.isnan(cache.get(keys)))
                for at, count in enumerate(server.cost([block[row] for row in unknown])):
                    totals[server][at] += count
    for server in servers:
        if totals[server][0]:
            told = server.client.budget.announce(*totals[server])
            run.progress.note(f"{server.client.endpoint.model} as a teacher: {told}")


def _servers(teachers: Sequence[Teacher]) -> list[ServerTeacher]:
    servers: list[ServerTeacher] = []
    for teacher in teachers:
        if isinstance(teacher, CompositeTeacher):
            servers += _servers(teacher.members)
        elif isinstance(teacher, ServerTeacher):
            servers.append(teacher)
    return servers
