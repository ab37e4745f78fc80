"""Servers that a recipe names: clients with a ledger beside the scores, and teachers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING

from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.run import Run
from limbeck.recipes import Recipe, ServerMember
from limbeck.recipes.server import ServerSection
from limbeck.servers import Budget, Endpoint, Ledger, Price, TokenCounter
from limbeck.teachers import Pair
from limbeck.teachers.server import ServerTeacher

if TYPE_CHECKING:
    from limbeck.servers import ServerClient

#: Beside the scores that were paid for, and so shared by the runs of a family, as they are.
LEDGER = "spent.sqlite"


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


def teaching_servers(run: Run) -> list[ServerTeacher]:
    """The members of the teacher that are asked over the network."""
    return [
        server_teacher(run, member)
        for member in run.recipe.teacher.members
        if isinstance(member, ServerMember)
    ]


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


def announce_costs(run: Run, what: str, servers: list[ServerTeacher], pairs: Iterable[Pair]) -> None:
    """Notes what servers will be asked about pairs that have become known, and what it will cost.

    Raises:
        LimitReachedError: it would cost more than may still be spent; nothing has been asked then.
    """
    estimate = CostEstimate(run.scores)
    estimate.add_pairs(what, servers, pairs)
    for sentence in estimate.announce():
        run.progress.note(sentence)
