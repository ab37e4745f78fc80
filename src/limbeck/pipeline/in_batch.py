"""The teacher's scores of pairs that a batch brings together, asked while the student learns.

Which pairs those are is drawn in training. Scores are kept by the texts of the pair, so that neither the
order of batches nor another seed nor a stop changes one, or pays for it twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from limbeck.pipeline.candidates import candidate_lists, student_lists
from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.pairs.members import asks_servers as asks_about_pairs
from limbeck.pipeline.pairs.members import servers_of
from limbeck.pipeline.pairs.mining import PairLists, open_lists
from limbeck.pipeline.pairs.reading import labelled_pairs
from limbeck.pipeline.pairs.teaching import open_pair_teacher
from limbeck.pipeline.run import Run
from limbeck.pipeline.servers import asks_server, teaching_servers
from limbeck.pipeline.teaching import open_teacher
from limbeck.recipes import RETRIEVAL, D2LLMRecipe, DenseStudentRecipe, Recipe
from limbeck.students.dense.lists import AskTeacher, TrainingList
from limbeck.students.dense.sampling import batch_shares
from limbeck.teachers import ScoreCache, score_pairs

#: Lists whose pairs tell how many tokens a pair has.
SAMPLED = 100


def asks_in_batch(recipe: Recipe) -> bool:
    """Whether a server scores the pairs of each batch while the student learns."""
    asked = asks_server(recipe) if _of_queries(recipe) else False
    return asked or (_of_pairs(recipe) and asks_about_pairs(recipe))


def in_batch_teacher(run: Run, lists: Sequence[TrainingList], cache: ScoreCache) -> AskTeacher | None:
    """Scores of queries with the passages of their batch; None where none are wanted."""
    if not _of_queries(run.recipe):
        return None
    _note(run, "query with the passages", _met(run, [len(row.passage_ids) for row in lists]))
    return partial(score_pairs, open_teacher(run, "train"), cache=cache)


def in_batch_pair_teacher(run: Run, name: str, cache: ScoreCache) -> AskTeacher | None:
    """Scores of the first texts of a set with the texts of their batch; None where none are wanted."""
    if not _of_pairs(run.recipe):
        return None
    _note(run, f"text of {name} with the texts", _met(run, _list_sizes(open_lists(run, name))))
    return partial(score_pairs, open_pair_teacher(run, name), cache=cache)


def count_in_batch(run: Run, estimate: CostEstimate) -> None:
    """The most that in-batch scores can ask servers."""
    recipe = run.recipe
    sets = {name: open_lists(run, name) for name in recipe.pairs}
    # With fewer negatives, which the teacher may find too likely, the lists are shorter and no more.
    taken = [] if recipe.data is None else [candidate_lists(run, name) for name in ("train", "easy")]
    lists = student_lists(run, *taken) if taken else []
    passes = _passes(recipe, {RETRIEVAL: len(lists)} | {name: len(one.lists) for name, one in sets.items()})
    if lists and _of_queries(recipe):
        _count_queries(run, lists, passes[RETRIEVAL], estimate)
    for name, found in sets.items() if _of_pairs(recipe) else ():
        every = len(np.unique(found.lists[:, 0])) * len(np.unique(found.lists[:, 1:]))
        most = min(passes[name] * _met(run, _list_sizes(found)), every)
        labelled = labelled_pairs(run, name)
        alike = zip(labelled.first, labelled.second, strict=True)
        estimate.add_bound(f"{name}: pairs within batches", servers_of(run, name), most, alike)


def _count_queries(run: Run, lists: Sequence[TrainingList], passes: int, estimate: CostEstimate) -> None:
    data = run.dataset
    met = passes * _met(run, [len(row.passage_ids) for row in lists])
    rankings = (candidate_lists(run, name) for name in ("train", "easy"))
    passages = {passage for ranking in rankings for _, passage in ranking.pairs()}
    every = len({row.query_id for row in lists}) * len(passages)
    some = lists[:: max(1, len(lists) // SAMPLED)]
    alike = (
        (data.queries["train"].text(row.query_id), content)
        for row in some
        for content in data.training_view.contents(data.training_view.rows(row.passage_ids))
    )
    estimate.add_bound("pairs within batches", teaching_servers(run), min(met, every), alike)


def _passes(recipe: Recipe, sizes: dict[str, int]) -> dict[str, int]:
    """How often the training goes through the lists of each task, at most; a temperature shares out several.

    Args:
        recipe: of the training.
        sizes: how many lists each task has.
    """
    batches = {name: math.ceil(size / recipe.training.batch_size) for name, size in sizes.items() if size}
    shares = batch_shares(list(batches.values()), recipe.training.task_temperature) if batches else ()
    return {
        name: math.ceil(recipe.training.epochs * int(share) / batches[name])
        for name, share in zip(batches, shares, strict=True)
    }


def _met(run: Run, sizes: Sequence[int]) -> int:
    """The pairs of a text with the others' lists in its batches, in one pass through lists of such sizes."""
    return (min(run.recipe.training.batch_size, len(sizes)) - 1) * sum(sizes)


def _list_sizes(found: PairLists) -> list[int]:
    sizes: list[int] = (found.lists[:, 1:] >= 0).sum(1).tolist()
    return sizes


def _note(run: Run, what: str, pairs: int) -> None:
    run.progress.note(
        f"the teacher scores the pairs of each {what} of its batch: at most {pairs:,} an epoch, less those "
        "that it has scored before"
    )


def _of_queries(recipe: Recipe) -> bool:
    loss, dense = recipe.loss, isinstance(recipe.student, DenseStudentRecipe)
    return recipe.data is not None and dense and isinstance(loss, D2LLMRecipe) and loss.in_batch_teacher


def _of_pairs(recipe: Recipe) -> bool:
    return bool(recipe.pairs) and recipe.pair_loss.in_batch_teacher
