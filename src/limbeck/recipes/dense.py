"""Sections: the dense student, what it minimises, how it learns; and the fine-tuned backbone."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from limbeck.recipes.base import Fraction, ListLossName, Section

#: Of activations: not all of them.
Dropout = Annotated[float, Field(ge=0, lt=1)]
#: Of a running mean.
Decay = Annotated[float, Field(ge=0, lt=1)]


class LoraRecipe(Section):
    """Low-rank adapters, sized as published."""

    rank: int = Field(8, ge=1)
    alpha: float = Field(8.0, gt=0)
    dropout: Fraction = 0.05
    target_modules: tuple[str, ...] | None = Field(
        None, min_length=1, description="Linear layers that get some; null leaves it to peft."
    )


class VectorImitationRecipe(Section):
    """How the encoder learns the vectors of the teacher's bi-encoder, before the student learns any score."""

    epochs: float = Field(4.0, gt=0, description="Passes over all training texts, passages or pairs'.")
    batch_size: int = Field(64, ge=1, description="Texts a step.")
    learning_rate: float = Field(4e-4, gt=0, description="At its peak.")
    dropout: Dropout | None = Field(0.0, description="As training.dropout.")


class DenseStudentRecipe(Section):
    """The dense student: encoder, attention pooling, interaction module."""

    later = frozenset({"pooling", "interaction", "branches", "lora", "vector_imitation"})
    kind: Literal["dense"] = "dense"
    pooling: Literal["attention", "mean", "lasttoken", "cls"] = Field(
        "attention", description="attention is D2LLM's PMA; the others pool the backbone plainly instead."
    )
    pooling_start: Literal["backbone", "random"] = Field(
        "backbone",
        description="backbone pools as the backbone does at step 0; random is the published start.",
    )
    interaction: Literal["module", "cosine"] = Field(
        "module", description="module is D2LLM's IEM; cosine has its scale and bias alone to learn."
    )
    interaction_start: Literal["cosine", "random"] = Field(
        "cosine", description="cosine is a scaled cosine at step 0; random is the published start."
    )
    heads: int = Field(32, ge=1, description="Of the attention pooling; they divide the vectors' dimensions.")
    hidden: int = Field(512, ge=1, description="Units of the interaction module's first layer.")
    features: int = Field(128, ge=1, description="Units of its branches, which feature imitation compares.")
    branches: Literal["task", "shared"] = Field(
        "task", description="Of the interaction module: one for each kind of task, or one for all."
    )
    lora: LoraRecipe | None = Field(
        None, description="Adapters with which the backbone learns; null lets all of its weights learn."
    )
    vector_imitation: VectorImitationRecipe | None = Field(
        None,
        description="Of the teacher's first bi-encoder, which needs no labels; null starts from the backbone "
        "as it is. Pays where backbone_layers cuts it.",
    )

    @model_validator(mode="after")
    def _starts_have_parts(self) -> Self:
        if self.pooling != "attention" and self.pooling_start == "random":
            raise ValueError(f"pooling_start is of attention pooling, and pooling is {self.pooling}")
        if self.interaction == "cosine" and (self.interaction_start == "random" or self.branches == "shared"):
            raise ValueError("interaction_start and branches are of the interaction module, not of a cosine")
        if self.vector_imitation is not None and (
            self.pooling != "attention" or self.pooling_start == "random"
        ):
            raise ValueError(
                "vector_imitation teaches vectors that are pooled as the backbone's are: pooling must be "
                "attention, and pooling_start backbone, or they would be lost"
            )
        if self.lora is not None and self.vector_imitation is not None:
            raise ValueError("vector_imitation teaches all weights of the backbone, and lora keeps them")
        return self


class D2LLMRecipe(Section):
    """The losses of D2LLM, weighted as published."""

    later = frozenset({"feature", "in_batch_teacher"})

    kind: Literal["d2llm"]
    contrastive: float = Field(1.0, ge=0, description="Weight of the contrastive imitation.")
    rank: float = Field(1.0, ge=0, description="Of the rank imitation within a query's list.")
    hard_easy: float = Field(
        0.01, ge=0, description="Of the rank imitation between hard negatives and easy ones."
    )
    in_batch: float = Field(
        1.0, ge=0, description="Of the cross-entropy of the positive among the batch's passages."
    )
    feature: float = Field(
        0.0,
        ge=0,
        description="Of feature imitation, published as 0.001; needs a cross-encoder or an LLM as teacher.",
    )
    in_batch_teacher: bool = Field(
        False,
        description="Whether the teacher scores each query with all passages of its batch, for hard_easy, as "
        "published; otherwise it scores those of mining.random.",
    )
    temperature: float = Field(1.0, gt=0, description="Of the contrastive imitation.")

    @property
    def has_weight(self) -> bool:
        """Whether any of its terms counts."""
        return any((self.contrastive, self.rank, self.hard_easy, self.in_batch, self.feature))

    @model_validator(mode="after")
    def _teacher_is_asked_for_something(self) -> Self:
        if self.in_batch_teacher and not self.hard_easy:
            raise ValueError("in_batch_teacher asks for scores that only hard_easy uses, whose weight is 0")
        return self


class ListLossRecipe(Section):
    """A loss on the teacher's rank list, with the in-batch cross-entropy."""

    kind: ListLossName
    in_batch: float = Field(1.0, ge=0, description="Weight of the in-batch cross-entropy.")
    weight: float = Field(1.0, gt=0, description="Of the loss on the list.")
    teacher_scale: float | None = Field(
        None,
        gt=0,
        description="Of the teacher's scores; null spreads them as far as the student's are at its start.",
    )


Loss = Annotated[D2LLMRecipe | ListLossRecipe, Field(discriminator="kind")]


class Training(Section):
    """How the student and the fine-tuned backbone learn."""

    later = frozenset({"warmup_steps", "adam_betas", "dropout"})
    epochs: float = Field(1.0, gt=0, description="Passes over the queries, or the pairs.")
    batch_size: int = Field(16, ge=1, description="Queries, or pairs, a step.")
    learning_rate: float = Field(2e-5, gt=0, description="Of the encoder, at its peak.")
    head_learning_rate: float = Field(
        5e-4, gt=0, description="Of attention pooling and interaction module, at its peak."
    )
    warmup_ratio: Fraction = Field(0.1, description="Share of the steps over which the rate rises.")
    warmup_steps: int | None = Field(
        None, ge=0, description="Over which the rate rises; null takes warmup_ratio of all steps."
    )
    adam_betas: tuple[Decay, Decay] = Field(
        (0.9, 0.999), description="How much AdamW keeps of its two running means at each step."
    )
    weight_decay: float = Field(0.01, ge=0)
    dropout: Dropout | None = Field(
        None, description="Share of the activations dropped in training; null takes the backbone's own."
    )
    accumulation: int = Field(1, ge=1, description="Batches whose gradients make one step.")
    checkpoint_every: int = Field(50, ge=1, description="Steps.")
    hard_negatives: int = Field(
        7, ge=0, description="Mined passages of each query's list, beside a positive."
    )
    cosine_weight: float = Field(
        0.5, ge=0, description="Of the same losses on the cosine alone, by which an index searches first."
    )
    task_temperature: float = Field(
        1.0,
        ge=1,
        description="Of several sets: batches of a set are as many as its size to the power of 1 over this; "
        "1 is in proportion to the sizes, more evens them out.",
    )
    tensorboard: bool = Field(False, description="Also writes the losses for TensorBoard.")
    seed: int | None = Field(
        None, ge=0, lt=2**32, description="Of student and fine-tuned backbone; null takes the recipe's."
    )
    gradient_checkpointing: bool = Field(
        True, description="A fraction of the memory of a step, for up to a third more time."
    )


class BaselineTraining(Section):
    """How the backbone is fine-tuned with in-batch negatives, the student's plain competitor."""

    later = frozenset({"hard_negatives", "dropout"})
    epochs: float = Field(1.0, gt=0, description="Passes over the queries.")
    batch_size: int = Field(32, ge=2, description="Queries a step.")
    learning_rate: float = Field(2e-5, gt=0, description="At its peak.")
    warmup_ratio: Fraction = Field(0.1, description="Share of the steps over which the rate rises.")
    hard_negatives: int | None = Field(
        0, ge=0, description="Mined passages beside each positive; null takes as many as the student's."
    )
    dropout: Dropout | None = Field(None, description="As training.dropout, and null likewise.")


class PairBaselineTraining(Section):
    """How the backbone is fine-tuned on the labels of pairs: as the student, but for what is its own.

    The student has a goal for pairs without a label, too, and may go on learning long after the labels have
    been learnt by heart. A competitor that had to do so would be held down.
    """

    epochs: float | None = Field(
        None,
        gt=0,
        description="Passes over the pairs; null takes the student's, which the labels may not need.",
    )
    batch_size: int | None = Field(None, ge=2, description="Pairs a step; null takes the student's.")
    learning_rate: float | None = Field(None, gt=0, description="At its peak; null takes the student's.")
    dropout: Dropout | None = Field(None, description="As training.dropout; null takes the student's.")


class IndexRecipe(Section):
    """The student's index."""

    candidates: int = Field(1000, ge=1, description="Of the first stage, for the interaction to rank.")
