"""The teacher's scores of pairs that a batch brings together, asked while the student learns.

Which pairs those are is drawn in training. Scores are kept by the texts of the pair, so that neither the
order of batches nor another seed nor a stop changes one, or pays for it twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from limbeck.pipeline.candidates import candidate_lists, student_lists
from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.pairs.members import asks_servers as asks_about_pairs
from limbeck.pipeline.pairs.members import servers_of
from limbeck.pipeline.pairs.mining import open_lists
from limbeck.pipeline.pairs.teaching import open_pair_teacher
from limbeck.pipeline.run import Run
from limbeck.pipeline.servers import asks_server, teaching_servers
from limbeck.pipeline.teaching import open_teacher
from limbeck.recipes import RETRIEVAL, D2LLMRecipe, DenseStudentRecipe, Recipe
from limbeck.recipes.dense import Training
from limbeck.students.dense.lists import AskTeacher, TrainingList
from limbeck.students.dense.sampling import batch_shares
from limbeck.teachers import ScoreCache, score_pairs

#: Lists whose pairs tell how many tokens a pair has; of sets of pairs the first pair of each.
SAMPLED, SAMPLED_PAIRS = 100, 1000


def asks_in_batch(recipe: Recipe) -> bool:
    """Whether a server scores the pairs of each batch while the student learns."""
    of_queries = _of_queries(recipe) and asks_server(recipe)
    return of_queries or (_of_pairs(recipe) and asks_about_pairs(recipe))


def in_batch_teacher(run: Run, cache: ScoreCache) -> AskTeacher | None:
    """Scores of queries with the passages of their batch; None where none are wanted."""
    if not _of_queries(run.recipe):
        return None
    _note(run, RETRIEVAL, "query with the passages")
    return partial(score_pairs, open_teacher(run, "train"), cache=cache)


def in_batch_pair_teacher(run: Run, name: str, cache: ScoreCache) -> AskTeacher | None:
    """Scores of the first texts of a set with the texts of their batch; None where none are wanted."""
    if not _of_pairs(run.recipe):
        return None
    _note(run, name, f"text of {name} with the texts")
    return partial(score_pairs, open_pair_teacher(run, name), cache=cache)


def count_in_batch(run: Run, estimate: CostEstimate) -> None:
    """The most that in-batch scores can ask servers."""
    epochs = math.ceil(run.recipe.training.epochs)
    most = most_met(list_sizes(run), run.recipe.training, epochs)
    if _of_queries(run.recipe) and most[RETRIEVAL]:
        _count_queries(run, most[RETRIEVAL], estimate)
    for name in run.recipe.pairs if _of_pairs(run.recipe) else ():
        found = open_lists(run, name)
        every = len(np.unique(found.lists[:, 0])) * len(np.unique(found.lists[:, 1:]))
        # Sets may be sorted, so that the first pairs are not like the others.
        some = found.lists[:: max(1, len(found.lists) // SAMPLED_PAIRS), :2]
        alike = zip(*(found.texts.contents(column) for column in some.T), strict=True)
        what = f"{name}: pairs within batches"
        estimate.add_bound(what, servers_of(run, name), min(most[name], every), alike)


def _count_queries(run: Run, most: int, estimate: CostEstimate) -> None:
    data, lists = run.dataset, _lists(run)
    rankings = (candidate_lists(run, name) for name in ("train", "easy"))
    passages = {passage for ranking in rankings for _, passage in ranking.pairs()}
    every = len({row.query_id for row in lists}) * len(passages)
    some = lists[:: max(1, len(lists) // SAMPLED)]
    alike = (
        (data.queries["train"].text(row.query_id), content)
        for row in some
        for content in data.training_view.contents(data.training_view.rows(row.passage_ids))
    )
    estimate.add_bound("pairs within batches", teaching_servers(run), min(most, every), alike)


def list_sizes(run: Run) -> dict[str, list[int]]:
    """How many texts each list of each task has, retrieval first, in the order of the training."""
    of_pairs = {name: (open_lists(run, name).lists[:, 1:] >= 0).sum(1).tolist() for name in run.recipe.pairs}
    if run.recipe.data is None:
        return of_pairs
    return {RETRIEVAL: [len(row.passage_ids) for row in _lists(run)], **of_pairs}


def most_met(sizes: Mapping[str, Sequence[int]], training: Training, epochs: int) -> dict[str, int]:
    """Pairs of a text with the lists of others in its batches, at most, by task.

    Which lists make a batch is drawn anew for each epoch, and which batches there are where tasks share
    them. So no batch has more than the longest lists, and no epoch more than all lists as often as it
    goes through them.

    Args:
        sizes: how many texts each list of a task has.
        training: batch size, and the temperature by which tasks share the batches.
        epochs: whole ones.

    Example:
        >>> most_met({"one": [4, 4, 4]}, Training(batch_size=2), 1)
        {'one': 12}
    """
    batches = {task: math.ceil(len(lists) / training.batch_size) for task, lists in sizes.items() if lists}
    shares = batch_shares(list(batches.values()), training.task_temperature) if batches else ()
    found = dict.fromkeys(sizes, 0)
    for (task, count), share in zip(batches.items(), shares, strict=True):
        size = min(training.batch_size, len(sizes[task]))
        batch = (size - 1) * sum(sorted(sizes[task])[-size:])
        passes = (size - 1) * sum(sizes[task]) * math.ceil(share / count)
        found[task] = epochs * min(int(share) * batch, passes)
    return found


def _lists(run: Run) -> list[TrainingList]:
    # With fewer negatives, which the teacher may find too likely, the lists are shorter and no more.
    return student_lists(run, candidate_lists(run, "train"), candidate_lists(run, "easy"))


def _note(run: Run, task: str, what: str) -> None:
    most = most_met(list_sizes(run), run.recipe.training, 1)[task]
    run.progress.note(
        f"the teacher scores the pairs of each {what} of its batch: at most {most:,} an epoch, less those "
        "that it has scored before"
    )


def _of_queries(recipe: Recipe) -> bool:
    loss, dense = recipe.loss, isinstance(recipe.student, DenseStudentRecipe)
    return recipe.data is not None and dense and isinstance(loss, D2LLMRecipe) and loss.in_batch_teacher


def _of_pairs(recipe: Recipe) -> bool:
    return bool(recipe.pairs) and recipe.pair_loss.in_batch_teacher
