"""The stage that pairs each training text with others, unlabelled, for the teacher to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbeck.data import Passage, Passages
from limbeck.encoders import encode
from limbeck.mining.neighbours import nearest_texts
from limbeck.pipeline.candidates import EVALUATED
from limbeck.pipeline.pairs.reading import labelled_pairs, open_pairs, split_texts, unlabelled_texts
from limbeck.pipeline.run import Run
from limbeck.recipes import Recipe
from limbeck.students.dense.backbone import load_backbone
from limbeck.students.dense.pair_lists import partners_of

#: Its folder, with a folder a set.
STAGE = "pair-mine"
#: Texts encoded between two reports of progress.
BLOCK = 256


@dataclass(frozen=True)
class PairLists:
    """The training texts of a set, and lists over them.

    Attributes:
        texts: every text of the training pairs, then those without labels, once; its id is its row.
        lists: rows of `texts` (examples, 2 + neighbours + random): the first text, the second of the labelled
            pair, its neighbours, texts drawn at random; -1 where there are fewer. A text that begins no
            labelled pair has its nearest neighbour in place of the second.
        targets: labels of the labelled pairs, from 0 to 1, and NaN for lists without one (examples,).
        neighbours: how many columns hold neighbours.
    """

    texts: Passages
    lists: NDArray[np.int64]
    targets: NDArray[np.float64]
    neighbours: int


def mining_settings(recipe: Recipe) -> object:
    """What the lists depend on, beyond the pairs."""
    sets = {
        name: [one.neighbours, one.random, one.swap, one.task, *([one.unlabelled] if one.unlabelled else [])]
        for name, one in recipe.pairs.items()
    }
    # The whole backbone finds the neighbours, so that students of fewer layers learn from the same pairs.
    return [sets, recipe.backbone, recipe.max_length, recipe.seed]


def mine_neighbours(run: Run, work: Path) -> None:
    """Finds the nearest texts of each training text; leaves `SET/texts.arrow`, `lists.npy`, `targets.npy`."""
    unlabelled = {name: unlabelled_texts(one) for name, one in run.recipe.pairs.items()}
    for name in run.recipe.pairs:
        (work / name).mkdir(exist_ok=True)
        labelled = labelled_pairs(run, name)
        row_of: dict[str, int] = {}
        rows = [
            [row_of.setdefault(text, len(row_of)) for text in pair]
            for pair in zip(labelled.first, labelled.second, strict=True)
        ]
        given = [row_of.setdefault(text, len(row_of)) for text in unlabelled[name]]
        texts = list(row_of)
        Passages.write(
            work / name / "texts.arrow", (Passage(str(row), text) for row, text in enumerate(texts))
        )
        _note_long(run, name, texts)
        lists = _lists(run, name, texts, np.array(rows, np.int32), np.array(given, np.int32))
        if given:
            _note_unlabelled(run, name, texts, given, lists)
        np.save(work / name / "lists.npy", lists)
        unknown = np.full(len(lists) - len(rows), np.nan)
        np.save(work / name / "targets.npy", np.concatenate([labelled.targets, unknown]))


def open_lists(run: Run, name: str) -> PairLists:
    """What this stage left of a set."""
    folder = run.folder / STAGE / name
    return PairLists(
        Passages.open(folder / "texts.arrow"),
        np.load(folder / "lists.npy").astype(np.int64),
        np.load(folder / "targets.npy"),
        run.recipe.pairs[name].neighbours,
    )


def _lists(
    run: Run, name: str, texts: Sequence[str], examples: NDArray[np.int32], given: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Lists of the labelled pairs, then, of a symmetric task, of the given texts that begin none of them.

    Of an asymmetric task, whose first texts are queries, neighbours and random texts are second texts of
    other pairs, or given ones.
    """
    one, asymmetric = run.recipe.pairs[name], run.recipe.pairs[name].task == "asymmetric"
    choice = _Choice(
        texts,
        np.union1d(examples[:, 1], given) if asymmetric else np.arange(len(texts), dtype=np.int32),
        partners_of(examples),
        _encoded(run, name, texts) if one.neighbours else None,
    )
    firsts, example_of = np.unique(examples[:, 0], return_inverse=True)
    others = _others(run, name, choice, firsts, one.neighbours)
    lists = np.concatenate([examples, others[example_of]], axis=1)
    alone = given[:0] if asymmetric else np.setdiff1d(given, firsts)
    if not len(alone):
        return lists
    # One neighbour more stands where others have the labelled text.
    others = _others(run, name, choice, alone, one.neighbours + 1)
    return np.concatenate([lists, np.concatenate([alone[:, None], others], axis=1)])


@dataclass(frozen=True)
class _Choice:
    """What first texts are paired with.

    Attributes:
        texts: all of them.
        among: the texts that can be second ones.
        partners: what a text is labelled with.
        vectors: of all texts (texts, dimension); None where no neighbours are wanted.
    """

    texts: Sequence[str]
    among: NDArray[np.int32]
    partners: dict[int, set[int]]
    vectors: NDArray[np.float32] | None


def _others(run: Run, name: str, choice: _Choice, firsts: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Neighbours and random texts of each first text (firsts, count + random); -1 where there are fewer."""
    one = run.recipe.pairs[name]
    excluded = [choice.partners.get(first, set()) for first in firsts.tolist()]
    near = np.zeros((len(firsts), 0), np.int32)
    if choice.vectors is not None:
        queries = (
            _encoded(run, name, [choice.texts[row] for row in firsts], query=True)
            if one.task == "asymmetric"
            else None
        )
        with run.progress.task(f"{name}: nearest texts", len(firsts)) as advance:
            near = nearest_texts(
                choice.vectors, firsts.tolist(), excluded, count, advance, queries=queries, among=choice.among
            )
    drawn = np.full((len(firsts), one.random), -1, np.int32)
    for at, first in enumerate(firsts.tolist()):
        known = {first, *excluded[at], *near[at].tolist()}
        generator = np.random.default_rng([run.recipe.seed, first])
        # More than are wanted, since those that are known do not count.
        wanted = min(len(choice.among), one.random + len(known))
        some = choice.among[generator.choice(len(choice.among), wanted, replace=False)]
        fresh = [row for row in some.tolist() if row not in known][: one.random]
        drawn[at, : len(fresh)] = fresh
    return np.concatenate([near, drawn], axis=1)


def _encoded(run: Run, name: str, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
    backbone = load_backbone(run.recipe.backbone, run.recipe.max_length, run.recipe.device)
    blocks = []
    with run.progress.task(f"{name}: encoding texts with the backbone", len(texts)) as advance:
        for start in range(0, len(texts), BLOCK):
            blocks.append(encode(backbone, texts[start : start + BLOCK], query=query))
            advance(len(blocks[-1]))
    return np.concatenate(blocks)


def _note_unlabelled(
    run: Run, name: str, texts: Sequence[str], given: Sequence[int], lists: NDArray[np.int32]
) -> None:
    """Texts of the evaluated pairs may be among them, and so whole pairs among those of the teacher."""
    run.progress.note(f"{name}: {len(given):,} texts without labels")
    asked = {frozenset((row[0], other)) for row in lists.tolist() for other in row[1:] if other >= 0}
    row_of = {text: row for row, text in enumerate(texts)}
    for split in EVALUATED:
        pairs = zip(*split_texts(run, name, split), strict=True)
        rows = [[row_of.get(text, -1) for text in pair] for pair in pairs]
        if seen := len(set(given).intersection(chain(*rows))):
            taught = sum(frozenset(pair) in asked for pair in rows)
            run.progress.note(
                f"{name}: {seen:,} of them are in {split} pairs, and {taught:,} {split} pairs are among "
                "those that the teacher scores for the student: figures will flatter"
            )


def _note_long(run: Run, name: str, texts: Sequence[str]) -> None:
    limit = run.recipe.max_length
    tokenizer = load_backbone(run.recipe.backbone, limit, "cpu").tokenizer
    pairs = (pair for split in EVALUATED for pair in open_pairs(run, name, split))
    every = list(dict.fromkeys(chain(texts, *((pair.text1, pair.text2) for pair in pairs))))
    long = 0
    for start in range(0, len(every), BLOCK):
        tokens = tokenizer(every[start : start + BLOCK], truncation=True, max_length=limit + 1)["input_ids"]
        long += sum(len(row) > limit for row in tokens)
    if long:
        run.progress.note(
            f"{name}: {long:,} of {len(every):,} texts have more than {limit} tokens, and are cut there"
        )
