"""The stages of the main job, in order, for every kind of student."""

from __future__ import annotations

from dataclasses import replace

from limbeck.pipeline import (
    candidates,
    distilling,
    evaluating,
    generating,
    identifiers,
    imitating,
    in_batch,
    inspection,
    inventing,
    preflight,
    query_writing,
    ranking,
    sifting,
    teaching,
)
from limbeck.pipeline.pairs import distilling as pair_distilling
from limbeck.pipeline.pairs import evaluating as pair_evaluating
from limbeck.pipeline.pairs import mining as pair_mining
from limbeck.pipeline.pairs import reading as pair_reading
from limbeck.pipeline.pairs import teaching as pair_teaching
from limbeck.pipeline.pairs.members import asks_servers as asks_about_pairs
from limbeck.pipeline.run import Asking, Stage
from limbeck.pipeline.servers import asks_server
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
        checks=(preflight.check_device, preflight.check_writer),
        asking=Asking(inventing.writes_by_server, ("data",), inventing.count_invented),
    ),
    Stage(
        "sift",
        "Drop questions of little worth, and split the others",
        after=("invent",),
        settings=sifting.sifting_settings,
        work=sifting.sift,
        checks=(preflight.check_device, preflight.check_language, preflight.check_filter),
        asking=Asking(sifting.filters_by_server, ("invent",), sifting.count_sifted),
        revision=1,  # words keep their combining marks
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
        checks=(preflight.check_device, preflight.check_servers),
        inspections=(inspection.inspect_teacher_runs,),
        asking=Asking(asks_server, ("mine",), teaching.count_audited),
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
_PAIRS = (
    Stage(
        pair_reading.STAGE,
        "Read the sets of pairs",
        after=(),
        settings=pair_reading.reading_settings,
        work=pair_reading.read_sets,
        checks=(preflight.check_pairs,),
    ),
    # Before the teachers, which do not need it: all that servers will be asked is told before they are made.
    Stage(
        pair_mining.STAGE,
        "Pair the training texts with their neighbours",
        after=(pair_reading.STAGE,),
        settings=pair_mining.mining_settings,
        work=pair_mining.mine_neighbours,
        checks=(preflight.check_device, preflight.check_student),
    ),
    Stage(
        pair_teaching.TEACHER_STAGE,
        "Make the teachers of pairs",
        after=(pair_reading.STAGE,),
        settings=pair_teaching.teacher_settings,
        work=pair_teaching.prepare_teachers,
        checks=(preflight.check_device, preflight.check_pair_teachers),
    ),
    Stage(
        pair_teaching.AUDIT_STAGE,
        "Audit the teachers of pairs",
        after=(pair_teaching.TEACHER_STAGE,),
        settings=pair_teaching.audit_settings,
        work=pair_teaching.audit_teachers,
        checks=(preflight.check_device, preflight.check_pair_servers),
        asking=Asking(asks_about_pairs, (pair_mining.STAGE,), pair_teaching.count_audited),
    ),
    Stage(
        pair_teaching.TEACH_STAGE,
        "Teach: score the training pairs",
        after=(pair_mining.STAGE, pair_teaching.AUDIT_STAGE),
        settings=pair_teaching.teach_settings,
        work=pair_teaching.teach_pairs,
        checks=(preflight.check_device, preflight.check_pair_servers),
        asking=Asking(asks_about_pairs, (pair_mining.STAGE,), pair_teaching.count_taught),
    ),
)
_PAIR_BASELINE = Stage(
    pair_distilling.BASELINE_STAGE,
    "Fine-tune the backbone on the labels, to compare",
    after=(pair_reading.STAGE,),
    settings=pair_distilling.baseline_settings,
    work=pair_distilling.fine_tune_baseline,
    checks=(preflight.check_device,),
)
_PAIR_EVALUATE = Stage(
    "pair-evaluate",
    "Evaluate every system on pairs",
    after=(pair_teaching.TEACH_STAGE, "distil", pair_distilling.BASELINE_STAGE),
    settings=pair_evaluating.evaluation_settings,
    work=pair_evaluating.evaluate_pairs,
    checks=(preflight.check_device, preflight.check_report, preflight.check_pair_servers),
    asking=Asking(asks_about_pairs, (pair_mining.STAGE,), pair_evaluating.count_evaluated),
    publishes=pair_evaluating.PUBLISHED,
)
_EVALUATE = Stage(
    "evaluate",
    "Evaluate every system",
    revision=1,  # a student without a cosine part scores every passage
    after=("base", "index", "baseline"),
    settings=evaluating.evaluation_settings,
    work=evaluating.evaluate,
    checks=(preflight.check_device, preflight.check_evaluation, preflight.check_servers),
    asking=Asking(evaluating.asks_servers, ("mine",), evaluating.count_evaluated),
    publishes=evaluating.PUBLISHED,
)
_IN_BATCH = Asking(in_batch.asks_in_batch, ("mine",), in_batch.count_in_batch)
_DENSE = (
    *_FIRST,
    *_TEACHER,
    Stage(
        "teach",
        "Teach: score the training candidates",
        after=("audit",),
        settings=teaching.teach_settings,
        work=teaching.teach,
        checks=(preflight.check_device, preflight.check_servers),
        asking=Asking(asks_server, ("mine",), teaching.count_taught),
    ),
    Stage(
        imitating.STAGE,
        "Imitate the vectors of the teacher's bi-encoder",
        after=("teacher", pair_mining.STAGE, pair_teaching.TEACHER_STAGE),
        settings=imitating.imitation_settings,
        work=imitating.imitate,
        checks=(preflight.check_device, preflight.check_student, preflight.check_imitation),
    ),
    Stage(
        "distil",
        "Distil the student",
        after=("teach", imitating.STAGE),
        settings=distilling.distil_settings,
        work=distilling.distil,
        checks=(preflight.check_device, preflight.check_student, preflight.check_in_batch_servers),
        inspections=(inspection.inspect_script,),
        asking=_IN_BATCH,
        revision=1,  # the student's logits start at the teacher's level
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
        checks=(preflight.check_device, preflight.check_query_generator),
    ),
    Stage(
        "sift-queries",
        "Drop pseudo-queries of little worth",
        after=("mine", "write-queries"),
        settings=query_writing.query_sifting_settings,
        work=query_writing.sift_queries,
        checks=(preflight.check_device, preflight.check_language, preflight.check_query_filter),
        asking=Asking(query_writing.filters_by_server, ("mine",), query_writing.count_sifted),
        revision=1,  # words keep their combining marks
    ),
    Stage(
        "generate",
        "Teach the model to generate identifiers",
        after=("mine", "write-queries", "sift-queries"),
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
        revision=1,  # training queries whose rankings are not learnt are pseudo-queries here too
    ),
    Stage(
        "teach",
        "Teach: score the base retriever's candidates",
        after=("audit", "own"),
        settings=teaching.teach_settings,
        work=teaching.teach_own,
        checks=(preflight.check_device, preflight.check_servers),
        asking=Asking(asks_server, ("mine",), teaching.count_own),
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
        if imitating.vector_imitation(recipe) is None:
            left_out.add(imitating.STAGE)
        return _dense_stages(recipe, left_out)
    if not identifiers.writes_queries(recipe):
        left_out.add("write-queries")
    if not identifiers.filters_queries(recipe):
        left_out.add("sift-queries")
    if student.ranking is None:
        left_out |= _RANKING
    if not identifiers.uses_teacher(recipe):
        left_out |= _TAUGHT
    return _kept(_GENERATIVE, left_out)


def _dense_stages(recipe: Recipe, left_out: set[str]) -> tuple[Stage, ...]:
    """A corpus, sets of pairs, or both; the student learns from all that there is in one stage."""
    if not recipe.pairs:
        return _kept(_DENSE, left_out)
    at = next(number for number, stage in enumerate(_DENSE) if stage.name == imitating.STAGE)
    before, (imitate, distil), after = _DENSE[:at], _DENSE[at : at + 2], _DENSE[at + 2 :]
    distil = replace(
        distil,
        after=(*distil.after, pair_teaching.TEACH_STAGE),
        asking=replace(_IN_BATCH, after=(*(_IN_BATCH.after if recipe.data else ()), pair_mining.STAGE)),
    )
    # What asks nothing comes first: all that servers will be asked is then told before any is.
    reading, teaching_pairs = _PAIRS[:2], _PAIRS[2:]
    stages = (*reading, *before, *teaching_pairs, imitate, distil, _PAIR_BASELINE, *after, _PAIR_EVALUATE)
    if recipe.data is None:
        left_out = left_out | {stage.name for stage in (*before, *after)}
    return _kept(stages, left_out)


def _kept(stages: tuple[Stage, ...], left_out: set[str]) -> tuple[Stage, ...]:
    names = {stage.name for stage in stages} - left_out
    return tuple(
        replace(stage, after=tuple(name for name in stage.after if name in names))
        for stage in stages
        if stage.name in names
    )
