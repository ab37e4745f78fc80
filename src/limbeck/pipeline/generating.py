"""The stages of the generative student up to its base retriever, and its index."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from limbeck.data import Passages, Rankings
from limbeck.evaluation import latency_ms
from limbeck.pipeline.answering import kept_answers
from limbeck.pipeline.candidates import backbone_settings, training_queries
from limbeck.pipeline.folder import SCRATCH, write_json
from limbeck.pipeline.identifiers import (
    generative_student,
    identifier_views,
    pseudo_query_files,
    view_settings,
)
from limbeck.pipeline.run import Run
from limbeck.pipeline.trainer_progress import TrainerProgress
from limbeck.recipes import Recipe
from limbeck.students.generative.held_out import held_out_losses
from limbeck.students.generative.identifiers import IdentifierView
from limbeck.students.generative.model import load_generator, load_saved_generator
from limbeck.students.generative.retriever import GenerativeRetriever, SearchSettings
from limbeck.students.generative.targets import GenerationTargets
from limbeck.students.generative.training import GenerationSettings, train_generator
from limbeck.trainers import require_finite

GENERATOR, RETRIEVER, LATENCY = "generator", "retriever", "latency.json"
#: Questions that are timed, one at a time.
TIMED_QUERIES = 20


def generation_settings(recipe: Recipe) -> object:
    """What the base generator depends on."""
    student = generative_student(recipe)
    return [
        student.generation,
        [student.model, student.start, student.encoder_layers, student.decoder_layers],
        [student.max_query_length, view_settings(recipe)],
        backbone_settings(recipe),
        recipe.seed,
    ]


def learn_to_generate(run: Run, work: Path) -> None:
    """Teaches a model the identifiers of the passages that answer its queries.

    Leaves `generator/`, `curve.json`, `held-out.json`, and `tensorboard/` where the recipe wants it.
    """
    recipe, student = run.recipe, generative_student(run.recipe)
    views = identifier_views(run)
    generator = load_generator(
        student.model or recipe.backbone,
        start=student.start,
        views=[view.settings.name for view in views],
        max_query_length=student.max_query_length,
        encoder_layers=student.encoder_layers,
        decoder_layers=student.decoder_layers,
        seed=recipe.seed,
        device=recipe.device,
    )
    queries, judgements = training_queries(run)
    targets = GenerationTargets.draw(
        judgements,
        queries=queries,
        passages=run.dataset.training_view,
        views=views,
        vocabulary=generator.vocabulary,
        seed=recipe.seed,
    )
    markers = generator.vocabulary.markers([view.settings.name for view in views])
    counts = ", ".join(f"{count:,} of {name}" for name, count in targets.counts(markers).items())
    run.progress.note(f"identifiers to learn: {counts}")
    outcome = train_generator(
        generator,
        targets,
        settings=GenerationSettings(seed=recipe.seed, **student.generation.model_dump()),
        work_dir=work / SCRATCH / "checkpoints",
        callbacks=[TrainerProgress(run.progress, "learning to generate")],
    )
    finish_training(generator, outcome.curve, work, "student.generation.learning_rate")
    write_json(work / "held-out.json", _held_out(run, generator, views))


def _held_out(run: Run, generator: Any, views: list[IdentifierView]) -> dict[str, dict[str, float | None]]:
    """How the generator takes the identifiers of the development questions."""
    targets = GenerationTargets.draw(
        run.dataset.judgements["dev"],
        queries=run.dataset.queries["dev"],
        passages=run.dataset.passages,
        views=views,
        vocabulary=generator.vocabulary,
        seed=run.recipe.seed,
    )
    markers = generator.vocabulary.markers([view.settings.name for view in views])
    losses = held_out_losses(generator, targets, markers, seed=run.recipe.seed)
    for name, loss in losses.items():
        further = "" if loss.further is None else f", {loss.further:.2f} for each further one"
        run.progress.note(f"{name} of development questions: {loss.first:.2f} nats, first token{further}")
    return {name: asdict(loss) for name, loss in losses.items()}


def finish_training(generator: Any, curve: list[dict[str, float]], work: Path, rate: str) -> None:
    """Leaves `generator/`, `curve.json`, and `tensorboard/` where there is a log for it.

    Raises:
        InputError: the training diverged; `rate` is the key to lower.
    """
    require_finite(generator.model, rate)
    generator.save(work / GENERATOR)
    write_json(work / "curve.json", curve)
    if (logs := work / SCRATCH / "tensorboard").is_dir():
        shutil.copytree(logs, work / "tensorboard", dirs_exist_ok=True)


def search_settings(recipe: Recipe) -> SearchSettings:
    """How identifiers are generated and scored."""
    return SearchSettings(**generative_student(recipe).search.model_dump())


def base_settings(recipe: Recipe) -> object:
    """What the base retriever's answers depend on."""
    return [generative_student(recipe).search, recipe.evaluation]


def ask_base(run: Run, work: Path) -> None:
    """Indexes the corpus for the base generator, and asks it the questions of the evaluation.

    Leaves `retriever/`, `<split>.arrow` and `latency.json`.
    """
    evaluation = run.recipe.evaluation
    retriever = _build(run, work / RETRIEVER, "generate", run.dataset.passages)
    queries = list(run.dataset.queries[evaluation.split])
    found = kept_answers(
        run,
        "the base retriever answers",
        retriever,
        queries,
        depth=evaluation.depth,
        folder=work / SCRATCH / "answers",
    )
    found.write(work / f"{evaluation.split}.arrow")
    empty = sum(not ranked.passage_ids for ranked in found)
    if empty:
        run.progress.note(f"the base retriever found nothing for {empty:,} of {len(queries):,} questions")
    timed = latency_ms(lambda query: retriever.search(query.text, evaluation.depth), queries[:TIMED_QUERIES])
    write_json(work / LATENCY, asdict(timed))


def index_settings(recipe: Recipe) -> object:
    """What the index depends on beyond the student."""
    return pseudo_query_files(recipe)


def build_index(run: Run, work: Path) -> None:
    """Indexes the corpus for the trained student; leaves `retriever/`, the student in it."""
    trained = "generate" if generative_student(run.recipe).ranking is None else "distil"
    _build(run, work / RETRIEVER, trained, run.dataset.passages)


def build_for_training(run: Run, folder: Path, asked: Collection[str]) -> GenerativeRetriever:
    """The base retriever over the passages as the training queries that it is asked must see them.

    Args:
        run: the run.
        folder: where.
        asked: the ids of these queries, which are pseudo-queries of no passage here.
    """
    return _build(run, folder, "generate", run.dataset.training_view, without=asked)


def _build(
    run: Run, folder: Path, stage: str, passages: Passages, *, without: Collection[str] = ()
) -> GenerativeRetriever:
    """Indexes passages for the generator that a stage has trained; what a killed attempt left goes."""
    shutil.rmtree(folder, ignore_errors=True)
    generator = load_saved_generator(
        run.folder / stage / GENERATOR,
        views=[view.settings.name for view in identifier_views(run)],
        device=run.recipe.device,
    )
    with run.progress.task("indexing identifiers", len(passages)) as advance:
        retriever = GenerativeRetriever.build(
            folder,
            generator,
            passages,
            identifier_views(run, without=without),
            search_settings(run.recipe),
        )
        advance(len(passages))
    return retriever


def open_retriever(run: Run, folder: Path) -> GenerativeRetriever:
    """A retriever that a stage has left, with the search of the recipe."""
    return GenerativeRetriever.open(folder, run.recipe.device, search_settings(run.recipe))


def base_answers(run: Run) -> Rankings:
    """What the base retriever answered to the questions of the evaluation."""
    return Rankings.open(run.folder / "base" / f"{run.recipe.evaluation.split}.arrow")
