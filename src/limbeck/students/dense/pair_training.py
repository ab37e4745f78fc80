"""Training on pairs with the library's trainer: a student, and the bi-encoder that it must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CoSENTLoss
from transformers import TrainerCallback

from limbeck.students.dense.backbone import training_prompts
from limbeck.students.dense.objective import StudentLoss
from limbeck.students.dense.sampling import TemperatureSampler
from limbeck.students.dense.student import DenseStudent
from limbeck.students.dense.training import HEADS, TrainingSettings, train_model
from limbeck.trainers import TrainingOutcome


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs with labels from 0 to 1.

    Attributes:
        first: first texts (pairs,).
        second: second texts (pairs,).
        targets: labels (pairs,).
        task: `"symmetric"`, both texts alike in kind, or `"asymmetric"`, the first a query.
    """

    first: Sequence[str]
    second: Sequence[str]
    targets: NDArray[np.float64]
    task: str = "symmetric"


def fine_tune_on_labels(
    model: SentenceTransformer,
    sets: Mapping[str, LabelledPairs],
    *,
    settings: TrainingSettings,
    work_dir: Path,
    temperature: float = 1.0,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingOutcome:
    """Fine-tunes an encoder so that the order of the cosines is that of the labels.

    The usual way to adapt a bi-encoder to pairs, and what a distilled student has to beat. The model is
    changed in place, and a killed training goes on as `train_student` does.

    Source: CoSENT (Su 2022), by the library's `CoSENTLoss`.

    Args:
        model: the backbone as it is.
        sets: what it learns from; a batch holds pairs of one set.
        settings: how long and how fast; `head_learning_rate` has no part in it.
        work_dir: for the checkpoints.
        temperature: see `batch_shares`.
        callbacks: of the trainer, for progress.

    Raises:
        InputError: the training diverges.
    """
    prompts = training_prompts(model)
    loss = CoSENTLoss(model)
    return train_model(
        model,
        DatasetDict(
            {
                name: Dataset.from_dict(
                    {"text1": list(one.first), "text2": list(one.second), "label": one.targets.tolist()}
                )
                for name, one in sets.items()
            }
        ),
        dict.fromkeys(sets, loss),
        settings,
        work_dir,
        prompts={
            name: {
                "text1": prompts.document if one.task == "symmetric" else prompts.query,
                "text2": prompts.document,
            }
            for name, one in sets.items()
        },
        several=partial(TemperatureSampler, temperature=temperature),
        callbacks=callbacks,
    )


@dataclass(frozen=True)
class StudentTask:
    """Something that a student learns: examples, what makes batches of them, and the loss.

    Attributes:
        dataset: the examples.
        collator: makes the inputs of a batch.
        loss: on the student's model, with the branch of the task.
    """

    dataset: Dataset
    collator: Any
    loss: StudentLoss


def train_on_tasks(
    student: DenseStudent,
    tasks: Mapping[str, StudentTask],
    *,
    settings: TrainingSettings,
    work_dir: Path,
    temperature: float = 1.0,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingOutcome:
    """Teaches a student several tasks, each batch being of one of them.

    The student is changed in place. A training that was killed and is called again with the same arguments
    goes on from its last checkpoint and ends with the same weights.

    Args:
        student: at step 0.
        tasks: what it learns, by name.
        settings: how long and how fast; an epoch has as many batches as the tasks have together.
        work_dir: for the checkpoints.
        temperature: how far small tasks are drawn more often than their size has it, see `batch_shares`.
        callbacks: of the trainer, for progress.

    Raises:
        InputError: TensorBoard is asked for and not installed, or the training diverges.
    """
    return train_model(
        student.model,
        DatasetDict({name: task.dataset for name, task in tasks.items()}),
        {name: task.loss for name, task in tasks.items()},
        settings,
        work_dir,
        collator=_TaskCollator({name: task.collator for name, task in tasks.items()}),
        rates={HEADS: settings.head_learning_rate},
        several=partial(TemperatureSampler, temperature=temperature),
        find_unused=False,  # `StudentLoss` uses them all
        callbacks=callbacks,
    )


@dataclass
class _TaskCollator:
    """Passes a batch on to the collator of its task, which the trainer names in each example."""

    collators: Mapping[str, Any]
    valid_label_columns: list[str] = field(default_factory=lambda: ["label"])

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """The inputs of a batch, with the name of its task as `dataset_name`."""
        name = features[0]["dataset_name"]
        examples = [
            {key: value for key, value in feature.items() if key != "dataset_name"} for feature in features
        ]
        return {"dataset_name": name, **self.collators[name](examples)}
