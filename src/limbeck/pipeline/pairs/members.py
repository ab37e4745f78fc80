"""The members of a pair teacher: each is made, if it has no weights yet, and opened."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from limbeck.backbones import locate_backbone
from limbeck.encoders import load_cross_encoder
from limbeck.files import atomic_folder
from limbeck.pipeline.folder import SCRATCH
from limbeck.pipeline.language_models import open_llm, tune_llm
from limbeck.pipeline.run import Run
from limbeck.pipeline.servers import server_teacher
from limbeck.pipeline.trainer_progress import TrainerProgress
from limbeck.recipes import (
    PairBiEncoderMember,
    PairCrossEncoderMember,
    PairLLMMember,
    PairMember,
    PairServerMember,
    Recipe,
)
from limbeck.students.dense.backbone import load_backbone
from limbeck.students.dense.pair_training import LabelledPairs, fine_tune_on_labels
from limbeck.students.dense.training import TrainingSettings
from limbeck.teachers import BiEncoderTeacher, CrossEncoderTeacher, Teacher
from limbeck.teachers.llm.fine_tuning import LabelledPair, LoRATuning
from limbeck.teachers.pair_fine_tuning import PairFineTuning, fine_tune_on_pairs
from limbeck.teachers.server import ServerTeacher

MODEL = "model"


def make_member(run: Run, name: str, member: PairMember, labelled: LabelledPairs, folder: Path) -> None:
    """Fine-tunes a member that has no weights yet into `folder/model`; one that is there stays."""
    if isinstance(member, PairCrossEncoderMember):
        if member.model is None:
            _make_cross_encoder(run, name, member, labelled, folder)
    elif isinstance(member, PairLLMMember):
        _tune_llm(run, name, member, labelled, folder)
    elif isinstance(member, PairBiEncoderMember) and member.fine_tuned:
        _make_bi_encoder(run, name, member, labelled, folder)


def servers_of(run: Run, name: str) -> list[ServerTeacher]:
    """The members of a set's teacher that are asked over the network."""
    return [
        _server(run, name, member)
        for member in run.recipe.pairs[name].teacher.members
        if isinstance(member, PairServerMember)
    ]


def asks_servers(recipe: Recipe) -> bool:
    """Whether the teacher of a set, or a member of it, is asked over the network."""
    members = (member for one in recipe.pairs.values() for member in one.teacher.members)
    return any(isinstance(member, PairServerMember) for member in members)


def open_member(run: Run, name: str, member: PairMember, folder: Path) -> Teacher:
    """A member that scores pairs of a set."""
    recipe = run.recipe
    if isinstance(member, PairCrossEncoderMember):
        length = member.max_length
        model = load_cross_encoder(member.model or folder / MODEL, max_length=length, device=recipe.device)
        return CrossEncoderTeacher(model, max_length=length)
    if isinstance(member, PairLLMMember):
        tuned = None if member.fine_tuning is None else folder / MODEL
        return open_llm(member, member.question_of(recipe.pairs[name].task), recipe.device, tuned)
    if isinstance(member, PairServerMember):
        return _server(run, name, member)
    place = str(folder / MODEL) if member.fine_tuned else member.model or recipe.backbone
    encoder = load_backbone(place, recipe.max_length, recipe.device)
    return BiEncoderTeacher(encoder, symmetric=recipe.pairs[name].task == "symmetric")


def _server(run: Run, name: str, member: PairServerMember) -> ServerTeacher:
    # An account a set: what may be spent is said of each.
    prompt = member.question_of(run.recipe.pairs[name].task)
    return server_teacher(run, member, prompt, f"pairs.{name}")


def _make_cross_encoder(
    run: Run, name: str, member: PairCrossEncoderMember, labelled: LabelledPairs, folder: Path
) -> None:
    options = member.fine_tuning.model_dump(exclude={"base"})
    fine_tune_on_pairs(
        locate_backbone(member.fine_tuning.base or run.recipe.backbone),
        (labelled.first, labelled.second),
        labelled.targets,
        folder,
        PairFineTuning(**options, max_length=member.max_length, seed=run.recipe.seed),
        device=run.recipe.device,
        callbacks=[TrainerProgress(run.progress, f"{name}: fine-tuning the cross-encoder")],
    )


def _tune_llm(run: Run, name: str, member: PairLLMMember, labelled: LabelledPairs, folder: Path) -> None:
    tuning = member.fine_tuning
    if tuning is None:
        return
    pairs = list(map(LabelledPair, labelled.first, labelled.second, labelled.targets.tolist()))
    options = tuning.model_dump(exclude={"epochs"})
    steps = math.ceil(tuning.epochs * len(pairs) / tuning.batch_size)
    tune_llm(
        run,
        member,
        member.question_of(run.recipe.pairs[name].task),
        pairs,
        settings=LoRATuning(**options, steps=steps, seed=run.recipe.seed),
        folder=folder,
        title=f"{name}: fine-tuning the LLM",
    )


def _make_bi_encoder(
    run: Run, name: str, member: PairBiEncoderMember, labelled: LabelledPairs, folder: Path
) -> None:
    if (folder / MODEL).is_dir():
        return
    recipe = run.recipe
    model = load_backbone(member.fine_tuning.base or recipe.backbone, recipe.max_length, recipe.device)
    options = member.fine_tuning.model_dump(exclude={"base", "head_learning_rate"})
    fine_tune_on_labels(
        model,
        {name: labelled},
        settings=TrainingSettings(**options, seed=recipe.seed),
        work_dir=folder / SCRATCH,
        callbacks=[TrainerProgress(run.progress, f"{name}: fine-tuning the bi-encoder")],
    )
    with atomic_folder(folder / MODEL) as staging:
        model.save(str(staging), create_model_card=False)
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
