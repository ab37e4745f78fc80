"""The stages of pseudo-queries: a model writes questions for every passage, and a filter drops some."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from limbeck.data import Judgements, Passages, Queries
from limbeck.mining import BM25
from limbeck.pipeline.candidates import backbone_settings, open_bm25, training_queries
from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.filtering import (
    COUNTS,
    Searched,
    count_filtered,
    count_verdicts,
    filter_asks_server,
    filter_settings,
    judge_questions,
    tell_verdicts,
    write_verdicts,
)
from limbeck.pipeline.folder import SCRATCH, write_json
from limbeck.pipeline.identifiers import WRITTEN, query_filter, written_place, written_source
from limbeck.pipeline.run import Run
from limbeck.pipeline.teaching import candidate_pairs
from limbeck.pipeline.trainer_progress import TrainerProgress
from limbeck.query_generation.sampling import Sampling
from limbeck.query_generation.seq2seq import QueryGenerator, Seq2SeqWriter
from limbeck.query_generation.training import train_query_generator
from limbeck.query_generation.writing import generate_pseudo_queries
from limbeck.recipes import QueryGeneratorSection, Recipe
from limbeck.students.generative.pseudo_queries import PseudoQueries, write_texts
from limbeck.students.generative.training import GenerationSettings
from limbeck.trainers import require_finite

MODEL = "query-generator"
#: What wrote the questions, beside them.
WRITER = "writer.json"
#: Every written pseudo-query with what became of it.
TABLE = "pseudo-queries.parquet"

#: Queries, their judgements and the passages that are judged: what a model learns to write from.
Examples = tuple[Queries, Judgements, Passages]


def query_writing_settings(recipe: Recipe) -> object:
    """What the written questions depend on."""
    source = written_source(recipe)
    said = source.model_dump(exclude={"filter"})  # which drops them in a stage of its own
    return [said, backbone_settings(recipe), recipe.seed]


def write_queries(run: Run, work: Path) -> None:
    """Writes questions for every passage, with a given model or one that is trained here.

    Leaves `pseudo-queries.arrow` and `writer.json`; and of a training `query-generator/` and `curve.json`.
    """
    source, seed = written_source(run.recipe), run.recipe.seed
    examples = partial(_own_examples, run)
    writer = Seq2SeqWriter(open_generator(run, source, examples, work), Sampling(seed=seed))
    passages = run.dataset.training_view
    with run.progress.task("writing questions for passages", len(passages)) as advance:
        written = generate_pseudo_queries(
            writer,
            passages,
            source.count,
            work / WRITTEN,
            work_dir=work / SCRATCH / "blocks",
            progress=advance,
        )
    write_json(work / WRITER, writer.settings())
    run.progress.note(f"{len(written):,} of {len(passages):,} passages have written questions")


def query_sifting_settings(recipe: Recipe) -> object:
    """What is kept of the written pseudo-queries depends on."""
    wanted = filter_settings(recipe, query_filter(recipe))
    return [*wanted, recipe.language, backbone_settings(recipe), recipe.seed]


def sift_queries(run: Run, work: Path) -> None:
    """Drops pseudo-queries that are worth little; a passage may lose all that it has.

    Leaves `pseudo-queries.arrow` with those that are kept, `pseudo-queries.parquet` and `counts.json`.

    Raises:
        InputError: all were dropped.
    """
    written = PseudoQueries.open(run.folder / "write-queries" / WRITTEN)
    judged = judge_questions(
        run,
        query_filter(run.recipe),
        written,
        lambda _: _searched(run, work / SCRATCH),
        work / SCRATCH,
        remedy=f"loosen {written_place(run.recipe)}.filter, or train the model that writes for longer",
    )
    kept: dict[str, list[str]] = {}
    for question in judged:
        if question.dropped is None:
            kept.setdefault(question.passage_id, []).append(question.text)
    write_texts(work / WRITTEN, kept.items())
    write_verdicts(work / TABLE, judged, _writer(run))
    counts = count_verdicts(judged)
    write_json(work / COUNTS, counts)
    lost = len(written) - len(kept)
    run.progress.note(tell_verdicts(counts) + (f"; passages that keep none: {lost:,}" if lost else ""))


def filters_by_server(recipe: Recipe) -> bool:
    """Whether a server filters the pseudo-queries."""
    return filter_asks_server(query_filter(recipe))


def count_sifted(run: Run, estimate: CostEstimate) -> None:
    """The most that the filter can ask a server, before any pseudo-query is written."""
    questions = len(run.dataset.training_view) * written_source(run.recipe).count
    alike = candidate_pairs(run, "train")  # people's questions stand for those that are to come
    count_filtered(run, query_filter(run.recipe), questions, alike, estimate)


def _searched(run: Run, scratch: Path) -> Searched:
    """The passages as their questions were written for them; what is mined is not indexed again."""
    view = run.dataset.training_view
    if run.dataset.training_passages is None:
        return Searched(view, open_bm25(run), run.folder / "mine" / "backbone")
    return Searched(view, BM25.build(view, run.recipe.language), scratch / "backbone")


def _writer(run: Run) -> dict[str, Any]:
    path = run.folder / "write-queries" / WRITER
    # Folders from before there was a filter lack it; they know one writer.
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"writer": "seq2seq"}


def open_generator(
    run: Run,
    source: QueryGeneratorSection,
    examples: Callable[[], Examples],
    work: Path,
) -> QueryGenerator:
    """The model that a source names, or the backbone, trained on examples.

    Args:
        run: the run.
        source: the section of the model or its training.
        examples: gives what it is trained on, if it is.
        work: the folder of the stage, for `query-generator/` and `curve.json` of a training.
    """
    return (
        _trained(run, source, examples, work) if source.model is None else _given(run, source, source.model)
    )


def _own_examples(run: Run) -> Examples:
    queries, judgements = training_queries(run)
    return queries, judgements, run.dataset.training_view


def _given(run: Run, source: QueryGeneratorSection, model: str) -> QueryGenerator:
    return QueryGenerator.start(
        model,
        max_passage_length=source.max_passage_length,
        max_query_length=source.max_query_length,
        seed=run.recipe.seed,
        device=run.recipe.device,
    )


def _trained(
    run: Run, source: QueryGeneratorSection, examples: Callable[[], Examples], work: Path
) -> QueryGenerator:
    """The backbone, trained on examples; one that an interrupted attempt has finished."""
    folder = work / MODEL
    if folder.is_dir():
        return QueryGenerator.load(folder, device=run.recipe.device)
    generator = _given(run, source, run.recipe.backbone)
    queries, judgements, passages = examples()
    outcome = train_query_generator(
        generator,
        judgements,
        queries=queries,
        passages=passages,
        settings=GenerationSettings(
            epochs=source.epochs,
            batch_size=source.batch_size,
            learning_rate=source.learning_rate,
            checkpoint_every=source.checkpoint_every,
            seed=run.recipe.seed,
        ),
        work_dir=work / SCRATCH / "checkpoints",
        callbacks=[TrainerProgress(run.progress, "learning to write questions")],
    )
    require_finite(generator.model, "learning_rate of the model that writes questions")
    write_json(work / "curve.json", outcome.curve)
    generator.save(folder)
    return generator
