"""The stages of pair teachers: they are made, audited against the student's start, and asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbeck.data import write_pair_features
from limbeck.pipeline.candidates import SPLITS, start_backbone
from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.folder import write_json
from limbeck.pipeline.language_models import noting_shortened, require_room
from limbeck.pipeline.pairs.members import make_member, open_member, servers_of
from limbeck.pipeline.pairs.mining import PairLists, open_lists
from limbeck.pipeline.pairs.reading import (
    labelled_pairs,
    labelled_settings,
    open_pairs,
    split_texts,
    targets,
    unlabelled_texts,
)
from limbeck.pipeline.run import Run
from limbeck.pipeline.servers import answering, fitted_ensemble
from limbeck.recipes import PairLLMMember, Recipe
from limbeck.teachers import (
    BiEncoderTeacher,
    EnsembleTeacher,
    ScoreCache,
    Teacher,
    TeacherNotBetterError,
    feature_blocks,
    feature_teacher,
)
from limbeck.teachers.base import Pair
from limbeck.teachers.pair_audit import audit_pairs
from limbeck.teachers.pair_ensemble import fit_pair_ensemble
from limbeck.teachers.scoring import score_pairs

TEACHER_STAGE, AUDIT_STAGE, TEACH_STAGE = "pair-teacher", "pair-audit", "pair-teach"
#: Pairs scored and kept together: what a kill can cost, a few seconds of work.
CHUNK = 256
FEATURES = "features.npy"


def teacher_settings(recipe: Recipe) -> object:
    """What the members depend on, beyond the sets."""
    members = {name: answering(one.teacher) for name, one in recipe.pairs.items()}
    return [members, labelled_settings(recipe), recipe.backbone, recipe.max_length, recipe.seed]


def prepare_teachers(run: Run, work: Path) -> None:
    """Fine-tunes the members that have no weights yet, into `SET/member-<n>/`; those that are done stay.

    Raises:
        InputError: a first text leaves a language model no room for a second one.
    """
    _require_room(run)
    for name, one in run.recipe.pairs.items():
        labelled = labelled_pairs(run, name)
        for number, member in enumerate(one.teacher.members):
            make_member(run, name, member, labelled, work / name / f"member-{number}")


def _require_room(run: Run) -> None:
    """Before the first teacher is made, or asked: any first text may be paired with any second one."""
    for name, one in run.recipe.pairs.items():
        asked = [member for member in one.teacher.members if isinstance(member, PairLLMMember)]
        if not asked:
            continue
        sides = [split_texts(run, name, split) for split in SPLITS]
        first, second = ([text for side in sides for text in side[at]] for at in (0, 1))
        more = unlabelled_texts(one)
        second += more
        if one.swap:
            first += sides[0][1]
        if one.task == "symmetric":
            first += more
        for member in asked:
            require_room(member, member.question_of(one.task), first, second)


def audit_settings(recipe: Recipe) -> object:
    """The audit depends on what the stages before it left, and on the student's start."""
    return [recipe.backbone_layers, recipe.seed]


def audit_teachers(run: Run, work: Path) -> None:
    """Scores the dev pairs with every member, fits the ensembles, and compares with the student's start.

    Leaves `SET.json` (the numbers of the ensemble) and `audit.json`. What follows from the verdict is up to
    the next stage, so that the audit is on disk whatever it says.
    """
    recipe, reports = run.recipe, {}
    for name, one in recipe.pairs.items():
        asked = list(zip(*split_texts(run, name, "dev"), strict=True))
        goal = targets(open_pairs(run, name, "dev"), one.labels)
        members = _members(run, name)
        scores = [scored(run, member, asked, f"{name}: dev pairs: {member.name}") for member in members]
        fit = fit_pair_ensemble(np.stack(scores), goal, one.labels.kind, name=name, seed=recipe.seed)
        start = BiEncoderTeacher(start_backbone(recipe), symmetric=one.task == "symmetric")
        before = scored(run, start, asked, f"{name}: dev pairs: the student's start")
        report = audit_pairs(name, fit.held_out, before, goal, one.labels.kind, seed=recipe.seed)
        numbers = {key: value for key, value in asdict(fit).items() if key != "held_out"}
        write_json(work / f"{name}.json", numbers)
        reports[name] = report.to_dict()
        if report.passed or run.anyway:
            run.progress.note(report.explanation)
    write_json(work / "audit.json", reports)


def count_audited(run: Run, estimate: CostEstimate) -> None:
    """What the audit asks servers."""
    for name in run.recipe.pairs:
        pairs = zip(*split_texts(run, name, "dev"), strict=True)
        estimate.add_pairs(f"{name}: dev pairs", servers_of(run, name), pairs)


def teach_settings(recipe: Recipe) -> object:
    """Beyond the lists and the audited teachers: whether features are left, too."""
    return FEATURES if recipe.pair_loss.feature else None


def teach_pairs(run: Run, work: Path) -> None:
    """Scores every pair of the training lists; leaves `SET.npy` (examples, 1 + neighbours + random).

    Where the student imitates features it also leaves `SET-features.npy`: those of the lists' pairs, less
    those with random texts (pairs, dimension), list by list.

    Raises:
        InputError: a text without a label leaves a language model no room for a second one.
        TeacherNotBetterError: the audit found a teacher no better than the student's start, and the run was
            not told to go on anyway.
    """
    audited = json.loads((run.folder / AUDIT_STAGE / "audit.json").read_text(encoding="utf-8"))
    for report in audited.values():
        if not report["passed"] and not run.anyway:
            raise TeacherNotBetterError(report["explanation"])
    _require_room(run)  # texts without labels may have come after the teachers were made
    for name in run.recipe.pairs:
        found = open_lists(run, name)
        teacher = open_pair_teacher(run, name)
        if run.recipe.pair_loss.feature:  # first: the scores come with them
            _write_features(run, name, teacher, found, work)
        listed = found.lists[:, 1:]
        scores = np.zeros(listed.shape, np.float32)
        scores[listed >= 0] = scored(run, teacher, _list_pairs(found, listed), f"{name}: training pairs")
        np.save(work / f"{name}.npy", scores)


def count_taught(run: Run, estimate: CostEstimate) -> None:
    """What `teach_pairs` asks servers."""
    for name in run.recipe.pairs:
        found = open_lists(run, name)
        pairs = _list_pairs(found, found.lists[:, 1:])
        estimate.add_pairs(f"{name}: training pairs", servers_of(run, name), pairs)


def _list_pairs(found: PairLists, listed: NDArray[np.int64]) -> list[Pair]:
    """The first text of each list with the texts of some of its columns, list by list."""
    rows, columns = np.nonzero(listed >= 0)
    firsts, others = found.texts.contents(found.lists[rows, 0]), found.texts.contents(listed[rows, columns])
    return list(zip(firsts, others, strict=True))


def _write_features(run: Run, name: str, teacher: Teacher, found: PairLists, work: Path) -> None:
    pairs = _list_pairs(found, found.lists[:, 1 : 2 + found.neighbours])
    member = feature_teacher(teacher)
    title = f"{name}: features of the training pairs: {member.name}"
    with (
        ScoreCache(run.scores) as cache,
        noting_shortened(run, member, title),
        run.progress.task(title, len(pairs)) as advance,
    ):
        blocks = feature_blocks(member, pairs, cache, chunk=CHUNK, progress=advance)
        write_pair_features(work / f"{name}-{FEATURES}", blocks, len(pairs))


def taught_features(run: Run, name: str) -> NDArray[np.float16]:
    """The features that `teach_pairs` left of a set, mapped from their file."""
    path = run.folder / TEACH_STAGE / f"{name}-{FEATURES}"
    features: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return features


def taught_scores(run: Run, name: str) -> NDArray[np.float32]:
    """What `teach_pairs` left of a set."""
    scores: NDArray[np.float32] = np.load(run.folder / TEACH_STAGE / f"{name}.npy")
    return scores


def open_pair_teacher(run: Run, name: str) -> EnsembleTeacher:
    """The audited teacher of a set, whose scores are logits of the expected label."""
    numbers = json.loads((run.folder / AUDIT_STAGE / f"{name}.json").read_text(encoding="utf-8"))
    return fitted_ensemble(_members(run, name), numbers)


def scored(run: Run, teacher: Teacher, pairs: Sequence[Pair], title: str) -> NDArray[np.float64]:
    """A teacher's scores (pairs,), chunk by chunk through the cache."""
    found = [np.zeros(0)]
    with (
        ScoreCache(run.scores) as cache,
        noting_shortened(run, teacher, title),
        run.progress.task(title, len(pairs)) as advance,
    ):
        for start in range(0, len(pairs), CHUNK):
            found.append(score_pairs(teacher, pairs[start : start + CHUNK], cache))
            advance(len(found[-1]))
    return np.concatenate(found)


def _members(run: Run, name: str) -> list[Teacher]:
    folder = run.folder / TEACHER_STAGE / name
    return [
        open_member(run, name, member, folder / f"member-{number}")
        for number, member in enumerate(run.recipe.pairs[name].teacher.members)
    ]
