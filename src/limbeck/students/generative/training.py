"""Learning to generate: cross-entropy of identifiers, with the library's sequence-to-sequence trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainerCallback

from limbeck.encoders import quiet
from limbeck.errors import InputError
from limbeck.students.generative.generator import IGNORED, Generator
from limbeck.students.generative.targets import Example
from limbeck.trainers import EpochSettings, TrainingOutcome, run_trainer

T = TypeVar("T")


class HasModel(Protocol):
    """What is trained: whatever has a model of the `transformers` library."""

    model: Any


@dataclass(frozen=True, kw_only=True)
class GenerationSettings(EpochSettings):
    """How long and how fast a generator learns; see also `EpochSettings` and `TrainerSettings`.

    Attributes:
        epochs: passes over the examples.
        batch_size: examples a batch.
        learning_rate: at its peak. Published for BART-large: 3e-5; what starts at random wants more.
        label_smoothing: part of the target's probability that goes to all tokens alike.
        checkpoint_every: steps between checkpoints, from which a killed training goes on.
        log_every: steps between entries of the log.
    """

    epochs: float = 3.0
    batch_size: int = 64
    learning_rate: float = 3e-5
    label_smoothing: float = 0.1
    checkpoint_every: int = 500
    log_every: int = 50

    def arguments(self, device: str, work_dir: Path) -> dict[str, Any]:
        """See `TrainerSettings.arguments`."""
        return super().arguments(device, work_dir) | {"remove_unused_columns": False}


def train_generator(
    generator: Generator[Any],
    examples: Sequence[Example],
    *,
    settings: GenerationSettings,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingOutcome:
    """Teaches a generator the identifiers of the passages that answer its queries.

    The generator is changed in place, and is not in training mode afterwards. A training that was killed and
    is called again with the same arguments goes on from its last checkpoint and ends with the same weights.

    Args:
        generator: at step 0.
        examples: what it learns.
        settings: how long and how fast.
        work_dir: for the checkpoints.
        callbacks: of the trainer, for progress.

    Raises:
        InputError: there are no examples, or TensorBoard is asked for and not installed.
    """
    if not len(examples):
        raise InputError(
            "there is nothing to learn from: no training query has a relevant passage with an identifier",
            remedy="check that the training judgements name passages of the corpus, and that these have "
            "titles or pseudo-queries that are not longer than the max_length of their view",
        )
    return train_on(
        generator,
        examples,
        _Collator(generator),
        settings=settings,
        work_dir=work_dir,
        callbacks=callbacks,
    )


def train_on(
    generator: HasModel,
    examples: Sequence[T],
    collate: Callable[[Sequence[T]], dict[str, Tensor]],
    *,
    settings: GenerationSettings,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingOutcome:
    """Teaches a model to write what examples of any kind ask for; see `train_generator`.

    Args:
        generator: whose model is trained.
        examples: at least one.
        collate: makes the model's inputs of a batch of them, with `labels` (rows, tokens) that are aligned
            with its logits; `IGNORED` where no token is asked for.
        settings: how long and how fast.
        work_dir: for the checkpoints.
        callbacks: of the trainer, for progress.

    Raises:
        InputError: TensorBoard is asked for and not installed.
    """
    trainer = Seq2SeqTrainer(
        model=generator.model,
        args=Seq2SeqTrainingArguments(**settings.arguments(generator.model.device.type, work_dir)),
        train_dataset=Rows(examples),
        data_collator=collate,
        compute_loss_func=_Loss(settings.label_smoothing),
        callbacks=list(callbacks),
    )
    return run_generator_trainer(trainer, generator, settings)


def run_generator_trainer(
    trainer: Trainer, generator: HasModel, settings: GenerationSettings
) -> TrainingOutcome:
    """Trains as `run_trainer` does, and leaves the generator ready to search.

    Args:
        trainer: of the generator's model.
        generator: what is trained.
        settings: how long and how fast.

    Raises:
        InputError: TensorBoard is asked for and not installed.
    """
    try:
        with quiet():
            return run_trainer(trainer, tensorboard=settings.tensorboard)
    finally:
        # Mixed precision wraps the model's forward pass; a search should compute as one with the saved model.
        trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        generator.model.eval()


def generation_loss(
    logits: Tensor, labels: Tensor, smoothing: float, count: Tensor | int | None = None
) -> Tensor:
    """Cross-entropy with label smoothing, averaged over the tokens that are asked for.

    Args:
        logits: (rows, tokens, vocabulary).
        labels: (rows, tokens), aligned with them; `IGNORED` where none is asked for.
        smoothing: part of the target's probability that goes to all tokens alike.
        count: tokens to average over; None: those of these labels.

    Returns:
        A number, float32.
    """
    total = nn.functional.cross_entropy(
        logits.float().flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=smoothing,
        reduction="sum",
    )
    return total / (count if count is not None else (labels != IGNORED).sum())


class Rows(Dataset[T]):
    """A sequence as the trainer's loader takes it."""

    def __init__(self, rows: Sequence[T]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> T:
        return self._rows[place]


class _Collator:
    """Turns examples into the model's inputs, whatever its kind."""

    def __init__(self, generator: Generator[Any]) -> None:
        self._generator = generator

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        return self._generator.training_inputs(
            [example.query for example in examples],
            [example.prompt for example in examples],
            [example.target for example in examples],
        )


class _Loss:
    """The loss as the trainer asks for it; the labels are aligned with the logits for every kind of model."""

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing

    def __call__(
        self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        return generation_loss(outputs.logits, labels, self._smoothing, num_items_in_batch)
