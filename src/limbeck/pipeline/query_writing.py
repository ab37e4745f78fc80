"""The stage that writes pseudo-queries: questions for passages that no training query asks for."""

from __future__ import annotations

from pathlib import Path

from limbeck.pipeline.candidates import backbone_settings, file_stamps, training_queries
from limbeck.pipeline.distilling import require_finite
from limbeck.pipeline.folder import SCRATCH, write_json
from limbeck.pipeline.identifiers import WRITTEN, written_source
from limbeck.pipeline.run import Run
from limbeck.pipeline.trainer_progress import TrainerProgress
from limbeck.query_generation.sampling import Sampling
from limbeck.query_generation.seq2seq import QueryGenerator, Seq2SeqWriter
from limbeck.query_generation.training import train_query_generator
from limbeck.query_generation.writing import generate_pseudo_queries
from limbeck.recipes import GeneratedSource, Recipe
from limbeck.students.generative.training import GenerationSettings

MODEL = "query-generator"


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
    generator = _trained(run, source, work) if source.model is None else _given(run, source, source.model)
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


def _given(run: Run, source: GeneratedSource, model: str) -> QueryGenerator:
    return QueryGenerator.start(
        model,
        max_passage_length=source.max_passage_length,
        max_query_length=source.max_query_length,
        seed=run.recipe.seed,
        device=run.recipe.device,
    )


def _trained(run: Run, source: GeneratedSource, work: Path) -> QueryGenerator:
    """The backbone, trained on the training queries; one that an interrupted attempt has finished."""
    folder = work / MODEL
    if folder.is_dir():
        return QueryGenerator.load(folder, device=run.recipe.device)
    generator = _given(run, source, run.recipe.backbone)
    queries, judgements = training_queries(run)
    outcome = train_query_generator(
        generator,
        judgements,
        queries=queries,
        passages=run.dataset.training_view,
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
    require_finite(generator.model, "learning_rate of the source of pseudo-queries")
    write_json(work / "curve.json", outcome.curve)
    generator.save(folder)
    return generator
