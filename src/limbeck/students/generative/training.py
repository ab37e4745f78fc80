"""Learning to generate: cross-entropy of identifiers, with the library's sequence-to-sequence trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import (
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerCallback,
)
from transformers.integrations.integration_utils import TensorBoardCallback

from limbeck.checkpoints import last_whole_checkpoint
from limbeck.encoders import supports_bf16
from limbeck.errors import InputError
from limbeck.students.generative.generator import IGNORED, Generator, quiet
from limbeck.students.generative.targets import Example

T = TypeVar("T")


@dataclass(frozen=True)
class GenerationSettings:
    """How long and how fast a generator learns.

    Attributes:
        epochs: passes over the examples.
        batch_size: examples a batch.
        learning_rate: at its peak. Published for BART-large: 3e-5; what starts at random wants more.
        warmup_ratio: share of the steps over which the rate rises; it then falls linearly to zero.
        label_smoothing: part of the target's probability that goes to all tokens alike.
        weight_decay: of AdamW.
        max_grad_norm: the length to which longer gradients are cut.
        accumulation: batches a step of the optimiser.
        bf16: computes in bfloat16 under autocast; None does where the hardware is fast at it. Weights and
            optimiser stay in float32.
        seed: of the shuffling and of dropout.
        checkpoint_every: steps between checkpoints, from which a killed training goes on.
        log_every: steps between entries of the log.
        tensorboard: also writes the log for TensorBoard, into a folder `tensorboard` beside the work folder.
    """

    epochs: float = 3.0
    batch_size: int = 64
    learning_rate: float = 3e-5
    warmup_ratio: float = 0.1
    label_smoothing: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    accumulation: int = 1
    bf16: bool | None = None
    seed: int = 0
    checkpoint_every: int = 500
    log_every: int = 50
    tensorboard: bool = False


@dataclass(frozen=True)
class GenerationOutcome:
    """What a training did.

    Attributes:
        steps: of the optimiser.
        curve: entries of the log: `step`, `epoch`, `loss`, `grad_norm`, `learning_rate`.
    """

    steps: int
    curve: list[dict[str, float]] = field(default_factory=list)


def train_generator(
    generator: Generator[Any],
    examples: Sequence[Example],
    *,
    settings: GenerationSettings,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> GenerationOutcome:
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
            "there is nothing to learn from: no training query has a relevant passage",
            remedy="check that the training judgements name passages of the corpus",
        )
    trainer = Seq2SeqTrainer(
        model=generator.model,
        args=trainer_arguments(settings, generator.model.device.type, work_dir),
        train_dataset=Rows(examples),
        data_collator=_Collator(generator),
        compute_loss_func=_Loss(settings.label_smoothing),
        callbacks=list(callbacks),
    )
    return run_trainer(trainer, generator, settings, work_dir)


def trainer_arguments(settings: GenerationSettings, device: str, work_dir: Path) -> Seq2SeqTrainingArguments:
    """The settings as the library's trainers take them.

    Args:
        settings: how long and how fast.
        device: kind of the device on which the model lives.
        work_dir: for the checkpoints.
    """
    return Seq2SeqTrainingArguments(
        output_dir=str(work_dir),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=supports_bf16(device) if settings.bf16 is None else settings.bf16,
        use_cpu=device == "cpu",
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        save_total_limit=1,
        logging_steps=settings.log_every,
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=device == "cuda",
    )


def run_trainer(
    trainer: Trainer, generator: Generator[Any], settings: GenerationSettings, work_dir: Path
) -> GenerationOutcome:
    """Trains from the last checkpoint on, or from the start, and leaves the generator ready to search.

    Args:
        trainer: of the generator's model.
        generator: what is trained.
        settings: how long and how fast.
        work_dir: where the trainer's checkpoints are.

    Raises:
        InputError: TensorBoard is asked for and not installed.
    """
    trainer.remove_callback(PrinterCallback)  # what it prints is in the log history
    if settings.tensorboard:
        trainer.add_callback(_tensorboard(work_dir))
    checkpoint = last_whole_checkpoint(work_dir)
    try:
        with quiet():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        # Mixed precision wraps the model's forward pass; a search should compute as one with the saved model.
        trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        generator.model.eval()
    return GenerationOutcome(
        trainer.state.global_step, [_numbers(line) for line in trainer.state.log_history]
    )


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


def _tensorboard(work_dir: Path) -> TrainerCallback:
    if find_spec("tensorboard") is None:
        raise InputError(
            "TensorBoard is asked for and not installed", remedy="pip install 'limbeck[tensorboard]'"
        )
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # needs the package

    return TensorBoardCallback(SummaryWriter(work_dir.with_name("tensorboard")))  # type: ignore[no-untyped-call]


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in line.items() if isinstance(value, int | float)}
