"""Teachers: rankers that score (query, passage) pairs; the score cache; the audit.

    Rankings -> score_rankings(Teacher, ScoreCache) -> Rankings -> audit

What needs torch or openai is imported when it is first used, so that run files and BM25 work without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from limbeck.teachers.audit import Audit, TeacherNotBetterError, audit
from limbeck.teachers.base import (
    CompositeTeacher,
    FeatureTeacher,
    Pair,
    PrefixTeacher,
    StreamingTeacher,
    Teacher,
    probabilities,
)
from limbeck.teachers.bi_encoder import BiEncoderTeacher
from limbeck.teachers.bm25 import BM25Teacher
from limbeck.teachers.cache import ScoreCache, score_key
from limbeck.teachers.cross_encoder import CrossEncoderTeacher
from limbeck.teachers.ensemble import EnsembleFit, EnsembleTeacher, fit_ensemble
from limbeck.teachers.features import feature_blocks, feature_teacher, score_pairs_with_features, text_pairs
from limbeck.teachers.late_interaction import LateInteractionTeacher
from limbeck.teachers.run_file import RunFileTeacher
from limbeck.teachers.scoring import score_pairs, score_rankings

if TYPE_CHECKING:
    from limbeck.teachers.fine_tuning import FineTuning, fine_tune_cross_encoder
    from limbeck.teachers.server import ServerTeacher

__all__ = [
    "Audit",
    "BM25Teacher",
    "BiEncoderTeacher",
    "CompositeTeacher",
    "CrossEncoderTeacher",
    "EnsembleFit",
    "EnsembleTeacher",
    "FeatureTeacher",
    "FineTuning",
    "LateInteractionTeacher",
    "Pair",
    "PrefixTeacher",
    "RunFileTeacher",
    "ScoreCache",
    "ServerTeacher",
    "StreamingTeacher",
    "Teacher",
    "TeacherNotBetterError",
    "audit",
    "feature_blocks",
    "feature_teacher",
    "fine_tune_cross_encoder",
    "fit_ensemble",
    "probabilities",
    "score_key",
    "score_pairs",
    "score_pairs_with_features",
    "score_rankings",
    "text_pairs",
]


_HOMES = {"FineTuning": "fine_tuning", "fine_tune_cross_encoder": "fine_tuning", "ServerTeacher": "server"}


def __getattr__(name: str) -> Any:  # PEP 562
    if name in _HOMES:
        return getattr(import_module(f"limbeck.teachers.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
