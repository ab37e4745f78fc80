"""Vector indexes: passages as vectors on disk, searched by cosine or through an interaction module."""

from __future__ import annotations

from limbeck.indexes.vectors.first_stage import HnswParameters
from limbeck.indexes.vectors.index import VectorIndex, two_stage_recall
from limbeck.indexes.vectors.interaction import InteractionWeights

__all__ = ["HnswParameters", "InteractionWeights", "VectorIndex", "two_stage_recall"]
