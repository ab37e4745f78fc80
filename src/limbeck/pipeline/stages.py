"""The stages of the main job, in order, for every kind of student."""

from __future__ import annotations

from dataclasses import replace

from limbeck.pipeline import (
    candidates,
    distilling,
    evaluating,
    generating,
    identifiers,
    inspection,
    inventing,
    preflight,
    query_writing,
    ranking,
    sifting,
    teaching,
)
from limbeck.pipeline.run import Stage
from limbeck.recipes import DenseStudentRecipe, Recipe

_FIRST = (
    Stage(
        "data",
        "Read the corpus and the queries",
        after=(),
        settings=candidates.data_settings,
        work=candidates.prepare_data,
        checks=(preflight.check_data,),
    ),
    Stage(
        "invent",
        "Write questions for the passages",
        after=("data",),
        settings=inventing.invention_settings,
        work=inventing.invent,
        checks=(preflight.check_device,),
    ),
    Stage(
        "sift",
        "Drop questions of little worth, and split the others",
        after=("invent",),
        settings=sifting.sifting_settings,
        work=sifting.sift,
        checks=(preflight.check_device, preflight.check_language),
    ),
    Stage(
        "mine",
        "Mine candidates",
        after=("data", "sift"),
        settings=candidates.mining_settings,
        work=candidates.mine,
        checks=(preflight.check_device, preflight.check_language, preflight.check_student),
    ),
)
_TEACHER = (
    Stage(
        "teacher",
        "Make the teacher",
        after=("mine",),
        settings=teaching.teacher_settings,
        work=teaching.prepare_teacher,
        checks=(preflight.check_device, preflight.check_teacher),
    ),
    Stage(
        "audit",
        "Audit the teacher",
        after=("teacher",),
        settings=teaching.audit_settings,
        work=teaching.audit_teacher,
        checks=(preflight.check_device,),
        inspections=(inspection.inspect_teacher_runs,),
    ),
)
_BASELINE = Stage(
    "baseline",
    "Fine-tune the backbone in-batch, to compare",
    after=("mine",),
    settings=distilling.baseline_settings,
    work=distilling.fine_tune_baseline,
    checks=(preflight.check_device,),
)
_EVALUATE = Stage(
    "evaluate",
    "Evaluate every system",
    after=("base", "index", "baseline"),
    settings=evaluating.evaluation_settings,
    work=evaluating.evaluate,
    checks=(preflight.check_device, preflight.check_evaluation),
    publishes=evaluating.PUBLISHED,
)
_DENSE = (
    *_FIRST,
    *_TEACHER,
    Stage(
        "teach",
        "Teach: score the training candidates",
        after=("audit",),
        settings=teaching.teach_settings,
        work=teaching.teach,
        checks=(preflight.check_device,),
    ),
    Stage(
        "distil",
        "Distil the student",
        after=("teach",),
        settings=distilling.distil_settings,
        work=distilling.distil,
        checks=(preflight.check_device, preflight.check_student),
    ),
    _BASELINE,
    Stage(
        "index",
        "Index the corpus",
        after=("distil",),
        settings=distilling.index_settings,
        work=distilling.build_index,
        checks=(preflight.check_device,),
        shared=False,
    ),
    _EVALUATE,
)
#: All that a generative student may need, each after all that it may read.
_GENERATIVE = (
    *_FIRST,
    *_TEACHER,
    Stage(
        "write-queries",
        "Write pseudo-queries for the passages",
        after=("mine",),
        settings=query_writing.query_writing_settings,
        work=query_writing.write_queries,
        checks=(preflight.check_device,),
    ),
    Stage(
        "generate",
        "Teach the model to generate identifiers",
        after=("mine", "write-queries"),
        settings=generating.generation_settings,
        work=generating.learn_to_generate,
        checks=(preflight.check_device, preflight.check_student),
        inspections=(inspection.inspect_identifiers,),
    ),
    Stage(
        "base",
        "Index the corpus for the base retriever, and ask it",
        after=("generate",),
        settings=generating.base_settings,
        work=generating.ask_base,
        checks=(preflight.check_device,),
    ),
    Stage(
        "own",
        "Find the base retriever's own candidates",
        after=("base",),
        settings=ranking.own_settings,
        work=ranking.find_own_candidates,
        checks=(preflight.check_device,),
    ),
    Stage(
        "teach",
        "Teach: score the base retriever's candidates",
        after=("audit", "own"),
        settings=teaching.teach_settings,
        work=teaching.teach_own,
        checks=(preflight.check_device,),
    ),
    Stage(
        "distil",
        "Teach the student to rank",
        after=("own", "teach"),
        settings=ranking.rank_settings,
        work=ranking.learn_to_rank,
        checks=(preflight.check_device,),
    ),
    _BASELINE,
    Stage(
        "index",
        "Index the corpus",
        after=("generate", "distil"),
        settings=generating.index_settings,
        work=generating.build_index,
        checks=(preflight.check_device,),
        shared=False,
    ),
    _EVALUATE,
)
_RANKING = {"base", "own", "distil"}
_TAUGHT = {"teacher", "audit", "teach"}


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages that a recipe runs, each behind those that it reads.

    Example:
        >>> recipe = Recipe(data={"kind": "stdlib"}, student={"kind": "generative", "ranking": None})
        >>> [stage.name for stage in stages_of(recipe)]
        ['data', 'mine', 'generate', 'baseline', 'index', 'evaluate']
    """
    student = recipe.student
    left_out = set() if inventing.invents_queries(recipe) else {"invent", "sift"}
    if isinstance(student, DenseStudentRecipe):
        return _kept(_DENSE, left_out)
    if not identifiers.writes_queries(recipe):
        left_out.add("write-queries")
    if student.ranking is None:
        left_out |= _RANKING
    if not identifiers.uses_teacher(recipe):
        left_out |= _TAUGHT
    return _kept(_GENERATIVE, left_out)


def _kept(stages: tuple[Stage, ...], left_out: set[str]) -> tuple[Stage, ...]:
    names = {stage.name for stage in stages} - left_out
    return tuple(
        replace(stage, after=tuple(name for name in stage.after if name in names))
        for stage in stages
        if stage.name in names
    )
