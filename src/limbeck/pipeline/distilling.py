"""The stages of the student: it learns, so does its plain competitor, and the corpus is indexed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.data import PairFeatures, Passages, Rankings
from limbeck.encoders import encode
from limbeck.indexes.vectors import VectorIndex, two_stage_recall
from limbeck.losses import LIST_LOSSES, D2LLMLoss
from limbeck.mining import DenseMiner
from limbeck.pipeline.candidates import (
    backbone_settings,
    candidate_lists,
    start_backbone,
    student_lists,
    training_queries,
)
from limbeck.pipeline.folder import SCRATCH, write_json
from limbeck.pipeline.imitating import STAGE as IMITATED
from limbeck.pipeline.imitating import vector_imitation
from limbeck.pipeline.in_batch import in_batch_teacher
from limbeck.pipeline.pairs.distilling import pair_tasks
from limbeck.pipeline.run import Run
from limbeck.pipeline.teaching import imitates_features, training_features
from limbeck.pipeline.trainer_progress import TrainerProgress
from limbeck.recipes import RETRIEVAL, D2LLMRecipe, DenseStudentRecipe, Recipe
from limbeck.students.dense.adapters import LoraSettings
from limbeck.students.dense.lists import (
    ListCollator,
    TrainingList,
    judged_positives,
    positives_with_negatives,
)
from limbeck.students.dense.objective import D2LLMObjective, ListObjective, Objective, StudentLoss
from limbeck.students.dense.pair_training import StudentTask, train_on_tasks
from limbeck.students.dense.retriever import INDEX, SETTINGS, STUDENT
from limbeck.students.dense.student import DenseStudent
from limbeck.students.dense.training import (
    TrainingSettings,
    list_dataset,
    train_in_batch,
    train_student,
)
from limbeck.students.dense.units import Sample, level_offset, sampled_scores, spread_ratio
from limbeck.teachers import ScoreCache
from limbeck.trainers import require_finite

#: Texts encoded between two reports of progress.
BLOCK = 256
MODEL = "model"


def distil_settings(recipe: Recipe) -> object:
    """What the student depends on."""
    # Of one set alone there is nothing to share out, and the key of its student says nothing of it.
    left_out = {"seed"} if recipe.pairs else {"seed", "task_temperature"}
    return [
        recipe.student.settings,
        *([] if recipe.data is None else [recipe.loss.settings]),
        {name: value for name, value in recipe.training.settings.items() if name not in left_out},
        backbone_settings(recipe),
        recipe.training_seed,
        *([recipe.pair_loss.settings] if recipe.pairs else []),
        # Once such a start was given a slope by chance; that student is not this one.
        *(["levelled"] if recipe.pairs and _starts_at_random(recipe) else []),
    ]


def _starts_at_random(recipe: Recipe) -> bool:
    """Whether the interaction of a dense student knows nothing at step 0."""
    student = recipe.student
    return (
        isinstance(student, DenseStudentRecipe)
        and student.interaction == "module"
        and student.interaction_start == "random"
    )


def distil(run: Run, work: Path) -> None:
    """Teaches the student the teacher's rankings and pairs.

    Leaves `student/`, `curve.json`, and `tensorboard/` where the recipe wants it.
    """
    recipe = run.recipe
    options = student_options(recipe)
    imitated = vector_imitation(recipe) is not None
    student = DenseStudent.start(
        str(run.folder / IMITATED / MODEL) if imitated else recipe.backbone,
        max_length=recipe.max_length,
        layers=None if imitated else recipe.backbone_layers,
        seed=recipe.training_seed,
        device=recipe.device,
        **options,
    )
    settings = TrainingSettings(
        seed=recipe.training_seed,
        **recipe.training.model_dump(exclude={"hard_negatives", "cosine_weight", "task_temperature", "seed"}),
    )
    callbacks = [TrainerProgress(run.progress, "distilling")]
    with ScoreCache(run.scores) as cache:
        if not recipe.pairs:
            lists = _retrieval_lists(run)
            outcome = train_student(
                student,
                lists,
                queries=run.dataset.queries["train"],
                passages=run.dataset.training_view,
                objective=_objective(run, student, lists),
                settings=settings,
                work_dir=work / SCRATCH,
                cosine_weight=recipe.training.cosine_weight,
                features=_features(run),
                ask=in_batch_teacher(run, cache),
                callbacks=callbacks,
            )
        else:
            outcome = train_on_tasks(
                student,
                _retrieval_task(run, student, cache) | pair_tasks(run, student, work, cache),
                settings=settings,
                work_dir=work / SCRATCH,
                temperature=recipe.training.task_temperature,
                callbacks=callbacks,
            )
    require_finite(student.model, "training.learning_rate and training.head_learning_rate")
    student.save(work / STUDENT)
    write_json(work / "curve.json", outcome.curve)


def _retrieval_lists(run: Run) -> list[TrainingList]:
    taught = (Rankings.open(run.folder / "teach" / f"{name}.arrow") for name in ("candidates", "easy"))
    return student_lists(run, *taught)


def _retrieval_task(run: Run, student: DenseStudent, cache: ScoreCache) -> dict[str, StudentTask]:
    """What a student learns of retrieval beside pairs; nothing where the recipe has no corpus."""
    if run.recipe.data is None:
        return {}
    lists, data = _retrieval_lists(run), run.dataset
    loss = StudentLoss(
        student.model,
        _objective(run, student, lists),
        cosine_weight=run.recipe.training.cosine_weight,
        name=f"{RETRIEVAL}_",
    )
    collator = ListCollator(
        student.model,
        data.queries["train"],
        data.training_view,
        _features(run),
        in_batch_teacher(run, cache),
    )
    return {RETRIEVAL: StudentTask(list_dataset(lists), collator, loss)}


def _features(run: Run) -> PairFeatures | None:
    return training_features(run) if imitates_features(run.recipe) else None


def student_options(recipe: Recipe) -> dict[str, Any]:
    """What `DenseStudent.start` is told by the recipe's section `student`."""
    lora = getattr(recipe.student, "lora", None)
    options = recipe.student.model_dump(exclude={"kind", "lora", "vector_imitation"})
    return options | ({"lora": LoraSettings(**lora.model_dump())} if lora else {})


def _objective(run: Run, student: DenseStudent, lists: Sequence[TrainingList]) -> Objective:
    """What the student minimises; logits or teacher scores are first brought to the other's unit."""
    loss, data = run.recipe.loss, run.dataset

    def sample() -> Sample:
        return sampled_scores(student, lists, queries=data.queries["train"], passages=data.training_view)

    if isinstance(loss, D2LLMRecipe):
        offset = level_offset(sample())
        student.interaction.shift(offset)
        run.progress.note(
            f"the student's logits start {abs(offset):.1f} {'higher' if offset > 0 else 'lower'}: "
            "at the teacher's level"
        )
        return D2LLMObjective(
            D2LLMLoss(
                contrastive_weight=loss.contrastive,
                rank_weight=loss.rank,
                hard_easy_weight=loss.hard_easy,
                in_batch_weight=loss.in_batch,
                feature_weight=loss.feature,
                temperature=loss.temperature,
            )
        )
    scale = loss.teacher_scale
    if scale is None:
        scale = spread_ratio(sample())
        run.progress.note(f"teacher scores times {scale:.2f} spread as far as the student's")
    return ListObjective(loss.kind, LIST_LOSSES[loss.kind], loss.weight, loss.in_batch, scale)


def baseline_settings(recipe: Recipe) -> object:
    """What the fine-tuned backbone depends on."""
    return [recipe.baseline_training.settings, backbone_settings(recipe), recipe.training_seed]


def fine_tune_baseline(run: Run, work: Path) -> None:
    """Fine-tunes the backbone on the judgements; leaves `model/`, its vectors and `curve.json`."""
    recipe, seed = run.recipe, run.recipe.training_seed
    options = recipe.baseline_training.model_dump()
    queries, judgements = training_queries(run)
    if count := options.pop("hard_negatives"):
        mined = candidate_lists(run, "train")
        examples = positives_with_negatives(mined, judgements, hard_negatives=count, seed=seed)
    else:
        examples = judged_positives(judgements)
    model = start_backbone(recipe)
    outcome = train_in_batch(
        model,
        examples,
        queries=queries,
        passages=run.dataset.training_view,
        settings=TrainingSettings(seed=seed, **options),
        work_dir=work / SCRATCH,
        callbacks=[TrainerProgress(run.progress, "fine-tuning the backbone")],
    )
    require_finite(model, "baseline.learning_rate")
    model.save(str(work / MODEL), create_model_card=False)
    write_json(work / "curve.json", outcome.curve)
    with run.progress.task("encoding passages with it", len(run.dataset.passages)) as advance:
        DenseMiner(model, run.dataset.passages, folder=work, progress=advance)


def index_settings(recipe: Recipe) -> object:
    """What the index depends on."""
    return recipe.index


def build_index(run: Run, work: Path) -> None:
    """Encodes the corpus with the student, the passage half of the interaction included.

    Leaves `vectors/` and `index.json`, which also tells what two stages lose against exhaustive scoring,
    measured on the dev queries.
    """
    student = DenseStudent.load(run.folder / "distil" / STUDENT, run.recipe.device)
    passages = run.dataset.passages
    with run.progress.task("encoding passages with the student", len(passages)) as advance:
        vectors = _encoded(student, passages, advance)
        index = VectorIndex.build(work / INDEX, vectors, iter(passages.ids()), student.interaction_weights())
    asked = encode(student.model, run.dataset.queries["dev"].texts(), query=True)
    two_stages = index.interaction is None or index.interaction.cosine_scale != 0
    depths = [depth for depth in (200, 1000) if two_stages and depth <= len(passages)]
    recall = {str(depth): two_stage_recall(index, asked, 10, depth) for depth in depths}
    for depth, share in recall.items():
        run.progress.note(f"two stages with {depth} candidates find {share:.1%} of the exhaustive top 10")
    settings = {
        "candidates": run.recipe.index.candidates,
        "passages": run.corpus.fingerprint,
        "size_bytes": index.size_bytes,
        "recall": recall,
    }
    write_json(work / SETTINGS, settings)


def _encoded(
    student: DenseStudent, passages: Passages, advance: Callable[[int], None]
) -> Iterator[NDArray[np.float32]]:
    for block in passages.batches(BLOCK):
        yield student.encode([passage.content for passage in block])
        advance(len(block))
