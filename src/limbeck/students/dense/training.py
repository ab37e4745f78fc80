"""Training a dense student, and the fine-tuned backbone that it must beat, with the library's trainer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import nn
from transformers import PrinterCallback, TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback

from limbeck.checkpoints import last_whole_checkpoint
from limbeck.data import Judgements, Passages, Queries
from limbeck.encoders import supports_bf16
from limbeck.errors import InputError
from limbeck.students.dense.backbone import training_prompts
from limbeck.students.dense.lists import ListCollator, TrainingList
from limbeck.students.dense.objective import Objective, StudentLoss
from limbeck.students.dense.student import DenseStudent

#: Parameters of the student that the backbone does not have, by a part of their name.
_HEADS = (
    r"\.(attention_pooling|branch|query_half|passage_half|branches|outputs|cosine_scale|cosine_bias)(\.|$)"
)

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
        batch_size: lists a batch.
        learning_rate: of the encoder, at its peak.
        head_learning_rate: of the attention pooling and the interaction module, at its peak; they start
            from nothing and may move faster than the encoder.
        warmup_ratio: share of the steps over which the rates rise; they then fall linearly to zero.
        weight_decay: of AdamW.
        max_grad_norm: the length to which longer gradients are cut.
        accumulation: batches a step of the optimiser.
        bf16: computes in bfloat16 under autocast; None does where the hardware is fast at it. Weights and
            optimiser stay in float32.
        seed: of the shuffling and of dropout.
        checkpoint_every: steps between checkpoints, from which a killed training goes on.
        log_every: steps between entries of the log.
        tensorboard: also writes the log for TensorBoard, into a folder `tensorboard` beside the work folder.
        gradient_checkpointing: keeps a layer's input only and computes the layer again on the way back: a
            fraction of the memory, about a third more time, the same gradients.
    """

    epochs: float = 1.0
    batch_size: int = 16
    learning_rate: float = 2e-5
    head_learning_rate: float = 5e-4
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    accumulation: int = 1
    bf16: bool | None = None
    seed: int = 0
    checkpoint_every: int = 50
    log_every: int = 10
    tensorboard: bool = False
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training leaves besides the model.

    Attributes:
        steps: how many the optimiser made, those before a checkpoint included.
        curve: the trainer's log, one mapping an entry: `step`, `loss` and each of its parts (`…_loss`),
            `grad_norm`, `learning_rate`.
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
    """Teaches a student the teacher's rankings.

    The student is changed in place. A training that was killed and is called again with the same arguments
    goes on from its last checkpoint and ends with the same weights.

    Args:
        student: at step 0.
        lists: what it learns from.
        queries: texts of the queries.
        passages: texts of the passages as training sees them.
        objective: what is minimised.
        settings: how long and how fast.
        work_dir: for the checkpoints.
        task: branch of the interaction, `"symmetric"` or `"asymmetric"`.
        cosine_weight: of the same objective on the cosine part.
        callbacks: of the trainer, for progress.

    Raises:
        InputError: there are no lists, or TensorBoard is asked for and not installed.
    """
    rows = [asdict(row) for row in lists]
    if not rows:
        raise InputError(
            "there is nothing to learn from: no training query has both a scored positive and a negative",
            remedy="check that the training judgements name passages of the corpus",
        )
    return _train(
        student.model,
        Dataset.from_list(rows, features=_LIST_FEATURES),
        StudentLoss(student.model, objective, task=task, cosine_weight=cosine_weight),
        settings,
        work_dir,
        collator=ListCollator(student.model, queries, passages),
        rates={_HEADS: settings.head_learning_rate},
        find_unused=False,  # `StudentLoss` uses them all
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

    The usual way to adapt a bi-encoder, and what a distilled student has to beat. No batch holds a text
    twice, so a query's own positive never stands among its negatives. The model is changed in place, and a
    killed training goes on as `train_student` does.

    Source: Henderson et al. 2017, arXiv 1705.00652, section 4.4 (multiple negatives), by the library's
    `MultipleNegativesRankingLoss`.

    Args:
        model: the backbone as it is.
        judgements: which passages are positives (grade ≥ 1).
        queries: texts of the queries.
        passages: texts of the passages as training sees them.
        settings: how long and how fast; `head_learning_rate` has no part in it.
        work_dir: for the checkpoints.
        callbacks: of the trainer, for progress.

    Raises:
        InputError: there are no positives, or TensorBoard is asked for and not installed.
    """
    pairs = [(query, passage) for query in judgements.query_ids for passage in judgements.relevant(query)]
    if not pairs:
        raise InputError(
            "there is nothing to learn from: the training judgements name no relevant passage",
            expected="grades of 1 or more",
        )
    prompts = training_prompts(model)
    positives = passages.contents(passages.rows([passage for _, passage in pairs]))
    return _train(
        model,
        Dataset.from_dict({"anchor": queries.texts([query for query, _ in pairs]), "positive": positives}),
        MultipleNegativesRankingLoss(model),
        settings,
        work_dir,
        prompts={"anchor": prompts.query, "positive": prompts.document},
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        callbacks=callbacks,
    )


def _train(
    model: SentenceTransformer,
    dataset: Dataset,
    loss: nn.Module,
    settings: TrainingSettings,
    work_dir: Path,
    *,
    collator: Any = None,
    rates: dict[str, float] | None = None,
    prompts: dict[str, str] | None = None,
    batch_sampler: BatchSamplers = BatchSamplers.BATCH_SAMPLER,
    find_unused: bool | None = None,
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
        prompts=prompts,
        batch_sampler=batch_sampler,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=supports_bf16(device) if settings.bf16 is None else settings.bf16,
        gradient_checkpointing=settings.gradient_checkpointing,
        use_cpu=device == "cpu",
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        save_total_limit=1,
        logging_steps=settings.log_every,
        report_to="none",
        ddp_find_unused_parameters=find_unused,
        disable_tqdm=True,
        dataloader_pin_memory=device == "cuda",
    )
    trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=loss,
        data_collator=collator,
        callbacks=[*callbacks, *([_tensorboard(work_dir)] if settings.tensorboard else [])],
    )
    trainer.remove_callback(PrinterCallback)  # what it prints is in the log history
    checkpoint = last_whole_checkpoint(work_dir)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return TrainingOutcome(trainer.state.global_step, [_numbers(line) for line in trainer.state.log_history])


class _Trainer(SentenceTransformerTrainer):
    """The library's trainer without its model card, for which it encodes examples behind a bar of its own."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Adds none."""


def _tensorboard(work_dir: Path) -> TrainerCallback:
    if find_spec("tensorboard") is None:
        raise InputError(
            "TensorBoard is asked for and not installed", remedy="pip install 'limbeck[tensorboard]'"
        )
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # needs the package

    return TensorBoardCallback(SummaryWriter(work_dir.with_name("tensorboard")))  # type: ignore[no-untyped-call]


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in line.items() if isinstance(value, int | float)}
