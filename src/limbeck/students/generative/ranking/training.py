"""Training a generator on passage scores, LTRGR and DGR, with the library's trainer.

Sources: Li et al., "Learning to Rank in Generative Retrieval" (LTRGR), arXiv 2306.15222; DGR, arXiv
2402.10769, the distilled RankNet loss beside the loss of generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Seq2SeqTrainingArguments, Trainer, TrainerCallback

from limbeck.data import Queries
from limbeck.errors import InputError, LimbeckError
from limbeck.students.generative.generator import Generator
from limbeck.students.generative.ranking.batches import (
    RankCollator,
    TargetDraws,
    batch_generation_loss,
    batch_scores,
)
from limbeck.students.generative.ranking.lists import QueryLists
from limbeck.students.generative.ranking.matches import Matches
from limbeck.students.generative.ranking.objective import RankingObjective
from limbeck.students.generative.ranking.passage_scores import row_logits
from limbeck.students.generative.targets import GenerationTargets
from limbeck.students.generative.training import (
    GenerationSettings,
    Rows,
    run_generator_trainer,
)
from limbeck.trainers import TrainingOutcome


@dataclass(frozen=True, kw_only=True)
class RankingSettings(GenerationSettings):
    """How long and how fast a generator learns to rank. Published: 3 epochs, 1e-5, four queries a step.

    Attributes:
        batch_size: queries a batch, each with all of its lists.
        learning_rate: at its peak. Published for BART-large: 1e-5; smaller models want more.
        label_smoothing: of the generation loss.
        targets: identifiers of each view that are generated beside, a query, at most.
        checkpoint_every: steps between checkpoints, from which a killed training goes on.
        log_every: steps between entries of the log.
    """

    batch_size: int = 4
    learning_rate: float = 1e-5
    targets: int = 2
    checkpoint_every: int = 100
    log_every: int = 10


def train_ranking(
    generator: Generator[Any],
    lists: Sequence[QueryLists],
    matches: Matches,
    *,
    queries: Queries,
    targets: GenerationTargets | None,
    objective: RankingObjective,
    settings: RankingSettings,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingOutcome:
    """Teaches a generator to score passages in the order of rank lists.

    The generator is changed in place, and is not in training mode afterwards. A training that was killed and
    is called again with the same arguments goes on from its last checkpoint and ends with the same weights.

    Args:
        generator: the base retriever's, which has learnt to generate.
        lists: what it learns, see `ranked_lists`.
        matches: of the lists' passages, see `collect_matches`.
        queries: texts.
        targets: what it generates beside; None where the objective's generation weight is 0.
        objective: what is minimised, see `ranking_objective`.
        settings: how long and how fast.
        work_dir: for the checkpoints.
        callbacks: of the trainer, for progress.

    Returns:
        With `rank_loss` and `generation_loss`, unweighted, in the log's entries.

    Raises:
        InputError: there are no lists, matches of some passage are missing or were made with another
            vocabulary, targets are missing, or TensorBoard is asked for and not installed.
        LimbeckError: the loss is not a number.
    """
    _check(generator, lists, matches, targets, objective)
    draws = None
    if targets is not None and objective.generation_weight:
        draws = TargetDraws(targets, settings.targets, settings.seed)
    trainer = _RankingTrainer(
        model=generator.model,
        args=Seq2SeqTrainingArguments(**settings.arguments(generator.model.device.type, work_dir)),
        train_dataset=Rows(lists),
        data_collator=RankCollator(generator, matches, queries, draws),
        callbacks=list(callbacks),
    )
    trainer.encoder = generator.model.get_encoder() if generator.model.config.is_encoder_decoder else None
    trainer.objective = objective
    trainer.smoothing = settings.label_smoothing
    return run_generator_trainer(trainer, generator, settings)


class _RankingTrainer(Trainer):
    """The library's trainer with the objective in place of the model's loss."""

    encoder: Any
    objective: RankingObjective
    smoothing: float

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.model_accepts_loss_kwargs = False  # the loss is a mean over a batch's rows of lists
        self._parts: dict[str, list[Tensor]] = {}

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *_: object, **__: object) -> Tensor:
        """The objective of a batch."""
        with self.accelerator.autocast():
            logits = row_logits(model, self.encoder, inputs)
        with torch.autocast(logits.device.type, enabled=False):
            rank = self.objective(batch_scores(logits, inputs), inputs["teacher"], inputs["mask"])
            parts = {"rank_loss": rank}
            total = rank
            if self.objective.generation_weight:
                parts["generation_loss"] = batch_generation_loss(logits, inputs, self.smoothing)
                total = rank + self.objective.generation_weight * parts["generation_loss"]
        if not torch.isfinite(total):
            raise LimbeckError(
                f"the loss is {total.item()} at step {self.state.global_step}; try a smaller learning rate"
            )
        for name, part in parts.items():
            self._parts.setdefault(name, []).append(part.detach())
        return total

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss, their means since the last entry."""
        if "loss" in logs:
            logs |= {name: float(torch.stack(parts).mean()) for name, parts in self._parts.items()}
            self._parts = {}
        super().log(logs, start_time)


def _check(
    generator: Generator[Any],
    lists: Sequence[QueryLists],
    matches: Matches,
    targets: GenerationTargets | None,
    objective: RankingObjective,
) -> None:
    if not len(lists):
        raise InputError(
            "there is nothing to learn from: no training query has both a scored positive and a negative",
            remedy="check that the training judgements name passages that the teacher has scored",
        )
    if objective.generation_weight and (targets is None or not len(targets)):
        raise InputError(
            "the generation loss has a weight, and there is nothing to generate",
            expected="targets of the training queries, or the weight 0",
        )
    if matches.settings.vocabulary != generator.vocabulary.fingerprint:
        raise InputError(
            "the matches were collected with another tokenizer than the generator's",
            remedy="collect them with the base retriever of this generator",
        )
    for row in lists:
        missing = [passage for passage in row.passage_ids if (row.query_id, passage) not in matches]
        if missing:
            matches.of(row.query_id, missing[0])  # says what is wrong
