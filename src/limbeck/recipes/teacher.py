"""Sections: the teacher and its members."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from limbeck.recipes.base import File, ModelName, Section


class FineTuning(Section):
    """How a cross-encoder learns from positives and mined negatives."""

    base: ModelName | None = Field(None, description="What it starts from; null takes the backbone.")
    steps: int = Field(300, ge=1, description="Steps of the optimiser.")
    batch_size: int = Field(8, ge=1, description="Lists a step.")
    negatives: int = Field(3, ge=1, description="Mined negatives a list.")
    learning_rate: float = Field(7e-5, gt=0)
    checkpoint_every: int = Field(50, ge=1)


class CrossEncoderMember(Section):
    """A cross-encoder: a folder, an id on the hub, or one that is fine-tuned here when `model` is null."""

    kind: Literal["cross-encoder"]
    model: ModelName | None = None
    fine_tuning: FineTuning = FineTuning()


class BiEncoderMember(Section):
    """A bi-encoder's cosine; `model: null` is the backbone as it is."""

    kind: Literal["bi-encoder"]
    model: ModelName | None = None


class LateInteractionMember(Section):
    """Token against token, without training; `model: null` is the backbone as it is."""

    kind: Literal["late-interaction"]
    model: ModelName | None = None


class Bm25Member(Section):
    """BM25, as a share of the best score that a query can get."""

    kind: Literal["bm25"]


class RunMember(Section):
    """TREC runs that hold the scores of every candidate; the same files may serve as `mining.runs`."""

    kind: Literal["run"]
    train: File
    dev: File
    test: File | None = None


Member = Annotated[
    CrossEncoderMember | LateInteractionMember | BiEncoderMember | Bm25Member | RunMember,
    Field(discriminator="kind"),
]


class TeacherRecipe(Section):
    """The ranker to distil: one member, or an ensemble whose weights are fitted on the dev queries."""

    members: tuple[Member, ...] = Field(
        (
            Bm25Member(kind="bm25"),
            BiEncoderMember(kind="bi-encoder"),
            CrossEncoderMember(kind="cross-encoder"),
        ),
        min_length=1,
    )
    max_length: int = Field(128, ge=8, description="Tokens of a pair that a cross-encoder reads.")
