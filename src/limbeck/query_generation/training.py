"""Teaching a model of passage to query the queries that there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from transformers import TrainerCallback

from limbeck.data import Judgements, Passages, Queries
from limbeck.errors import InputError
from limbeck.query_generation.seq2seq import QueryGenerator
from limbeck.students.generative.training import GenerationSettings, train_on
from limbeck.trainers import TrainingOutcome


def train_query_generator(
    generator: QueryGenerator,
    judgements: Judgements,
    *,
    queries: Queries,
    passages: Passages,
    settings: GenerationSettings,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingOutcome:
    """Teaches a query generator the queries that passages answer: every pair with a grade of 1 or more.

    The generator is changed in place, and is not in training mode afterwards. A training that was killed and
    is called again with the same arguments goes on from its last checkpoint and ends with the same weights.

    Args:
        generator: at step 0.
        judgements: of the training split.
        queries: of the training split.
        passages: of the corpus; those that no training query asks for are not learnt from.
        settings: how long and how fast. Published for T5: a learning rate of 1e-4.
        work_dir: for the checkpoints.
        callbacks: of the trainer, for progress.

    Raises:
        InputError: no training query has a relevant passage, an unknown query or passage, or TensorBoard is
            asked for and not installed.

    Example:
        >>> generator = QueryGenerator.start()  # doctest: +SKIP
        >>> train_query_generator(
        ...     generator, data.judgements["train"], queries=data.queries["train"], passages=data.passages,
        ...     settings=GenerationSettings(learning_rate=1e-4), work_dir=Path("work"),
        ... )  # doctest: +SKIP
    """
    pairs = [(query, passage) for query in judgements.query_ids for passage in judgements.relevant(query)]
    if not pairs:
        raise InputError(
            "there is nothing to learn from: no training query has a relevant passage",
            remedy="check that the training judgements name passages of the corpus",
        )
    rows = zip(
        passages.rows([passage for _, passage in pairs]).tolist(),
        queries.rows([query for query, _ in pairs]).tolist(),
        strict=True,
    )
    return train_on(
        generator,
        list(rows),
        _Collator(generator, passages, queries),
        settings=settings,
        work_dir=work_dir,
        callbacks=callbacks,
    )


class _Collator:
    """Turns rows of passages and queries into the model's inputs; texts are read when they are needed."""

    def __init__(self, generator: QueryGenerator, passages: Passages, queries: Queries) -> None:
        self._generator = generator
        self._passages = passages
        self._queries = queries

    def __call__(self, pairs: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        rows = np.asarray(pairs, np.int64)
        return self._generator.training_inputs(
            self._passages.contents(rows[:, 0]), [query.text for query in self._queries.take(rows[:, 1])]
        )
