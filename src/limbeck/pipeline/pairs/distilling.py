"""What a student learns of pairs, and the stage of its plain competitor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from limbeck.pipeline.candidates import backbone_settings, start_backbone
from limbeck.pipeline.folder import SCRATCH, write_json
from limbeck.pipeline.in_batch import in_batch_pair_teacher
from limbeck.pipeline.pairs.mining import PairLists, open_lists
from limbeck.pipeline.pairs.reading import labelled_pairs, labelled_settings
from limbeck.pipeline.pairs.teaching import taught_features, taught_scores
from limbeck.pipeline.run import Run
from limbeck.pipeline.trainer_progress import TrainerProgress
from limbeck.recipes import Recipe
from limbeck.students.dense.interaction import InteractionModule
from limbeck.students.dense.objective import StudentLoss
from limbeck.students.dense.pair_lists import PairCollator, pair_dataset
from limbeck.students.dense.pair_objective import PairObjective, PairWeights
from limbeck.students.dense.pair_scoring import PairScorer
from limbeck.students.dense.pair_training import StudentTask, fine_tune_on_labels
from limbeck.students.dense.student import DenseStudent
from limbeck.students.dense.training import TrainingSettings
from limbeck.teachers import ScoreCache
from limbeck.teachers.pair_ensemble import calibration, levelling
from limbeck.trainers import require_finite

BASELINE_STAGE = "pair-baseline"
MODEL = "model"
#: Beside the student: what makes probabilities of its logits, by set.
CALIBRATION = "calibration.json"
#: Lists of whose pairs one each is taken to fit it.
SAMPLE = 1000


def pair_tasks(run: Run, student: DenseStudent, work: Path, cache: ScoreCache) -> dict[str, StudentTask]:
    """A task a set of pairs; leaves `calibration.json`.

    Args:
        run: a run whose pairs are scored.
        student: at step 0.
        work: the folder of the stage that teaches it.
        cache: of the teachers' scores.
    """
    recipe, loss = run.recipe, run.recipe.pair_loss
    tasks, scales = {}, {}
    options = loss.model_dump(exclude={"temperature", "positive_from", "in_batch_teacher"})
    for name, one in recipe.pairs.items():
        lists, scores = open_lists(run, name), taught_scores(run, name)
        if (loss.contrastive or loss.in_batch) and not (lists.targets >= loss.positive_from).any():
            run.progress.note(
                f"{name}: contrastive and in_batch have nothing to learn from: no pair is positive, with a "
                f"label of at least {loss.positive_from:g} of the range (pair_loss.positive_from)"
            )
        slope, bias = _calibrated(student, lists, scores, one.task)
        scales[name] = {"slope": slope, "bias": bias}
        objective = PairObjective(PairWeights(**options), loss.temperature, loss.positive_from, slope, bias)
        tasks[name] = StudentTask(
            pair_dataset(lists.lists, scores, lists.targets, lists.neighbours),
            PairCollator(
                student.model,
                lists.texts,
                symmetric=one.task == "symmetric",
                features=taught_features(run, name) if loss.feature else None,
                ask=in_batch_pair_teacher(run, name, cache),
            ),
            StudentLoss(
                student.model,
                objective,
                task=one.task,
                cosine_weight=recipe.training.cosine_weight,
                name=f"{name}_" if len(recipe.pairs) > 1 or recipe.data is not None else "",
            ),
        )
    write_json(work / CALIBRATION, scales)
    return tasks


def _calibrated(
    student: DenseStudent, lists: PairLists, scores: NDArray[np.float32], task: str
) -> tuple[float, float]:
    """Slope and bias that bring the student's logits at step 0 to the teacher's unit."""
    rows = np.unique(np.linspace(0, len(lists.lists) - 1, min(SAMPLE, len(lists.lists))).astype(np.int64))
    # Of every column, labelled or not: they are all learnt from.
    columns = np.arange(len(rows)) % scores.shape[1]
    columns[lists.lists[rows, 1 + columns] < 0] = 0
    first = lists.texts.contents(lists.lists[rows, 0])
    second = lists.texts.contents(lists.lists[rows, 1 + columns])
    logits = PairScorer(student, task).score(first, second)
    goal = expit(scores[rows, columns])
    module = student.interaction
    if isinstance(module, InteractionModule) and module.start == "random":
        # Its logits go with the teacher's by chance alone: a slope would be one, too.
        return 1.0, levelling(logits, goal)
    return calibration(logits, goal)


def baseline_settings(recipe: Recipe) -> object:
    """What the fine-tuned backbone depends on, beyond the pairs."""
    left_out = {"hard_negatives", "cosine_weight", "head_learning_rate", "seed"}
    budget = recipe.pair_baseline_training.settings
    return [
        {name: value for name, value in budget.items() if name not in left_out},
        labelled_settings(recipe),
        backbone_settings(recipe),
        recipe.training_seed,
    ]


def fine_tune_baseline(run: Run, work: Path) -> None:
    """Fine-tunes the backbone on the labels of all sets; leaves `model/` and `curve.json`."""
    recipe = run.recipe
    model = start_backbone(recipe)
    sets = {name: labelled_pairs(run, name) for name in recipe.pairs}
    options = recipe.pair_baseline_training.model_dump(
        exclude={"hard_negatives", "cosine_weight", "task_temperature", "seed"}
    )
    outcome = fine_tune_on_labels(
        model,
        sets,
        settings=TrainingSettings(seed=recipe.training_seed, **options),
        work_dir=work / SCRATCH,
        temperature=recipe.training.task_temperature,
        callbacks=[TrainerProgress(run.progress, "fine-tuning the backbone on the labels")],
    )
    require_finite(model, "pair_baseline.learning_rate")
    model.save(str(work / MODEL), create_model_card=False)
    write_json(work / "curve.json", outcome.curve)
