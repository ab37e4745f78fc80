"""The stage that writes pseudo-queries: questions for passages that no training query asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from limbeck.data import Judgements, Passages, Queries
from limbeck.pipeline.candidates import backbone_settings, file_stamps, training_queries
from limbeck.pipeline.folder import SCRATCH, write_json
from limbeck.pipeline.identifiers import WRITTEN, written_source
from limbeck.pipeline.run import Run
from limbeck.pipeline.trainer_progress import TrainerProgress
from limbeck.query_generation.sampling import Sampling
from limbeck.query_generation.seq2seq import QueryGenerator, Seq2SeqWriter
from limbeck.query_generation.training import train_query_generator
from limbeck.query_generation.writing import generate_pseudo_queries
from limbeck.recipes import QueryGeneratorSection, Recipe
from limbeck.students.generative.training import GenerationSettings
from limbeck.trainers import require_finite

MODEL = "query-generator"

#: Queries, their judgements and the passages that are judged: what a model learns to write from.
Examples = tuple[Queries, Judgements, Passages]


def query_writing_settings(recipe: Recipe) -> object:
    """What the written questions depend on."""
    source = written_source(recipe)
    stamps = file_stamps(Path(source.model)) if source.model else None
    return [source, stamps, backbone_settings(recipe), recipe.seed]


def write_queries(run: Run, work: Path) -> None:
    """Writes questions for every passage, with a given model or one that is trained here.

    Leaves `pseudo-queries.arrow`; and of a training `query-generator/` and `curve.json`.
    """
    source, seed = written_source(run.recipe), run.recipe.seed
    examples = partial(_own_examples, run)
    generator = open_generator(run, source, examples, work)
    passages = run.dataset.training_view
    with run.progress.task("writing questions for passages", len(passages)) as advance:
        written = generate_pseudo_queries(
            Seq2SeqWriter(generator, Sampling(seed=seed)),
            passages,
            source.count,
            work / WRITTEN,
            work_dir=work / SCRATCH / "blocks",
            progress=advance,
        )
    run.progress.note(f"{len(written):,} of {len(passages):,} passages have written questions")


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
