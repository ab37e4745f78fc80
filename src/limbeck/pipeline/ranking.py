"""The stages in which the generative student learns to rank: its own candidates, and the teacher's lists."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from limbeck.data import Judgements, Query, Rankings, RankingsWriter
from limbeck.data.formats.trec import read_run
from limbeck.errors import InputError
from limbeck.pipeline.answering import kept_answers, kept_blocks
from limbeck.pipeline.candidates import (
    answered_queries,
    drawn_queries,
    scored_by_runs,
    training_list,
    training_queries,
)
from limbeck.pipeline.folder import SCRATCH
from limbeck.pipeline.generating import (
    GENERATOR,
    RETRIEVER,
    build_for_training,
    finish_training,
    open_retriever,
)
from limbeck.pipeline.identifiers import (
    generative_student,
    identifier_views,
    uses_teacher,
    uses_training_queries,
)
from limbeck.pipeline.run import Run
from limbeck.pipeline.trainer_progress import TrainerProgress
from limbeck.recipes import Ranking, Recipe
from limbeck.students.generative.model import load_saved_generator
from limbeck.students.generative.ranking.collecting import collect_matches
from limbeck.students.generative.ranking.lists import RankedLists, judged, ranked_lists
from limbeck.students.generative.ranking.matches import Matches
from limbeck.students.generative.ranking.objective import ranking_objective
from limbeck.students.generative.ranking.training import RankingSettings, train_ranking
from limbeck.students.generative.targets import GenerationTargets


def ranking_section(recipe: Recipe) -> Ranking:
    """How the student learns to rank; stages that call this stand in no other recipe's list."""
    ranking = generative_student(recipe).ranking
    if ranking is None:
        raise TypeError(f"the recipe '{recipe.name}' has no ranking")
    return ranking


def own_settings(recipe: Recipe) -> object:
    """What the base retriever's candidates depend on."""
    ranking = ranking_section(recipe)
    return [ranking.depth, ranking.max_queries, generative_student(recipe).search, recipe.seed]


def find_own_candidates(run: Run, work: Path) -> None:
    """Asks the base retriever the training queries: what the teacher is to judge.

    Leaves `train.arrow`, and `retriever/` where training must see the passages otherwise than a search does.
    """
    depth, runs = ranking_section(run.recipe).depth, run.recipe.mining.runs
    queries, judgements = ranked_queries(run)
    if "train" in runs:
        data = run.dataset
        found = read_run(runs["train"], queries=data.queries["train"], passages=data.training_view)
    else:
        if run.dataset.training_passages is not None or uses_training_queries(run.recipe):
            retriever = build_for_training(run, work / RETRIEVER, [query.id for query in queries])
        else:
            retriever = open_retriever(run, run.folder / "base" / RETRIEVER)
        most = max(len(judgements.relevant(query.id)) for query in queries)
        found = kept_answers(
            run,
            "the base retriever answers training queries",
            retriever,
            queries,
            depth=depth + most,
            folder=work / SCRATCH / "answers",
        )
    only_found = scored_by_runs(run.recipe)
    alone = 0
    with RankingsWriter(work / "train.arrow", found.source) as writer:
        for query in queries:
            positives, ranked = judgements.relevant(query.id), found.list_for(query.id)
            alone += not set(ranked.passage_ids).difference(positives)
            writer.add(training_list(ranked, positives, depth, only_found))
    _require_negatives(run, alone, len(queries))


def _require_negatives(run: Run, alone: int, count: int) -> None:
    """That something was found beside the relevant passages, before a teacher is asked for hours.

    Args:
        run: the run.
        alone: training queries without any such passage.
        count: all that were asked.
    """
    if alone == count:
        raise InputError(
            f"nothing was found but relevant passages for any of the {count:,} training queries: there is "
            "nothing to rank",
            expected="a base retriever whose identifiers are likelier for a question than by chance, or run "
            "files in mining.runs that list more than the relevant passages",
            remedy="train it for longer or faster (student.generation), or give it further views",
        )
    if alone:
        run.progress.note(
            f"{alone:,} of {count:,} training queries found no passage beside their relevant ones: they "
            "teach no ranking"
        )


def ranked_queries(run: Run) -> tuple[list[Query], Judgements]:
    """The training queries whose rankings are learnt, and their judgements.

    Raises:
        InputError: no training query has a relevant passage.
    """
    queries, judgements = training_queries(run)
    ids = answered_queries(queries, judgements)
    if not ids:
        raise InputError(
            "there is nothing to rank: no training query has a relevant passage",
            expected="training judgements with a grade of 1 or more",
        )
    limit = ranking_section(run.recipe).max_queries
    if limit is not None:
        ids = drawn_queries(ids, limit, run.recipe.seed)
    return [Query(id_, queries.text(id_)) for id_ in ids], judgements.subset(ids)


def own_candidates(run: Run) -> Rankings:
    """What the teacher is to judge."""
    return Rankings.open(run.folder / "own" / "train.arrow")


def rank_settings(recipe: Recipe) -> object:
    """What the student depends on, beyond its candidates and the teacher's scores."""
    return [ranking_section(recipe), recipe.seed]


def learn_to_rank(run: Run, work: Path) -> None:
    """Teaches the base generator to score passages in the order of the lists.

    Leaves `generator/`, `curve.json`, and `tensorboard/` where the recipe wants it.
    """
    recipe, ranking = run.recipe, ranking_section(run.recipe)
    seed = recipe.seed if ranking.seed is None else ranking.seed
    queries, judgements = training_queries(run)
    lists = _lists(run, judgements, ranking, seed)
    matches = _matches(run, lists, work / SCRATCH / f"matches-{seed}")
    generator = load_saved_generator(
        run.folder / "generate" / GENERATOR,
        views=[view.settings.name for view in identifier_views(run)],
        device=recipe.device,
    )
    objective = ranking_objective(
        ranking.loss,
        lists,
        matches,
        published=ranking.published_margins,
        generation_weight=ranking.generation_weight,
    )
    targets = GenerationTargets.draw(
        judgements.subset([row.query_id for row in lists]),
        queries=queries,
        passages=run.dataset.training_view,
        views=identifier_views(run),
        vocabulary=generator.vocabulary,
        seed=seed,
    )
    settings = ranking.model_dump(include={field.name for field in fields(RankingSettings)} - {"seed"})
    outcome = train_ranking(
        generator,
        lists,
        matches,
        queries=queries,
        targets=targets,
        objective=objective,
        settings=RankingSettings(seed=seed, **settings),
        work_dir=work / SCRATCH / "checkpoints",
        callbacks=[TrainerProgress(run.progress, f"learning to rank: {ranking.loss}")],
    )
    finish_training(generator, outcome.curve, work, "student.ranking.learning_rate")


def _lists(run: Run, judgements: Judgements, ranking: Ranking, seed: int) -> RankedLists:
    """The rank lists, in the teacher's order where the loss looks at it."""
    candidates = own_candidates(run)
    judgements = judgements.subset(candidates.query_ids)
    if uses_teacher(run.recipe):
        teacher = Rankings.open(run.folder / "teach" / "candidates.arrow")
    else:
        teacher = judged(candidates, judgements)
    lists = ranked_lists(
        teacher,
        judgements,
        positives=ranking.positives,
        negatives=ranking.negatives,
        draws=ranking.draws,
        seed=seed,
    )
    if not len(lists):
        raise InputError(
            "there is nothing to rank: no training query has both a scored positive and a negative",
            remedy="check that the training judgements name passages of the corpus, raise ranking.depth, or "
            "let mining.false_negative_share drop fewer negatives",
        )
    taught = {row.query_id for row in lists}  # each as often as it is drawn
    lost = len((set(lists.without_negatives) | {query for query, _ in lists.unscored}) - taught)
    run.progress.note(
        f"{len(taught):,} training queries have lists"
        + (f"; {lost:,} have none: no scored positive, or no negative" if lost else "")
    )
    return lists


def _matches(run: Run, lists: RankedLists, folder: Path) -> Matches:
    """The identifiers by which the lists' passages are scored, kept block by block."""
    own = run.folder / "own" / RETRIEVER
    retriever = open_retriever(run, own if own.is_dir() else run.folder / "base" / RETRIEVER)
    parts = []
    with run.progress.task("collecting identifiers of the lists", len(lists)) as advance:
        for path, block in kept_blocks(folder, lists.rows):
            if not path.is_file():
                identifiers = ranking_section(run.recipe).identifiers
                asked = run.dataset.queries["train"]
                collect_matches(path, retriever, block, queries=asked, identifiers=identifiers)
            parts.append(Matches.open(path))
            advance(len(block))
    return Matches.joined(parts)
