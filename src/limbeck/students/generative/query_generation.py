"""Pseudo-queries from a model: training it on the queries that there are, and writing them for a corpus.

Design facts:
- A corpus is read in blocks of passages; the questions of a block are written to a file that appears whole.
  A process that is killed loses the block under way, and nothing else; memory does not grow with the corpus.
- What a block's questions depend on (weights, settings, passages) is noted beside the blocks. When it has
  changed, they are written anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from transformers import TrainerCallback

from limbeck.data import Judgements, Passages, Queries
from limbeck.data.formats.fields import json_object
from limbeck.encoders import weights_digest
from limbeck.errors import InputError
from limbeck.files import Records, write_text
from limbeck.students.generative.pseudo_queries import PseudoQueries, write_texts
from limbeck.students.generative.query_generator import QueryGenerator, Sampling
from limbeck.students.generative.training import GenerationSettings, train_on
from limbeck.trainers import TrainingOutcome

_SETTINGS = "pseudo-queries.json"
_BLOCK = "pseudo-queries-{:07}.jsonl"
_BLOCKS = "pseudo-queries-*.jsonl"


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


def generate_pseudo_queries(
    generator: QueryGenerator,
    passages: Passages,
    count: int,
    path: str | os.PathLike[str],
    *,
    work_dir: str | os.PathLike[str],
    sampling: Sampling | None = None,
    batch_size: int = 16,
    block_size: int = 512,
    progress: Callable[[int], None] | None = None,
) -> PseudoQueries:
    """Writes questions for all passages of a corpus, from their titles and texts.

    A call that was killed and is made again with the same arguments goes on with the first block of passages
    that it had not finished, and ends with the same questions.

    Args:
        generator: what writes.
        passages: the corpus.
        count: questions that are drawn for each passage.
        path: of the table to make, which `PseudoQueries.open` reads; a passage without questions is not
            in it.
        work_dir: for the blocks; it may be removed afterwards.
        sampling: how questions are drawn; None: as published.
        batch_size: passages that are read together.
        block_size: passages whose questions are written to one file.
        progress: is told how many more passages are done, those of an earlier call among them.

    Returns:
        The questions, mapped from `path`.

    Raises:
        InputError: a number that is not positive, or no question was written for any passage.

    Example:
        >>> questions = generate_pseudo_queries(
        ...     generator, data.passages, 5, "pseudo-queries.arrow", work_dir="work"
        ... )  # doctest: +SKIP
        >>> questions.of("d7")  # doctest: +SKIP
        ['how long do cats sleep', 'do cats sleep during the day']
    """
    for name, value in (("count", count), ("batch_size", batch_size), ("block_size", block_size)):
        if value < 1:
            raise InputError(f"{name} is {value}", expected="a positive integer")
    sampling = sampling or Sampling()
    folder = Path(work_dir)
    _prepare(
        folder,
        {
            "weights": weights_digest(generator.model),
            "generator": generator.settings(),
            "sampling": asdict(sampling),
            "count": count,
            "passages": passages.fingerprint,
            "block_size": block_size,
        },
    )
    blocks = []
    for number, start in enumerate(range(0, len(passages), block_size)):
        rows = np.arange(start, min(start + block_size, len(passages)))
        blocks.append(folder / _BLOCK.format(number))
        if not blocks[-1].is_file():
            texts = passages.contents(rows)
            questions = generator.generate(texts, count, sampling=sampling, batch_size=batch_size)
            _write_block(blocks[-1], passages.ids(rows), questions)
        if progress is not None:
            progress(len(rows))
    found = _filled(blocks)
    first = next(found, None)
    if first is None:
        raise InputError("the model wrote no question for any passage", remedy="train it for longer")
    write_texts(path, chain([first], found))
    return PseudoQueries.open(path)


def _prepare(folder: Path, settings: dict[str, Any]) -> None:
    """Removes blocks that were written with other settings, and notes these."""
    noted, text = folder / _SETTINGS, json.dumps(settings, indent=2) + "\n"
    if noted.is_file() and noted.read_text(encoding="utf-8") == text:
        return
    for block in folder.glob(_BLOCKS):
        block.unlink()
    with write_text(noted) as stream:
        stream.write(text)


def _write_block(path: Path, ids: Sequence[str], questions: Sequence[list[str]]) -> None:
    """One line a passage, also for one without questions."""
    with write_text(path) as stream:
        for id_, texts in zip(ids, questions, strict=True):
            stream.write(json.dumps({"id": id_, "questions": texts}, ensure_ascii=False) + "\n")


def _filled(blocks: Sequence[Path]) -> Iterator[tuple[str, list[str]]]:
    """The passages that have questions, in the order of the corpus."""
    for block in blocks:
        for record in Records(block, json_object):
            if record["questions"]:
                yield record["id"], record["questions"]
