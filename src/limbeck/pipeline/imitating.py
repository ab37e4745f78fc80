"""The stage in which a dense student's encoder learns the vectors of the teacher's bi-encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbeck.encoders import encode
from limbeck.files import atomic_path
from limbeck.pipeline.candidates import backbone_settings, start_backbone, training_queries
from limbeck.pipeline.folder import SCRATCH, write_json
from limbeck.pipeline.pairs.members import open_member
from limbeck.pipeline.pairs.mining import open_lists
from limbeck.pipeline.pairs.teaching import TEACHER_STAGE
from limbeck.pipeline.run import Run
from limbeck.pipeline.teaching import model_teacher
from limbeck.pipeline.trainer_progress import TrainerProgress
from limbeck.recipes import (
    RETRIEVAL,
    DenseStudentRecipe,
    Recipe,
    VectorImitationRecipe,
)
from limbeck.students.dense.training import TrainingSettings
from limbeck.students.dense.vector_imitation import VectorGoals, imitate_vectors
from limbeck.teachers import BiEncoderTeacher, Teacher
from limbeck.trainers import require_finite

STAGE = "imitate"
MODEL = "model"
#: Texts encoded and kept together: what a kill can cost.
BLOCK = 4096


def vector_imitation(recipe: Recipe) -> VectorImitationRecipe | None:
    """The recipe's section; None where the student starts from the backbone as it is."""
    student = recipe.student
    return student.vector_imitation if isinstance(student, DenseStudentRecipe) else None


def trainings(recipe: Recipe) -> tuple[str, ...]:
    """The stages in which a dense student learns; each leaves a curve."""
    return ("distil",) if vector_imitation(recipe) is None else (STAGE, "distil")


def imitation_settings(recipe: Recipe) -> object:
    """What the start depends on, beyond texts and teachers."""
    return [vector_imitation(recipe), backbone_settings(recipe), recipe.training_seed]


def imitate(run: Run, work: Path) -> None:
    """Teaches the student's backbone the vectors of its teachers; leaves `model/` and `curve.json`.

    Raises:
        InputError: the vectors have another dimension than the backbone's.
    """
    wanted, training = vector_imitation(run.recipe), run.recipe.training
    assert wanted is not None  # noqa: S101 - a recipe without it has no such stage
    goals = {
        one.name: VectorGoals(one.texts, _vectors(run, one, work / SCRATCH / "goals" / one.name), one.query)
        for one in _sources(run)
        if len(one.texts)
    }
    model = start_backbone(run.recipe)
    outcome = imitate_vectors(
        model,
        goals,
        settings=TrainingSettings(
            seed=run.recipe.training_seed,
            checkpoint_every=training.checkpoint_every,
            gradient_checkpointing=training.gradient_checkpointing,
            **wanted.model_dump(),
        ),
        work_dir=work / SCRATCH / "training",
        callbacks=[TrainerProgress(run.progress, "imitating the bi-encoder's vectors")],
    )
    require_finite(model, "student.vector_imitation.learning_rate")
    model.save(str(work / MODEL), create_model_card=False)
    write_json(work / "curve.json", outcome.curve)


@dataclass(frozen=True)
class _Source:
    """Texts, and the teacher that says what their vectors are to be."""

    name: str
    teacher: Teacher
    texts: Sequence[str]
    query: bool


def _sources(run: Run) -> Iterator[_Source]:
    """The training queries and all passages of the corpus; all texts of each set's training lists.

    Their names are those of sets, or have a space, which those never have.
    """
    recipe = run.recipe
    if recipe.data is not None:
        plain = recipe.teacher.bi_encoder
        assert plain is not None  # noqa: S101 - the recipe has made sure of it
        teacher = model_teacher(recipe, plain)
        queries, _ = training_queries(run)
        passages = run.dataset.training_view
        yield _Source(f"{RETRIEVAL} queries", teacher, queries.texts(), query=True)
        yield _Source(RETRIEVAL, teacher, passages.contents(range(len(passages))), query=False)
    for name, one in recipe.pairs.items():
        member = one.teacher.bi_encoder
        assert member is not None  # noqa: S101 - as above
        number = one.teacher.members.index(member)
        teacher = open_member(run, name, member, run.folder / TEACHER_STAGE / name / f"member-{number}")
        found = open_lists(run, name)
        lists = found.lists
        if one.task == "asymmetric":
            yield _Source(f"{name} first", teacher, found.texts.contents(np.unique(lists[:, 0])), query=True)
            lists = lists[:, 1:]
        rows = np.unique(lists[lists >= 0])
        yield _Source(name, teacher, found.texts.contents(rows), query=False)


def _vectors(run: Run, source: _Source, folder: Path) -> NDArray[np.float32]:
    """The teacher's vectors (texts, dimensions); what was encoded before a stop is not encoded again."""
    teacher = source.teacher
    assert isinstance(teacher, BiEncoderTeacher)  # noqa: S101 - it is what these members open as
    folder.mkdir(parents=True, exist_ok=True)
    blocks = []
    with run.progress.task(f"{source.name}: encoding with the bi-encoder", len(source.texts)) as advance:
        for start in range(0, len(source.texts), BLOCK):
            block, path = source.texts[start : start + BLOCK], folder / f"{start}.npy"
            if not path.exists():
                with atomic_path(path) as temporary, temporary.open("wb") as file:
                    np.save(file, encode(teacher.model, block, query=source.query))
            blocks.append(np.load(path))
            advance(len(block))
    return np.concatenate(blocks)
