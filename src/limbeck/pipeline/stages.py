"""The stages of the main job, in order."""

from __future__ import annotations

from limbeck.pipeline import candidates, distilling, evaluating, teaching
from limbeck.pipeline.run import Stage

STAGES = (
    Stage("data", "Read the corpus and the queries", (), candidates.data_settings, candidates.prepare_data),
    Stage("mine", "Mine candidates", ("data",), candidates.mining_settings, candidates.mine),
    Stage("teacher", "Make the teacher", ("mine",), teaching.teacher_settings, teaching.prepare_teacher),
    Stage("audit", "Audit the teacher", ("teacher",), teaching.audit_settings, teaching.audit_teacher),
    Stage(
        "teach", "Teach: score the training candidates", ("audit",), teaching.teach_settings, teaching.teach
    ),
    Stage("distil", "Distil the student", ("teach",), distilling.distil_settings, distilling.distil),
    Stage(
        "baseline",
        "Fine-tune the backbone in-batch, to compare",
        ("mine",),
        distilling.baseline_settings,
        distilling.fine_tune_baseline,
    ),
    Stage("index", "Index the corpus", ("distil",), distilling.index_settings, distilling.build_index),
    Stage(
        "evaluate",
        "Evaluate every system",
        ("index", "baseline"),
        evaluating.evaluation_settings,
        evaluating.evaluate,
    ),
)
