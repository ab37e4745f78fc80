"""The stage that pairs each training text with others, unlabelled, for the teacher to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.data import Passage, Passages
from limbeck.encoders import encode
from limbeck.mining.neighbours import nearest_texts
from limbeck.pipeline.candidates import SPLITS
from limbeck.pipeline.pairs.reading import labelled_pairs, open_pairs
from limbeck.pipeline.run import Run
from limbeck.recipes import PairSetRecipe, Recipe
from limbeck.students.dense.backbone import load_backbone

#: Its folder, with a folder a set.
STAGE = "pair-mine"
#: Texts encoded between two reports of progress.
BLOCK = 256


@dataclass(frozen=True)
class PairLists:
    """The training texts of a set, and lists over them.

    Attributes:
        texts: every text of the training pairs, once; its id is its row.
        lists: rows of `texts` (examples, 2 + neighbours + random): the first text, the second of the labelled
            pair, its neighbours, texts drawn at random; -1 where there are fewer.
        targets: labels of the labelled pairs, from 0 to 1 (examples,).
        neighbours: how many columns hold neighbours.
    """

    texts: Passages
    lists: NDArray[np.int64]
    targets: NDArray[np.float64]
    neighbours: int


def mining_settings(recipe: Recipe) -> object:
    """What the lists depend on, beyond the pairs."""
    sets = {name: [one.neighbours, one.random, one.swap, one.task] for name, one in recipe.pairs.items()}
    # The whole backbone finds the neighbours, so that students of fewer layers learn from the same pairs.
    return [sets, recipe.backbone, recipe.max_length, recipe.seed]


def mine_neighbours(run: Run, work: Path) -> None:
    """Finds the nearest texts of each training text; leaves `SET/texts.arrow`, `lists.npy`, `targets.npy`."""
    for name, one in run.recipe.pairs.items():
        (work / name).mkdir(exist_ok=True)
        labelled = labelled_pairs(run, name)
        row_of: dict[str, int] = {}
        rows = [
            [row_of.setdefault(text, len(row_of)) for text in pair]
            for pair in zip(labelled.first, labelled.second, strict=True)
        ]
        texts = list(row_of)
        Passages.write(
            work / name / "texts.arrow", (Passage(str(row), text) for row, text in enumerate(texts))
        )
        examples = np.array(rows, np.int32)
        _note_long(run, name)
        unlabelled = _unlabelled(run, name, one, texts, examples)
        np.save(work / name / "lists.npy", np.concatenate([examples, unlabelled], axis=1))
        np.save(work / name / "targets.npy", labelled.targets)


def open_lists(run: Run, name: str) -> PairLists:
    """What this stage left of a set."""
    folder = run.folder / STAGE / name
    return PairLists(
        Passages.open(folder / "texts.arrow"),
        np.load(folder / "lists.npy").astype(np.int64),
        np.load(folder / "targets.npy"),
        run.recipe.pairs[name].neighbours,
    )


def partners_of(lists: NDArray[np.integer[Any]]) -> dict[int, set[int]]:
    """The texts that a text is labelled with, in either order; what it is not compared with at random."""
    partners: dict[int, set[int]] = {}
    for first, second in lists[:, :2].tolist():
        partners.setdefault(first, set()).add(second)
        partners.setdefault(second, set()).add(first)
    return partners


def _unlabelled(
    run: Run, name: str, one: PairSetRecipe, texts: Sequence[str], examples: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Neighbours and random texts of each example's first text (examples, neighbours + random).

    Of an asymmetric task, whose first texts are queries, they are second texts of other pairs.
    """
    partners = partners_of(examples)
    among = np.unique(examples[:, 1]) if one.task == "asymmetric" else np.arange(len(texts))
    firsts, example_of = np.unique(examples[:, 0], return_inverse=True)
    excluded = [partners[first] for first in firsts.tolist()]
    near = np.zeros((len(firsts), 0), np.int32)
    if one.neighbours:
        vectors = _encoded(run, name, texts)
        queries = (
            _encoded(run, name, [texts[row] for row in firsts], query=True)
            if one.task == "asymmetric"
            else None
        )
        with run.progress.task(f"{name}: nearest texts", len(firsts)) as advance:
            near = nearest_texts(
                vectors, firsts.tolist(), excluded, one.neighbours, advance, queries=queries, among=among
            )
    drawn = np.full((len(firsts), one.random), -1, np.int32)
    for at, first in enumerate(firsts.tolist()):
        known = {first, *excluded[at], *near[at].tolist()}
        generator = np.random.default_rng([run.recipe.seed, first])
        # More than are wanted, since those that are known do not count.
        some = among[generator.choice(len(among), min(len(among), one.random + len(known)), replace=False)]
        fresh = [row for row in some.tolist() if row not in known][: one.random]
        drawn[at, : len(fresh)] = fresh
    return np.concatenate([near, drawn], axis=1)[example_of]


def _encoded(run: Run, name: str, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
    backbone = load_backbone(run.recipe.backbone, run.recipe.max_length, run.recipe.device)
    blocks = []
    with run.progress.task(f"{name}: encoding texts with the backbone", len(texts)) as advance:
        for start in range(0, len(texts), BLOCK):
            blocks.append(encode(backbone, texts[start : start + BLOCK], query=query))
            advance(len(blocks[-1]))
    return np.concatenate(blocks)


def _note_long(run: Run, name: str) -> None:
    limit = run.recipe.max_length
    tokenizer = load_backbone(run.recipe.backbone, limit, "cpu").tokenizer
    pairs = (pair for split in SPLITS for pair in open_pairs(run, name, split))
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.text1, pair.text2)))
    tokens = tokenizer(texts, truncation=True, max_length=limit + 1)["input_ids"]
    if long := sum(len(row) > limit for row in tokens):
        run.progress.note(
            f"{name}: {long:,} of {len(texts):,} texts have more than {limit} tokens, and are cut there"
        )
