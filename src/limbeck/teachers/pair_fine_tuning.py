"""A cross-encoder that learns from labelled pairs: what scores pairs where no published model does.

The loss is the cross-entropy of the logit's sigmoid with the label, graded labels being scaled to 0 to 1, by
the library's `BinaryCrossEntropyLoss`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from transformers import set_seed

from limbeck.encoders import load_cross_encoder
from limbeck.files import atomic_folder
from limbeck.teachers.fine_tuning import HEAD
from limbeck.trainers import EpochSettings, forget_other_runs, remove_checkpoints, run_trainer

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from transformers import TrainerCallback


@dataclass(frozen=True, kw_only=True)
class PairFineTuning(EpochSettings):
    """How a cross-encoder learns from labelled pairs; see also `EpochSettings`.

    Attributes:
        max_length: tokens of both texts together.
        head_learning_rate: of pooler and head, which may start at random.
    """

    max_length: int = 128
    head_learning_rate: float = 5e-4
    log_every: int = 20

    def arguments(self, device: str, work_dir: Path) -> dict[str, Any]:
        """See `TrainerSettings.arguments`."""
        rates = {"learning_rate_mapping": {HEAD: self.head_learning_rate}}
        return super().arguments(device, work_dir) | rates


def fine_tune_on_pairs(
    base: str | os.PathLike[str],
    texts: tuple[Sequence[str], Sequence[str]],
    targets: NDArray[Any],
    output_dir: Path,
    settings: PairFineTuning,
    *,
    device: str | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Path:
    """Fine-tune a cross-encoder on labelled pairs, or go on from the last checkpoint in `output_dir`.

    Args:
        base: folder or hub id of a cross-encoder, or of any encoder, which then gets a new head of one logit.
        texts: the first and the second texts of the pairs (pairs,) each.
        targets: labels from 0 to 1 (pairs,).
        output_dir: where checkpoints and, in `model`, the result go.
        settings: see `PairFineTuning`.
        device: where it learns; None takes the best there is.
        callbacks: of the trainer, for progress.

    Returns:
        The folder of the model, for `CrossEncoderTeacher`. The checkpoints are removed.

    Raises:
        InputError: the base cannot be loaded, or the training diverges.

    Example:
        >>> texts = ["A cat sat.", "A dog ran."], ["A cat was sitting.", "Nobody moved."]
        >>> settings = PairFineTuning(batch_size=2, learning_rate=5e-5, epochs=1, checkpoint_every=100)
        >>> fine_tune_on_pairs("all-MiniLM-L6-v2", texts, np.array([0.9, 0.1]), Path("work"), settings)
    """
    folder = output_dir / "model"
    learnt = json.dumps([*map(list, texts), targets.tolist()])
    forget_other_runs(output_dir, settings, [str(base), hashlib.blake2b(learnt.encode()).hexdigest()])
    if folder.is_dir():
        return folder
    set_seed(settings.seed)  # before loading: the head may be drawn at random
    model = load_cross_encoder(base, max_length=settings.max_length, num_labels=1, device=device)
    first, second = texts
    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(**settings.arguments(model.device.type, output_dir)),
        train_dataset=Dataset.from_dict(
            {"text1": list(first), "text2": list(second), "label": targets.tolist()}
        ),
        loss=BinaryCrossEntropyLoss(model),
        callbacks=list(callbacks),
    )
    run_trainer(trainer)
    with atomic_folder(folder) as staging:
        model.save_pretrained(str(staging))
    remove_checkpoints(output_dir)
    return folder
