"""Servers that a recipe names: clients with a ledger beside the scores, and teachers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.run import Run
from limbeck.recipes import Recipe, ServedSection, ServerMember
from limbeck.recipes.pairs import PairTeacherRecipe
from limbeck.recipes.server import ServerSection
from limbeck.recipes.teacher import TeacherRecipe
from limbeck.servers import Budget, Endpoint, Ledger, Price, TokenCounter
from limbeck.teachers import EnsembleTeacher, Pair, Teacher
from limbeck.teachers.server import ServerTeacher

if TYPE_CHECKING:
    from limbeck.servers import ServerClient
    from limbeck.teachers.llm import Prompt

Taught = TypeVar("Taught", TeacherRecipe, PairTeacherRecipe)

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


def answering(teacher: Taught) -> Taught:
    """The section of a teacher as far as scores depend on it: not on a server's place, pace and price."""
    members = tuple(
        member.answering if isinstance(member, ServerSection) else member for member in teacher.members
    )
    return teacher.model_copy(update={"members": members})


def asks_server(recipe: Recipe) -> bool:
    """Whether the teacher, or a member of it, is asked over the network."""
    return any(isinstance(member, ServerMember) for member in recipe.teacher.members)


def teaching_servers(run: Run) -> list[ServerTeacher]:
    """The members of the teacher that are asked over the network."""
    return [
        server_teacher(run, member, member.question, "teacher")
        for member in run.recipe.teacher.members
        if isinstance(member, ServerMember)
    ]


def server_teacher(run: Run, member: ServedSection, prompt: Prompt, purpose: str) -> ServerTeacher:
    """A member of a teacher that is asked over the network.

    Args:
        run: the run.
        member: which.
        prompt: what it is asked.
        purpose: what for, as the ledger has it.
    """
    return ServerTeacher(
        open_client(run, member, purpose),
        prompt,
        api=member.api,
        max_length=member.max_length,
        counter=TokenCounter(member.tokenizer),
        top=member.top_logprobs,
        options=member.options,
    )


def fitted_ensemble(members: Sequence[Teacher], numbers: Mapping[str, Any]) -> EnsembleTeacher:
    """The ensemble whose numbers an audit left, less servers of weight 0: they would be paid for nothing.

    Args:
        members: all that the recipe names, in its order.
        numbers: `weights`, `means` and `stds`, one a member; `slope` and `bias`.
    """
    kept = [
        at
        for at, member in enumerate(members)
        if numbers["weights"][at] > 0 or not isinstance(member, ServerTeacher)
    ]
    weights, means, stds = ([numbers[key][at] for at in kept] for key in ("weights", "means", "stds"))
    asked = [members[at] for at in kept]
    return EnsembleTeacher(asked, weights, means, stds, slope=numbers["slope"], bias=numbers["bias"])


def announce_costs(run: Run, what: str, servers: Sequence[ServerTeacher], pairs: Iterable[Pair]) -> None:
    """Notes what servers will be asked about pairs that have become known, and what it will cost.

    Raises:
        LimitReachedError: it would cost more than may still be spent; nothing has been asked then.
    """
    estimate = CostEstimate(run.scores)
    estimate.add_pairs(what, servers, pairs)
    for sentence in estimate.announce():
        run.progress.note(sentence)
