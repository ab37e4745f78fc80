"""A run in a process of its own, for tests that kill it.

The processes are forked from one that has torch imported, so that a restart costs a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from limbeck.pipeline import answering
from limbeck.recipes import make_recipe
from limbeck.teachers import ScoreCache
from tests.pipeline.pairs.tiny_pairs import pair_content, set_content
from tests.pipeline.tiny_corpus import generative_content, run_recipe, tiny_content, tiny_recipe

#: What the forking process imports; it never computes, because a fork after that may hang.
PRELOADED = [
    "limbeck.pipeline",
    "limbeck.evaluation.report.html",
    "tests.pipeline.child",
    "transformers.trainer",
]


def start(corpus: Path, encoder: Path, folder: Path, log: Path, *, student: str = "dense") -> BaseProcess:
    """Start the run of a recipe of `RECIPES` in another process; see `read_log`."""
    multiprocessing.set_forkserver_preload(PRELOADED)
    process = multiprocessing.get_context("forkserver").Process(
        target=_run, args=(corpus, encoder, folder, log, student)
    )
    process.start()
    return process


def _run(corpus: Path, encoder: Path, folder: Path, log: Path, student: str) -> None:
    torch.set_num_threads(1)
    _be_quiet(log.with_suffix(".output"))
    get = ScoreCache.get

    def logged(cache: ScoreCache, keys: Sequence[bytes]) -> Any:
        scores = get(cache, keys)
        missing = [key.hex() for key, score in zip(keys, scores, strict=True) if score != score]
        if missing:
            # In one write, so that a kill leaves all of the line or nothing.
            descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, f"{os.getpid()} {' '.join(missing)}\n".encode())
            os.close(descriptor)
        return scores

    ScoreCache.get = logged  # type: ignore[method-assign]
    answering.BLOCK = 8  # so that answers and matches come in several blocks
    # Random models: no teacher need be better than the student's start.
    run_recipe(RECIPES[student](corpus, encoder), folder, anyway=student in {"pairs", "mixed"})


def _be_quiet(output: Path) -> None:
    """Sends what the libraries print into a file, which tells why a run failed."""
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)


def long_recipe(corpus: Path, encoder: Path) -> Any:
    """A recipe whose trainings write several checkpoints."""
    content = tiny_content(corpus, encoder)
    fine_tuning = {"steps": 12, "batch_size": 4, "checkpoint_every": 3}
    return tiny_recipe(
        corpus,
        encoder,
        teacher={
            "max_length": 32,
            "members": [
                {"kind": "bm25"},
                {"kind": "bi-encoder"},
                {"kind": "cross-encoder", "fine_tuning": fine_tuning},
            ],
        },
        training=content["training"] | {"epochs": 3, "checkpoint_every": 4, "learning_rate": 1e-3},
        baseline={"batch_size": 8, "epochs": 3, "learning_rate": 1e-3},
    )


def long_generative_recipe(corpus: Path, encoder: Path) -> Any:
    """A recipe that writes and filters pseudo-queries, and whose trainings write several checkpoints."""
    source = {"kind": "generated", "count": 2, "max_passage_length": 32, "max_query_length": 8}
    source |= {"epochs": 2, "checkpoint_every": 2, "filter": {"min_words": 1, "rank": 15}}
    content = generative_content(
        corpus,
        encoder,
        views=[
            {"kind": "title"},
            {"kind": "body", "spans": 2},
            {"kind": "pseudo-query", "sources": [source]},
        ],
    )
    content["student"]["generation"] |= {"epochs": 4, "batch_size": 16}
    content["student"]["ranking"] |= {"epochs": 3}
    return make_recipe(content, corpus / "recipe.yaml")


def long_pair_recipe(pairs: Path, encoder: Path) -> Any:
    """A recipe of two sets of pairs, whose trainings write several checkpoints and ask the teacher, too."""
    content = pair_content(pairs, encoder)
    content["pair_loss"] = content.get("pair_loss", {}) | {"hard_easy": 0.1, "in_batch_teacher": True}
    content["training"] |= {"epochs": 2, "checkpoint_every": 4, "task_temperature": 3}
    content["student"] |= {"vector_imitation": {"batch_size": 4, "epochs": 6}}
    classes = {"labels": {"kind": "binary", "positive": ["same"]}, "fields": ["text1", "text2", "class"]}
    content["pairs"]["classes"] = set_content(pairs, **classes)
    return make_recipe(content, pairs / "recipe.yaml")


def long_mixed_recipe(data: Path, encoder: Path) -> Any:
    """A recipe of a corpus and a set of pairs, whose training writes several checkpoints."""
    corpus = data / "corpus"
    training = tiny_content(corpus, encoder)["training"]
    return tiny_recipe(
        corpus,
        encoder,
        pairs={"tiny": set_content(data)},
        training=training | {"epochs": 2, "checkpoint_every": 4, "task_temperature": 2},
    )


#: By the kind of their student, or what it learns from.
RECIPES: dict[str, Callable[[Path, Path], Any]] = {
    "dense": long_recipe,
    "generative": long_generative_recipe,
    "pairs": long_pair_recipe,
    "mixed": long_mixed_recipe,
}


def read_log(log: Path) -> list[tuple[int, list[str]]]:
    """What was found missing in the score cache, to be scored next: (process, keys), in order."""
    if not log.exists():
        return []
    lines = (line.split() for line in log.read_text().splitlines())
    return [(int(process), keys) for process, *keys in lines]
