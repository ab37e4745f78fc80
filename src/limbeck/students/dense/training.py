"""Training a dense student, and the fine-tuned backbone that it must beat, with the library's trainer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Features, List, Value
from safetensors.torch import load_model, save_model
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers, MultiDatasetBatchSamplers
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import nn
from transformers import TrainerCallback

from limbeck.data import PairFeatures, Passages, Queries
from limbeck.errors import InputError
from limbeck.students.dense.adapters import has_adapters
from limbeck.students.dense.backbone import training_prompts
from limbeck.students.dense.dropout import dropout
from limbeck.students.dense.lists import AskTeacher, JudgedExample, ListCollator, TrainingList
from limbeck.students.dense.lookups import sparse_lookups
from limbeck.students.dense.objective import Objective, StudentLoss
from limbeck.students.dense.student import DenseStudent
from limbeck.trainers import EpochSettings, TrainingOutcome, run_trainer

#: Parameters of the student that the backbone does not have, by a part of their name.
HEADS = (
    r"\.(attention_pooling|branch|query_half|passage_half|branches|outputs|cosine_scale|cosine_bias)(\.|$)"
)

#: In a checkpoint: all weights of a student with adapters.
_ADAPTED = "student.safetensors"

_LIST_FEATURES = Features(
    {
        "query_id": Value("string"),
        "passage_ids": List(Value("string")),
        "scores": List(Value("float64")),
        "hard": Value("int64"),
        "positives": List(Value("string")),
    }
)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(EpochSettings):
    """How long and how fast a model learns; see also `EpochSettings` and `TrainerSettings`.

    Attributes:
        epochs: passes over the lists.
        batch_size: lists a batch.
        learning_rate: of the encoder, at its peak.
        head_learning_rate: of the attention pooling and the interaction module, at its peak; they start
            from nothing and may move faster than the encoder.
        checkpoint_every: steps between checkpoints, from which a killed training goes on.
        log_every: steps between entries of the log.
        dropout: share of the activations that are dropped; None leaves it to the model.
        gradient_checkpointing: keeps a layer's input only and computes the layer again on the way back: a
            fraction of the memory, about a third more time, the same gradients.
    """

    epochs: float = 1.0
    batch_size: int = 16
    learning_rate: float = 2e-5
    head_learning_rate: float = 5e-4
    checkpoint_every: int = 50
    log_every: int = 10
    dropout: float | None = None
    gradient_checkpointing: bool = False

    def arguments(self, device: str, work_dir: Path) -> dict[str, Any]:
        """See `TrainerSettings.arguments`."""
        return super().arguments(device, work_dir) | {"activation_checkpointing": self.gradient_checkpointing}


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
    features: PairFeatures | None = None,
    ask: AskTeacher | None = None,
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
        features: the teacher's, for feature imitation; see `ListCollator`.
        ask: gives the teacher's scores of in-batch pairs; see `ListCollator`.
        callbacks: of the trainer, for progress.

    Raises:
        InputError: there are no lists, or TensorBoard is asked for and not installed.
    """
    return train_model(
        student.model,
        list_dataset(lists),
        StudentLoss(student.model, objective, task=task, cosine_weight=cosine_weight),
        settings,
        work_dir,
        collator=ListCollator(student.model, queries, passages, features, ask),
        rates={HEADS: settings.head_learning_rate},
        find_unused=False,  # `StudentLoss` uses them all
        callbacks=callbacks,
    )


def list_dataset(lists: Iterable[TrainingList]) -> Dataset:
    """Lists as the library's trainer takes them; an InputError when there are none."""
    rows = [asdict(row) for row in lists]
    if not rows:
        raise InputError(
            "there is nothing to learn from: no training query has both a scored positive and a negative",
            remedy="check that the training judgements name passages of the corpus",
        )
    return Dataset.from_list(rows, features=_LIST_FEATURES)


def train_in_batch(
    model: SentenceTransformer,
    examples: Iterable[JudgedExample],
    *,
    queries: Queries,
    passages: Passages,
    settings: TrainingSettings,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingOutcome:
    """Fine-tunes an encoder to find each query's positive among the passages of the batch.

    The usual way to adapt a bi-encoder, and what a distilled student has to beat. The negatives are its own
    hard ones and all passages of the batch's other queries. No two examples of a batch share a text, so a
    query's own positive never stands among its negatives. The model is changed in place, and a
    killed training goes on as `train_student` does.

    Source: Henderson et al. 2017, arXiv 1705.00652, section 4.4 (multiple negatives), by the library's
    `MultipleNegativesRankingLoss`.

    Args:
        model: the backbone as it is.
        examples: queries with their positives, all with as many hard negatives.
        queries: texts of the queries.
        passages: texts of the passages as training sees them.
        settings: how long and how fast; `head_learning_rate` has no part in it.
        work_dir: for the checkpoints.
        callbacks: of the trainer, for progress.

    Raises:
        InputError: there are no examples, or TensorBoard is asked for and not installed.
    """
    rows = list(examples)
    if not rows:
        raise InputError(
            "there is nothing to learn from: no training query has a relevant passage",
            expected="grades of 1 or more, and mined candidates where hard negatives are asked for",
        )
    columns = zip(*(row.passage_ids for row in rows), strict=True)
    texts = {
        name: passages.contents(passages.rows(list(ids)))
        for name, ids in zip(_passage_columns(len(rows[0].passage_ids)), columns, strict=True)
    }
    prompts = training_prompts(model)
    return train_model(
        model,
        Dataset.from_dict({"anchor": queries.texts([row.query_id for row in rows]), **texts}),
        MultipleNegativesRankingLoss(model),
        settings,
        work_dir,
        prompts={"anchor": prompts.query, **dict.fromkeys(texts, prompts.document)},
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        callbacks=callbacks,
    )


def _passage_columns(count: int) -> list[str]:
    """Names of an example's passages, as the library's loss orders them."""
    return ["positive", *(f"negative_{number}" for number in range(1, count))]


def train_model(
    model: SentenceTransformer,
    dataset: Dataset | DatasetDict,
    loss: nn.Module | dict[str, nn.Module],
    settings: TrainingSettings,
    work_dir: Path,
    *,
    collator: Any = None,
    rates: dict[str, float] | None = None,
    prompts: Any = None,
    batch_sampler: BatchSamplers = BatchSamplers.BATCH_SAMPLER,
    several: Any = MultiDatasetBatchSamplers.PROPORTIONAL,
    find_unused: bool | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingOutcome:
    """Runs the library's trainer; what all trainings of a dense student and its competitors share.

    Args:
        model: changed in place.
        dataset: what it learns from; several sets by name, each with its loss.
        loss: what is minimised.
        settings: how long and how fast.
        work_dir: for the checkpoints.
        collator: makes batches; None takes the library's.
        rates: learning rates of parameters by a part of their name.
        prompts: as the library's training arguments take them.
        batch_sampler: of each set.
        several: of several sets, as the library's training arguments take it.
        find_unused: whether data-parallel training looks for parameters without a gradient.
        callbacks: of the trainer, for progress.
    """
    arguments = SentenceTransformerTrainingArguments(
        **settings.arguments(model.device.type, work_dir),
        learning_rate_mapping=rates or {},
        prompts=prompts,
        batch_sampler=batch_sampler,
        multi_dataset_batch_sampler=several,
        ddp_find_unused_parameters=find_unused,
    )
    trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=loss,
        data_collator=collator,
        callbacks=list(callbacks),
    )
    with sparse_lookups(model), dropout(model, settings.dropout):
        return run_trainer(trainer, tensorboard=settings.tensorboard)


class _Trainer(SentenceTransformerTrainer):
    """The library's trainer without its model card, for which it encodes examples behind a bar of its own."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Adds none."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # The library would write a model without its adapters' scale and place, and not find them again.
        if output_dir is None or not has_adapters(self.model):
            super()._save(output_dir, state_dict)
            return
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_model(self.model, str(Path(output_dir) / _ADAPTED))

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:  # type: ignore[override]  # as the library does
        if has_adapters(self.model):
            load_model(self.model, str(Path(checkpoint_path) / _ADAPTED))
        else:
            super()._load_from_checkpoint(checkpoint_path)
