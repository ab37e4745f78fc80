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
from limbeck.pipeline.candidates import EVALUATED, SPLITS
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
            pair, its neighbours, texts drawn at random; -1 where there are fewer. A text that is in no
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
    for name, one in run.recipe.pairs.items():
        (work / name).mkdir(exist_ok=True)
        labelled = labelled_pairs(run, name)
        row_of: dict[str, int] = {}
        rows = [
            [row_of.setdefault(text, len(row_of)) for text in pair]
            for pair in zip(labelled.first, labelled.second, strict=True)
        ]
        examples = np.array(rows, np.int32)
        given = unlabelled_texts(one)
        more = [row_of.setdefault(text, len(row_of)) for text in given if text not in row_of]
        _note_unlabelled(run, name, given, len(more))
        texts = list(row_of)
        Passages.write(
            work / name / "texts.arrow", (Passage(str(row), text) for row, text in enumerate(texts))
        )
        _note_long(run, name)
        lists, targets = _lists(run, name, texts, examples, more), labelled.targets
        np.save(work / name / "lists.npy", lists)
        unknown = np.full(len(lists) - len(targets), np.nan)
        np.save(work / name / "targets.npy", np.concatenate([targets, unknown]))


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
    run: Run, name: str, texts: Sequence[str], examples: NDArray[np.int32], more: Sequence[int]
) -> NDArray[np.int32]:
    """Lists of the labelled pairs, then, of a symmetric task, one of each text without labels.

    Of an asymmetric task, whose first texts are queries, neighbours and random texts are second texts of
    other pairs, or texts without labels.
    """
    one, alone = run.recipe.pairs[name], np.array(more, np.int32)
    among = np.arange(len(texts), dtype=np.int32)
    if one.task == "asymmetric":  # none of them is a query
        among, alone = np.union1d(examples[:, 1], alone), alone[:0]
    vectors = _encoded(run, name, texts) if one.neighbours else None
    pool = _Pool(texts, among, partners_of(examples), vectors)
    firsts, example_of = np.unique(examples[:, 0], return_inverse=True)
    others = _unlabelled(run, name, pool, firsts, one.neighbours)
    lists = np.concatenate([examples, others[example_of]], axis=1)
    if not len(alone):
        return lists
    # One neighbour more stands where others have the labelled text.
    others = _unlabelled(run, name, pool, alone, one.neighbours + 1)
    return np.concatenate([lists, np.concatenate([alone[:, None], others], axis=1)])


@dataclass(frozen=True)
class _Pool:
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


def _unlabelled(run: Run, name: str, pool: _Pool, firsts: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Neighbours and random texts of each first text (firsts, count + random); -1 where there are fewer."""
    one = run.recipe.pairs[name]
    excluded = [pool.partners.get(first, set()) for first in firsts.tolist()]
    near = np.zeros((len(firsts), 0), np.int32)
    if pool.vectors is not None:
        queries = (
            _encoded(run, name, [pool.texts[row] for row in firsts], query=True)
            if one.task == "asymmetric"
            else None
        )
        with run.progress.task(f"{name}: nearest texts", len(firsts)) as advance:
            near = nearest_texts(
                pool.vectors, firsts.tolist(), excluded, count, advance, queries=queries, among=pool.among
            )
    drawn = np.full((len(firsts), one.random), -1, np.int32)
    for at, first in enumerate(firsts.tolist()):
        known = {first, *excluded[at], *near[at].tolist()}
        generator = np.random.default_rng([run.recipe.seed, first])
        # More than are wanted, since those that are known do not count.
        wanted = min(len(pool.among), one.random + len(known))
        some = pool.among[generator.choice(len(pool.among), wanted, replace=False)]
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


def _note_unlabelled(run: Run, name: str, given: Sequence[str], new: int) -> None:
    """Texts of the evaluated pairs may be among them, and then are no longer new to the student."""
    if not given:
        return
    shared = [len(set(given).intersection(chain(*split_texts(run, name, split)))) for split in EVALUATED]
    run.progress.note(
        f"{name}: {len(given):,} texts without labels, {new:,} of them in no training pair; {shared[0]:,} "
        f"are in dev pairs and {shared[1]:,} in test pairs"
        + (": to these the student will not be new" if any(shared) else "")
    )


def _note_long(run: Run, name: str) -> None:
    limit = run.recipe.max_length
    tokenizer = load_backbone(run.recipe.backbone, limit, "cpu").tokenizer
    pairs = (pair for split in SPLITS for pair in open_pairs(run, name, split))
    texts = [text for pair in pairs for text in (pair.text1, pair.text2)]
    texts = list(dict.fromkeys([*texts, *unlabelled_texts(run.recipe.pairs[name])]))
    tokens = tokenizer(texts, truncation=True, max_length=limit + 1)["input_ids"]
    if long := sum(len(row) > limit for row in tokens):
        run.progress.note(
            f"{name}: {long:,} of {len(texts):,} texts have more than {limit} tokens, and are cut there"
        )
