"""What every training shares: settings, the trainer's arguments, going on after a kill, the log, TensorBoard.

Design facts:
- Optimisation, mixed precision, checkpoints and several devices are the library's trainer's.
- A training that was killed at any instant and is called again goes on from its last whole checkpoint.
- Nothing is printed: what a trainer would print is in the outcome's curve.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations.integration_utils import TensorBoardCallback

from limbeck.attention import float32_attention
from limbeck.errors import InputError
from limbeck.files import atomic_path, make_folder
from limbeck.hardware import supports_bf16

_STATE = "trainer_state.json"  # the trainer writes it last
#: What the trainer saves with torch: zips, with their lists of contents at the end.
_SAVED_BY_TORCH = (
    "optimizer.pt",
    "scheduler.pt",
    "rng_state*.pth",
    "training_args.bin",
    "pytorch_model*.bin",
)
#: Settings that notes of older folders lack; see `forget_other_runs`.
_LATER = frozenset({"warmup_steps", "adam_betas"})


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """What every training is told.

    Attributes:
        batch_size: examples a batch.
        learning_rate: at its peak.
        warmup_ratio: share of the steps over which the rate rises; it then falls linearly to zero.
        warmup_steps: over which it rises; None takes the share.
        adam_betas: how much AdamW keeps of its running means of the gradient and of its square at each step.
        weight_decay: of AdamW.
        seed: of the shuffling and of dropout.
        checkpoint_every: steps between checkpoints, from which a killed training goes on.
    """

    batch_size: int
    learning_rate: float
    warmup_ratio: float = 0.1
    warmup_steps: int | None = None
    adam_betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    seed: int = 0
    checkpoint_every: int

    def arguments(self, device: str, work_dir: Path) -> dict[str, Any]:
        """The settings as the arguments classes of the library's trainers take them.

        Args:
            device: kind of the device on which the model lives, `"cpu"` or `"cuda"`.
            work_dir: for the checkpoints.

        Returns:
            Keyword arguments of `transformers.TrainingArguments` and of the classes derived from it.

        Example:
            >>> TrainingArguments(**settings.arguments("cpu", Path("work/checkpoints")))
        """
        return {
            "output_dir": str(work_dir),
            "per_device_train_batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            # The library takes 1 for a number of steps, and what is below for a share of them.
            "warmup_steps": min(self.warmup_ratio, math.nextafter(1.0, 0.0))
            if self.warmup_steps is None
            else self.warmup_steps,
            "adam_beta1": self.adam_betas[0],
            "adam_beta2": self.adam_betas[1],
            "weight_decay": self.weight_decay,
            "seed": self.seed,
            "data_seed": self.seed,
            "bf16": supports_bf16(device),
            "use_cpu": device == "cpu",
            "save_strategy": "steps",
            "save_steps": self.checkpoint_every,
            "save_total_limit": 1,
            "report_to": "none",
            "disable_tqdm": True,
            "dataloader_pin_memory": device == "cuda",
        }


@dataclass(frozen=True, kw_only=True)
class EpochSettings(TrainerSettings):
    """What a training is told that passes over its examples.

    Attributes:
        epochs: passes over the examples.
        max_grad_norm: the length to which longer gradients are cut.
        accumulation: batches a step of the optimiser.
        bf16: computes in bfloat16 under autocast; None does where the hardware is fast at it. Weights and
            optimiser stay in float32.
        log_every: steps between entries of the log.
        tensorboard: also writes the log for TensorBoard, into a folder `tensorboard` beside the work folder.
    """

    epochs: float
    max_grad_norm: float = 1.0
    accumulation: int = 1
    bf16: bool | None = None
    log_every: int
    tensorboard: bool = False

    def arguments(self, device: str, work_dir: Path) -> dict[str, Any]:
        """See `TrainerSettings.arguments`."""
        found = super().arguments(device, work_dir) | {
            "num_train_epochs": self.epochs,
            "gradient_accumulation_steps": self.accumulation,
            "max_grad_norm": self.max_grad_norm,
            "logging_steps": self.log_every,
        }
        return found if self.bf16 is None else found | {"bf16": self.bf16}


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training leaves besides the model.

    Attributes:
        steps: how many the optimiser made, those before a checkpoint included.
        curve: the trainer's log, one mapping an entry: `step`, `epoch`, `loss` and each of its parts
            (`…_loss`), `grad_norm`, `learning_rate`.
    """

    steps: int
    curve: list[dict[str, float]] = field(default_factory=list)


def run_trainer(trainer: Trainer, *, tensorboard: bool = False) -> TrainingOutcome:
    """Trains from the last whole checkpoint in the trainer's folder on, or from the start.

    Args:
        trainer: the library's, whose arguments come from `TrainerSettings.arguments`.
        tensorboard: also writes the log for TensorBoard, into a folder `tensorboard` beside the trainer's.

    Raises:
        InputError: TensorBoard is asked for and not installed, or the training diverges: its gradient is NaN.

    Example:
        >>> trainer = Trainer(model, TrainingArguments(**settings.arguments("cpu", work_dir)))
        >>> run_trainer(trainer).curve[-1]["loss"]
    """
    work_dir = Path(str(trainer.args.output_dir))  # the library fills in a None
    trainer.remove_callback(PrinterCallback)  # what it prints is in the log history
    trainer.add_callback(_Divergence())
    if tensorboard:
        trainer.add_callback(_tensorboard(work_dir.with_name("tensorboard")))
    checkpoint = last_whole_checkpoint(work_dir)
    with float32_attention():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return TrainingOutcome(trainer.state.global_step, [_numbers(line) for line in trainer.state.log_history])


def require_finite(model: nn.Module, rates: str) -> None:
    """Refuses a model of NaN, which would fail hours later, at a place that does not say why.

    Args:
        model: after its training.
        rates: the keys of the recipe that hold the learning rates, for the message.

    Raises:
        InputError: a weight is NaN or infinite.
    """
    if not all(bool(weights.isfinite().all()) for weights in model.parameters()):
        raise InputError("the training diverged: weights became NaN or infinite", remedy=f"lower {rates}")


class _Divergence(TrainerCallback):
    """Ends a training whose gradient is NaN: all weights then are, and hours would go by until that is seen.

    The trainer's log tells, at no cost; its loss does not, because NaN is filtered out of it.
    """

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """See `TrainerCallback`."""
        if math.isnan((logs or {}).get("grad_norm", 0.0)):
            raise InputError(
                f"the training diverged: the gradient is NaN at step {state.global_step}",
                remedy=f"lower the learning rate, which is {args.learning_rate:g} at its peak",
            )


def last_whole_checkpoint(work_dir: Path) -> Path | None:
    """The newest `checkpoint-STEP` in a trainer's folder that was written to its end; halves are removed.

    A process that is killed while it writes a checkpoint leaves one that cannot be loaded, and so may a power
    cut; the trainer's own search would take it, at every start.

    Example:
        >>> checkpoint = last_whole_checkpoint(work_dir)
        >>> trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    """
    found = [
        path for path in work_dir.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()
    ]
    for checkpoint in sorted(found, key=lambda path: -int(path.name.removeprefix("checkpoint-"))):
        if _is_whole(checkpoint):
            return checkpoint
        shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint can be loaded, as far as its files tell without being read through.

    The state is written last, so a kill leaves none; a power cut or a full disk can cut the others short.
    """
    try:
        json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        for weights in checkpoint.rglob("*.safetensors"):
            with safe_open(weights, "pt"):  # its header says how long the file is
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    return all(is_zipfile(file) for name in _SAVED_BY_TORCH for file in checkpoint.glob(name))


def forget_other_runs(work_dir: Path, settings: TrainerSettings, inputs: Sequence[str]) -> None:
    """Removes what a training with other settings or data left, so that nothing goes on from it.

    Args:
        work_dir: with the checkpoints and, once it is done, `model`; made where it is not there.
        settings: of the training.
        inputs: what tells its base and its data from others.
    """
    make_folder(work_dir)
    # A folder from before there were these settings goes on where they are as they were then.
    told = {
        name: value
        for name, value in asdict(settings).items()
        if name not in _LATER or value != type(settings).__dataclass_fields__[name].default
    }
    wanted = json.dumps({"settings": told, "inputs": list(inputs)}, indent=2, sort_keys=True)
    note = work_dir / "limbeck.json"
    if not note.is_file() or note.read_text("utf-8") != wanted:
        remove_checkpoints(work_dir)
        shutil.rmtree(work_dir / "model", ignore_errors=True)
        with atomic_path(note) as temporary:
            temporary.write_text(wanted, encoding="utf-8")


def remove_checkpoints(work_dir: Path) -> None:
    """Removes the checkpoints of a training that is done, or not wanted."""
    for checkpoint in work_dir.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)


def _tensorboard(folder: Path) -> TrainerCallback:
    if find_spec("tensorboard") is None:
        raise InputError(
            "TensorBoard is asked for and not installed", remedy="pip install 'limbeck[tensorboard]'"
        )
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # needs the package

    return TensorBoardCallback(SummaryWriter(folder))  # type: ignore[no-untyped-call]


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in line.items() if isinstance(value, int | float)}
