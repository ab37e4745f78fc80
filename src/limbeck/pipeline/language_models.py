"""Language models among the members of teachers: they are looked at, fine-tuned and opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from limbeck.pipeline.run import Run
from limbeck.pipeline.trainer_progress import TrainerProgress
from limbeck.recipes import LLMSection
from limbeck.teachers import Teacher
from limbeck.teachers.base import CompositeTeacher
from limbeck.teachers.llm import LLMTeacher, Prompt, load_language_model
from limbeck.teachers.llm.encoding import PromptEncoder
from limbeck.teachers.llm.fine_tuning import LabelledPair, LoRATuning, fine_tune_llm
from limbeck.teachers.llm.loading import load_tokenizer
from limbeck.teachers.server import ServerTeacher


def check_llm(member: LLMSection, prompt: Prompt, device: str | None) -> None:
    """Loads the model, and makes of the prompt what it will be asked.

    Raises:
        InputError: the model cannot be loaded with its options, is no causal language model, reads fewer
            tokens than `max_length`, has no tokens for the answers or a head that cannot be cut to them; or
            the prompt leaves no room.
    """
    open_llm(member, prompt, device)


def require_room(member: LLMSection, prompt: Prompt, queries: Iterable[str], passages: Iterable[str]) -> None:
    """Refuses a query that fills the model's context by itself, which asking would find out after hours.

    Args:
        member: who is to be asked.
        prompt: what is asked.
        queries: all that will be.
        passages: all that may stand beside them; of shorter ones less must have room.

    Raises:
        InputError: such a query.
    """
    encoder = PromptEncoder(
        load_tokenizer(member.model), prompt, max_length=member.max_length, chat=member.chat
    )
    longest = max(passages, key=len)
    encoder.encode([(query, longest) for query in dict.fromkeys(queries)])


def open_llm(member: LLMSection, prompt: Prompt, device: str | None, tuned: Path | None = None) -> LLMTeacher:
    """The teacher that a member is.

    Args:
        member: which.
        prompt: what is asked.
        device: where it goes; None takes the best there is.
        tuned: where its adapter lies, if it was fine-tuned here.
    """
    return LLMTeacher(
        load_language_model(tuned or member.model, device=device, options=member.load),
        prompt,
        max_length=member.max_length,
        batch_size=member.batch_size,
        chat=member.chat,
    )


def tune_llm(
    run: Run,
    member: LLMSection,
    prompt: Prompt,
    pairs: Sequence[LabelledPair],
    *,
    settings: LoRATuning,
    folder: Path,
    title: str,
) -> None:
    """Fine-tunes a member on labelled pairs into `folder/model`; see `fine_tune_llm`."""
    fine_tune_llm(
        member.model,
        pairs,
        folder,
        prompt,
        settings,
        max_length=member.max_length,
        chat=member.chat,
        options=member.load,
        device=run.recipe.device,
        callbacks=[TrainerProgress(run.progress, title)],
    )


@contextmanager
def noting_shortened(run: Run, teacher: Teacher, title: str) -> Iterator[None]:
    """Tells how many passages the teacher's language models shorten meanwhile; cached scores shorten none."""
    before = _shortened(teacher)
    yield
    if count := _shortened(teacher) - before:
        run.progress.note(f"{title}: passages shortened to fit the LLM's max_length: {count:,}")


def _shortened(teacher: Teacher) -> int:
    if isinstance(teacher, CompositeTeacher):
        return sum(_shortened(member) for member in teacher.members)
    return teacher.shortened if isinstance(teacher, LLMTeacher | ServerTeacher) else 0
