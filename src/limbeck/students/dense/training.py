"""Training a dense student, and its plain competitor, with the library's trainer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import nn
from transformers import PrinterCallback, TrainerCallback

from limbeck.checkpoints import last_whole_checkpoint
from limbeck.data import Judgements, Passages, Queries
from limbeck.encoders import supports_bf16
from limbeck.errors import InputError
from limbeck.students.dense.lists import ListCollator, TrainingList
from limbeck.students.dense.objective import Objective, StudentLoss
from limbeck.students.dense.student import DenseStudent

_LIST_FEATURES = Features(
    {
        "query_id": Value("string"),
        "passage_ids": List(Value("string")),
        "scores": List(Value("float64")),
        "hard": Value("int64"),
        "positives": List(Value("string")),
    }
)


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast a model learns.

    Attributes:
        epochs: passes over the lists.
        batch_size: lists a step.
        learning_rate: of the encoder, peak.
        head_learning_rate: of the attention pooling and the interaction, which start near nothing.
        warmup_ratio: share of the steps over which the rate rises; it then falls linearly to zero.
        weight_decay: of AdamW.
        max_grad_norm: gradients are clipped to it.
        accumulation: batches a step of the optimiser.
        seed: of the shuffling and of dropout.
        checkpoint_every: steps between checkpoints, from which a killed run goes on.
        log_every: steps between log lines.
        tensorboard: writes TensorBoard logs beside the checkpoints.
    """

    epochs: float = 1.0
    batch_size: int = 16
    learning_rate: float = 2e-5
    head_learning_rate: float = 5e-4
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    accumulation: int = 1
    seed: int = 0
    checkpoint_every: int = 50
    log_every: int = 10
    tensorboard: bool = False


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training leaves besides the model.

    Attributes:
        steps: of the optimiser.
        curve: the trainer's log: one mapping a line, with `step`, `loss`, its parts, `learning_rate`.
    """

    steps: int
    curve: list[dict[str, float]] = field(default_factory=list)


def train_student(
    student: DenseStudent,
    lists: Iterable[TrainingList],
    *,
    queries: Queries,
    passages: Passages,
    objective: Objective,
    settings: TrainingSettings,
    work_dir: Path,
    task: str = "asymmetric",
    cosine_weight: float = 0.0,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingOutcome:
    """Teaches a student the teacher's rankings, in place.

    Args:
        student: at step 0, or as it was when the last run began; checkpoints bring it up to date.
        lists: what it learns from.
        queries: texts of the queries.
        passages: texts of the passages as training sees them.
        objective: what is minimised.
        settings: how long and how fast.
        work_dir: holds the checkpoints; a training that was killed goes on from the last of them.
        task: branch of the interaction.
        cosine_weight: weight of the same objective on the cosine part.
        callbacks: of the trainer, for progress.

    Raises:
        InputError: there are no lists.
    """
    dataset = Dataset.from_list([asdict(row) for row in lists], features=_LIST_FEATURES)
    if not len(dataset):
        raise InputError(
            "there is nothing to learn from: no training query has both a scored positive and a negative",
            remedy="check that the training judgements name passages of the corpus",
        )
    return _train(
        student.model,
        dataset,
        StudentLoss(student.model, objective, task=task, cosine_weight=cosine_weight),
        settings,
        work_dir,
        collator=ListCollator(student.model.preprocess, queries, passages),
        rates={
            r"attention_pooling|branch|query_half|passage_half|outputs|cosine_": settings.head_learning_rate
        },
        callbacks=callbacks,
    )


def train_in_batch(
    model: SentenceTransformer,
    judgements: Judgements,
    *,
    queries: Queries,
    passages: Passages,
    settings: TrainingSettings,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingOutcome:
    """Fine-tunes an encoder on (query, positive) with the other positives of the batch as negatives.

    The usual way to adapt a bi-encoder, and what a distilled student has to beat. The library's
    `MultipleNegativesRankingLoss` (Henderson et al. 2017, arXiv 1705.00652), in place.
    """
    pairs = [(query, passage) for query in judgements.query_ids for passage in judgements.relevant(query)]
    rows = [
        {"anchor": queries.text(query), "positive": content}
        for (query, _), content in zip(
            pairs, passages.contents(passages.rows([p for _, p in pairs])), strict=True
        )
    ]
    loss = MultipleNegativesRankingLoss(model)
    return _train(model, Dataset.from_list(rows), loss, settings, work_dir, callbacks=callbacks)


def _train(
    model: SentenceTransformer,
    dataset: Dataset,
    loss: nn.Module,
    settings: TrainingSettings,
    work_dir: Path,
    *,
    collator: Any = None,
    rates: dict[str, float] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingOutcome:
    device = model.device.type
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(work_dir),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        learning_rate_mapping=rates or {},
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=supports_bf16(device),
        use_cpu=device == "cpu",
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        save_total_limit=1,
        logging_steps=settings.log_every,
        report_to="tensorboard" if settings.tensorboard else "none",
        disable_tqdm=True,
        dataloader_pin_memory=device == "cuda",
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=loss,
        data_collator=collator,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)  # what it prints is in the log history
    checkpoint = last_whole_checkpoint(work_dir)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return TrainingOutcome(trainer.state.global_step, [_numbers(line) for line in trainer.state.log_history])


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in line.items() if isinstance(value, int | float)}
