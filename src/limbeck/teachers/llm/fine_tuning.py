"""Fine-tuning an LLM teacher with LoRA on labelled pairs.

The loss is the cross-entropy between the label and the probability of yes among the answers, so that what is
trained is what the teacher is asked. A label between 0 and 1 is a soft one.

Source: D2LLM, arXiv 2406.17262: rank 8, alpha 8, dropout 0.05, learning rate 1e-4. LoRA: Hu et al.,
arXiv 2106.09685.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional
from transformers import Trainer, TrainingArguments, set_seed

from limbeck.errors import InputError
from limbeck.files import atomic_folder
from limbeck.teachers.base import shorten
from limbeck.teachers.fine_tuning import draw_lists
from limbeck.teachers.llm.answers import answer_tokens, yes_minus_no
from limbeck.teachers.llm.encoding import Chat, PromptEncoder
from limbeck.teachers.llm.loading import load_language_model, require_peft
from limbeck.teachers.llm.prefix import AnswerHead, answering, last_logits, padded_right
from limbeck.teachers.llm.teacher import MAX_LENGTH, require_context
from limbeck.trainers import TrainerSettings, forget_other_runs, remove_checkpoints, run_trainer

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from transformers import TrainerCallback

    from limbeck.data import Judgements, Passages, Queries, Rankings
    from limbeck.teachers.llm.prompts import Prompt


class LabelledPair(NamedTuple):
    """Two texts, and how far the answer about them is yes, 0 to 1."""

    query: str
    passage: str
    label: float


@dataclass(frozen=True, kw_only=True)
class LoRATuning(TrainerSettings):
    """How an LLM is fine-tuned.

    Attributes:
        steps: optimiser steps, the budget of time.
        batch_size: pairs a step.
        negatives: mined negatives for each positive.
        negative_depth: they are drawn from this many of a query's best candidates.
        rank: of the adapters, which are put beside every linear layer but the head.
        alpha: what the adapters add counts alpha / rank.
        dropout: of the adapters' inputs.
    """

    steps: int = 300
    batch_size: int = 16
    negatives: int = 3
    negative_depth: int = 50
    learning_rate: float = 1e-4
    rank: int = 8
    alpha: float = 8
    dropout: float = 0.05
    checkpoint_every: int = 50

    def arguments(self, device: str, work_dir: Path) -> dict[str, Any]:
        """See `TrainerSettings.arguments`."""
        return super().arguments(device, work_dir) | {
            "max_steps": self.steps,
            "logging_steps": max(1, self.steps // 20),
            "remove_unused_columns": False,
        }


def labelled_pairs(
    rankings: Rankings, queries: Queries, passages: Passages, judgements: Judgements, settings: LoRATuning
) -> list[LabelledPair]:
    """As many pairs as the steps need: positives, label 1, each followed by its mined negatives, label 0.

    Raises:
        InputError: no query has a relevant passage.
    """
    width = settings.negatives + 1
    wanted = -(-settings.steps * settings.batch_size // width)
    drawn = draw_lists(
        rankings,
        passages,
        judgements,
        negatives=settings.negatives,
        depth=settings.negative_depth,
        seed=settings.seed,
    )
    query_ids, lists = zip(*islice(drawn, wanted), strict=True)
    contents = passages.contents(np.concatenate(lists))
    texts = [text for text in queries.texts(query_ids) for _ in range(width)]
    return [
        LabelledPair(query, content, float(at % width == 0))
        for at, (query, content) in enumerate(zip(texts, contents, strict=True))
    ]


def fine_tune_llm(
    base: str | os.PathLike[str],
    pairs: Sequence[LabelledPair],
    output_dir: str | os.PathLike[str],
    prompt: Prompt,
    settings: LoRATuning | None = None,
    *,
    max_length: int = MAX_LENGTH,
    chat: Chat = "auto",
    options: Mapping[str, Any] | None = None,
    device: str | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Path:
    """Fine-tune a causal language model, or go on from the last checkpoint in `output_dir`.

    Args:
        base: folder or hub id of the model.
        pairs: what it learns from, in random order, again from the start when they are through.
        output_dir: where checkpoints and, in `model`, the adapter and the tokenizer go.
        prompt: what will be asked.
        settings: see LoRATuning.
        max_length: tokens of the whole prompt.
        chat: see PromptEncoder.
        options: of `from_pretrained`, see `load_language_model`.
        device: where it learns; None takes the best there is.
        callbacks: of the trainer, for progress.

    Returns:
        The folder of the adapter, for LLMTeacher, which merges it into the base. Checkpoints are removed.

    Raises:
        InputError: `peft` is not installed, the base cannot be loaded, there is no pair, a label is not
            within 0 and 1, or all are the same.

    Example:
        >>> folder = fine_tune_llm(
        ...     "Qwen/Qwen3-0.6B", pairs, "work/teacher", PROMPTS["symmetric", "en"]
        ... )
        >>> teacher = LLMTeacher(folder, PROMPTS["symmetric", "en"])
    """
    peft = require_peft()
    _check_labels(pairs)
    settings = settings or LoRATuning()
    work_dir = Path(output_dir)
    folder = work_dir / "model"
    inputs = [str(base), repr(prompt), f"{max_length} {chat} {dict(options or {})}", _digest(pairs)]
    forget_other_runs(work_dir, settings, inputs)
    if folder.is_dir():
        return folder
    set_seed(settings.seed)  # before the adapters are drawn at random
    loaded = load_language_model(base, device=device, options=options)
    require_context(loaded, max_length)
    answers = answer_tokens(loaded.tokenizer, prompt)
    encoder = PromptEncoder(loaded.tokenizer, prompt, max_length=max_length, chat=chat)
    model = loaded.model
    if getattr(model, "is_quantized", False):
        model = peft.prepare_model_for_kbit_training(model)
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    adapted = peft.get_peft_model(model, config)
    with answering(adapted.get_base_model(), [*answers.yes, *answers.no]) as head:
        trainer = _AnswerTrainer(
            model=adapted,
            args=TrainingArguments(**settings.arguments(loaded.device.type, work_dir)),
            train_dataset=list(pairs),
            data_collator=_Collator(encoder, int(loaded.tokenizer.pad_token_id or 0)),
            callbacks=list(callbacks),
        )
        trainer.head, trainer.yes_count = head, len(answers.yes)
        run_trainer(trainer)
    with atomic_folder(folder) as staging:
        adapted.save_pretrained(str(staging))
        loaded.tokenizer.save_pretrained(str(staging))
    remove_checkpoints(work_dir)
    return folder


class _AnswerTrainer(Trainer):
    """The library's trainer with the loss on the answers."""

    head: AnswerHead
    yes_count: int

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """See `Trainer`."""
        logits = last_logits(model, self.head, inputs["ids"], inputs["lengths"])
        scores = yes_minus_no(logits, self.yes_count)
        loss = functional.binary_cross_entropy_with_logits(scores, inputs["labels"].to(scores))
        return (loss, {"scores": scores}) if return_outputs else loss


class _Collator:
    """Turns pairs into tokens when they are needed."""

    def __init__(self, encoder: PromptEncoder, pad_id: int) -> None:
        self._encoder = encoder
        self._pad_id = pad_id

    def __call__(self, pairs: Sequence[LabelledPair]) -> dict[str, Tensor]:
        encoded = self._encoder.encode([(pair.query, pair.passage) for pair in pairs])
        whole = [[*prefix, *suffix] for prefix, suffix in encoded]
        ids, lengths = padded_right(whole, self._pad_id, torch.device("cpu"))
        return {"ids": ids, "lengths": lengths, "labels": torch.tensor([pair.label for pair in pairs])}


def _check_labels(pairs: Sequence[LabelledPair]) -> None:
    if not pairs:
        raise InputError("there is no pair to learn from")
    for number, pair in enumerate(pairs):
        if not 0 <= pair.label <= 1:  # NaN is not, either
            raise InputError(
                f"pair {number + 1}, '{shorten(pair.query)}', has the label {pair.label}",
                expected="a number from 0, no, to 1, yes",
                remedy="scale the labels to that range",
            )
    if len({pair.label for pair in pairs}) == 1:
        raise InputError(
            f"all {len(pairs)} pairs have the label {pairs[0].label:g}",
            expected="pairs of which some are answered with yes and some with no",
        )


def _digest(pairs: Sequence[LabelledPair]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for pair in pairs:
        digest.update(json.dumps(pair).encode())
    return digest.hexdigest()
