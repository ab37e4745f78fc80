"""The stages of the main job, in order."""

from __future__ import annotations

from limbeck.pipeline import candidates, distilling, evaluating, preflight, teaching
from limbeck.pipeline.run import Stage

STAGES = (
    Stage(
        "data",
        "Read the corpus and the queries",
        after=(),
        settings=candidates.data_settings,
        work=candidates.prepare_data,
        checks=(preflight.check_data,),
    ),
    Stage(
        "mine",
        "Mine candidates",
        after=("data",),
        settings=candidates.mining_settings,
        work=candidates.mine,
        checks=(preflight.check_device, preflight.check_language, preflight.check_student),
    ),
    Stage(
        "teacher",
        "Make the teacher",
        after=("mine",),
        settings=teaching.teacher_settings,
        work=teaching.prepare_teacher,
        checks=(preflight.check_device,),
    ),
    Stage(
        "audit",
        "Audit the teacher",
        after=("teacher",),
        settings=teaching.audit_settings,
        work=teaching.audit_teacher,
        checks=(preflight.check_device,),
    ),
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
    Stage(
        "baseline",
        "Fine-tune the backbone in-batch, to compare",
        after=("mine",),
        settings=distilling.baseline_settings,
        work=distilling.fine_tune_baseline,
        checks=(preflight.check_device,),
    ),
    Stage(
        "index",
        "Index the corpus",
        after=("distil",),
        settings=distilling.index_settings,
        work=distilling.build_index,
        checks=(preflight.check_device,),
    ),
    Stage(
        "evaluate",
        "Evaluate every system",
        after=("index", "baseline"),
        settings=evaluating.evaluation_settings,
        work=evaluating.evaluate,
        checks=(preflight.check_device, preflight.check_evaluation),
        publishes=evaluating.PUBLISHED,
    ),
)
