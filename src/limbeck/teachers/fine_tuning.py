"""Making a cross-encoder teacher where there is none: fine-tuned on positives and mined negatives.

The loss is a softmax over one positive and k negatives of a query, cross-entropy with the positive: ListNet
(Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007) with all the mass
on the positive. Optimisation, mixed precision, checkpoints and going on are the library's trainer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import ListNetLoss
from transformers import set_seed

from limbeck.encoders import load_cross_encoder
from limbeck.errors import InputError
from limbeck.files import atomic_folder
from limbeck.trainers import TrainerSettings, forget_other_runs, remove_checkpoints, run_trainer

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from transformers import TrainerCallback

    from limbeck.data import Judgements, Passages, Queries, Rankings

# The softmax of (30, 0, ..., 0) is one-hot to 1e-13, and ListNetLoss takes labels through a softmax.
_CERTAIN = 30.0
#: What is new on top of a backbone that was not a cross-encoder.
HEAD = r"(^|\.)(classifier|score|classification_head|pooler)\."


@dataclass(frozen=True, kw_only=True)
class FineTuning(TrainerSettings):
    """How a cross-encoder is fine-tuned.

    The defaults suit a backbone of MiniLM's size that gets a new head; a published reranker wants a
    learning rate of 2e-5 and `head_learning_rate` the same.

    Attributes:
        steps: optimiser steps, the budget of time: with MiniLM on 2 CPU cores with bfloat16 one takes about
        1.4 s.
        batch_size: lists a step.
        negatives: negatives a list.
        max_length: tokens of query and passage together.
        learning_rate: of the backbone, after warm-up; it falls to 0 linearly.
        head_learning_rate: of pooler and head, which may start at random.
        warmup_ratio: share of the steps in which the learning rate rises.
        weight_decay: of AdamW.
        negative_depth: negatives are drawn from this many of a query's best candidates.
        checkpoint_every: steps between checkpoints.
        seed: of everything random.
    """

    steps: int = 300
    batch_size: int = 8
    negatives: int = 3
    max_length: int = 160
    learning_rate: float = 7e-5
    head_learning_rate: float = 5e-4
    negative_depth: int = 50
    checkpoint_every: int = 100

    def arguments(self, device: str, work_dir: Path) -> dict[str, Any]:
        """See `TrainerSettings.arguments`."""
        return super().arguments(device, work_dir) | {
            "max_steps": self.steps,
            "learning_rate_mapping": {HEAD: self.head_learning_rate},
            "logging_steps": max(1, self.steps // 20),
        }


def fine_tune_cross_encoder(  # noqa: PLR0917  # the five tables of a training set, where from, where to
    base: str | os.PathLike[str],
    rankings: Rankings,
    queries: Queries,
    passages: Passages,
    judgements: Judgements,
    output_dir: str | os.PathLike[str],
    settings: FineTuning | None = None,
    *,
    device: str | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Path:
    """Fine-tune a cross-encoder, or go on from the last checkpoint in `output_dir`.

    Args:
        base: folder or hub id of a cross-encoder, or of any encoder, which then gets a new head of one logit.
        rankings: mined candidates of the training queries; those that are judged relevant are not drawn as
        negatives.
        queries: the training queries.
        passages: what is read of the passages.
        judgements: of the training queries; each relevant passage takes its turn as the positive.
        output_dir: where checkpoints and, in `model`, the result go.
        settings: see FineTuning.
        device: where it learns; None takes the best there is.
        callbacks: of the trainer, for progress; `on_step_end` is called after each step.

    Returns:
        The folder of the model, for CrossEncoderTeacher. Its checkpoints are removed.

    Raises:
        InputError: when the base cannot be loaded, or no query has a relevant passage.

    Example:
        >>> folder = fine_tune_cross_encoder(
        ...     "sentence-transformers/all-MiniLM-L6-v2", mined, queries, passages, judgements, "work/teacher"
        ... )
        >>> teacher = CrossEncoderTeacher(folder)
    """
    settings = settings or FineTuning()
    work_dir = Path(output_dir)
    folder = work_dir / "model"
    forget_other_runs(
        work_dir, settings, [str(base), *(t.fingerprint for t in (rankings, queries, passages, judgements))]
    )
    if folder.is_dir():
        return folder
    set_seed(settings.seed)  # before loading: the head may be drawn at random
    model = load_cross_encoder(base, max_length=settings.max_length, num_labels=1, device=device)
    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(**settings.arguments(model.device.type, work_dir)),
        train_dataset=_training_lists(rankings, queries, passages, judgements, settings),
        loss=ListNetLoss(model, mini_batch_size=-1),
        callbacks=list(callbacks),
    )
    run_trainer(trainer)
    with atomic_folder(folder) as staging:
        model.save_pretrained(str(staging))
    remove_checkpoints(work_dir)
    return folder


def _training_lists(
    rankings: Rankings, queries: Queries, passages: Passages, judgements: Judgements, settings: FineTuning
) -> Dataset:
    """As many lists as the steps need: (query, documents, labels), the positive first."""
    drawn = islice(
        draw_lists(
            rankings,
            passages,
            judgements,
            negatives=settings.negatives,
            depth=settings.negative_depth,
            seed=settings.seed,
        ),
        settings.steps * settings.batch_size,
    )
    query_ids, lists = zip(*drawn, strict=True)
    flat = passages.contents(np.concatenate(lists))
    width = settings.negatives + 1
    return Dataset.from_dict(
        {
            "query": queries.texts(query_ids),
            "documents": [flat[start : start + width] for start in range(0, len(flat), width)],
            "labels": [[_CERTAIN] + [0.0] * settings.negatives] * len(lists),
        }
    )


def draw_lists(
    rankings: Rankings, passages: Passages, judgements: Judgements, *, negatives: int, depth: int, seed: int
) -> Iterator[tuple[str, list[int]]]:
    """Without end: a query and the rows of a positive and of negatives; all positives, in random order.

    Queries with too few candidates are filled up with passages drawn from the whole corpus.
    """
    positives = [
        (query_id, passage_id)
        for query_id in judgements.query_ids
        for passage_id in judgements.relevant(query_id)
    ]
    if not positives:
        raise InputError(
            "no training query has a relevant passage", remedy="give judgements of training queries"
        )
    if len(passages) < 2:
        raise InputError("there is one passage only", expected="passages to draw negatives from")
    rng = np.random.default_rng(seed)
    while True:
        for at in rng.permutation(len(positives)):
            query_id, passage_id = positives[at]
            judged = set(judgements.relevant(query_id))
            candidates = [
                other
                for other in rankings.list_for(query_id).passage_ids[: depth + len(judged)]
                if other not in judged
            ]
            taken = rng.choice(len(candidates), min(negatives, len(candidates)), replace=False)
            rows = passages.rows([passage_id, *(candidates[other] for other in taken)]).tolist()
            spare = rng.integers(0, len(passages), negatives + 1 - len(rows))
            yield (
                query_id,
                [*rows, *(int(row) if row != rows[0] else (rows[0] + 1) % len(passages) for row in spare)],
            )
