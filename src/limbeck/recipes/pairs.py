"""Sections: sets of labelled pairs, the teacher that scores them, and what a student learns from them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from limbeck.recipes.base import File, ModelName, Section
from limbeck.recipes.teacher import LLMSection, LoRASection, ServedSection

#: It names folders and columns, too.
PairSetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=64)]


#: The name of the task that a corpus gives, beside those of the sets of pairs.
RETRIEVAL = "retrieval"


class GradedLabels(Section):
    """Numbers that say how much alike two texts are."""

    kind: Literal["graded"]
    low: float = Field(0.0, description="The label of two texts that have nothing in common.")
    high: float = Field(5.0, description="The label of two texts that say the same.")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g}, and must be below high, which is {self.high:g}")
        return self


class BinaryLabels(Section):
    """Classes, or numbers, of which some count as positive."""

    later = frozenset({"negative"})

    kind: Literal["binary"]
    positive: tuple[str, ...] = Field(
        (), description='The classes that count as positive: [entailment]; of numbers, in quotes: ["0"].'
    )
    negative: tuple[str, ...] = Field(
        (), description="The other classes, so that one that is none of them is refused; empty takes any."
    )
    threshold: float | None = Field(
        None, description="For labels that are numbers: positive from this number on, such as 1 for 0 and 1."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.positive) == (self.threshold is not None):
            raise ValueError("name either the positive classes or, for numbers, a threshold")
        if self.negative and not self.positive:
            raise ValueError("negative names classes: name those under positive, too")
        if both := sorted(set(self.positive) & set(self.negative)):
            raise ValueError(f"the class '{both[0]}' is positive and negative: keep one")
        return self


Labels = Annotated[GradedLabels | BinaryLabels, Field(discriminator="kind")]


class PairFineTuning(Section):
    """How a member of the teacher learns from the labelled pairs."""

    base: ModelName | None = Field(None, description="What it starts from; null takes the whole backbone.")
    epochs: float = Field(3.0, gt=0)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(5e-5, gt=0)
    head_learning_rate: float = Field(
        5e-4, gt=0, description="Of a cross-encoder's head, which may start from nothing."
    )
    checkpoint_every: int = Field(100, ge=1)


class PairCrossEncoderMember(Section):
    """A cross-encoder: a folder, an id on the hub, or one that is fine-tuned here when `model` is null."""

    kind: Literal["cross-encoder"]
    model: ModelName | None = None
    max_length: int = Field(128, ge=8, description="Tokens of both texts together that it reads.")
    fine_tuning: PairFineTuning = PairFineTuning()


class PairBiEncoderMember(Section):
    """A bi-encoder's cosine; `model: null` is the whole backbone, as it is or fine-tuned here."""

    kind: Literal["bi-encoder"]
    model: ModelName | None = None
    fine_tuned: bool = Field(False, description="Fine-tunes it on the labels first.")
    fine_tuning: PairFineTuning = PairFineTuning()

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.fine_tuned and self.model is not None:
            raise ValueError("a model that is fine-tuned here is named under fine_tuning.base")
        return self


class PairLoRATuning(LoRASection):
    """How an LLM learns from the labelled pairs."""

    epochs: float = Field(3.0, gt=0)


class PairLLMMember(LLMSection):
    """A causal language model that is asked yes or no; by default the built-in question of the set's task."""

    fine_tuning: PairLoRATuning | None = Field(None, description="null takes the model as it is.")


class PairServerMember(ServedSection):
    """A language model on a server that gives log-probabilities; by default asked the set's own question."""


PairMember = Annotated[
    PairCrossEncoderMember | PairLLMMember | PairServerMember | PairBiEncoderMember,
    Field(discriminator="kind"),
]


class PairTeacherRecipe(Section):
    """What scores pairs: one member, or an ensemble whose weights are fitted on the dev pairs."""

    members: tuple[PairMember, ...] = Field(
        (
            PairCrossEncoderMember(kind="cross-encoder"),
            PairBiEncoderMember(kind="bi-encoder", fine_tuned=True),
        ),
        min_length=1,
    )

    @property
    def bi_encoder(self) -> PairBiEncoderMember | None:
        """The first member of this kind, whose vectors a student may imitate."""
        return next((member for member in self.members if isinstance(member, PairBiEncoderMember)), None)


class PairSetRecipe(Section):
    """A set of labelled pairs: TSV with a header, or JSON lines; plain or gzip."""

    train: File
    dev: File | None = Field(None, description="null sets some of the training pairs aside.")
    test: File
    dev_share: float = Field(
        0.1, gt=0, lt=1, description="Of the training pairs, which become the dev pairs where `dev` is null."
    )
    fields: tuple[str, str, str] = Field(
        ("text1", "text2", "label"), description="Columns of the first text, the second text and the label."
    )
    task: Literal["symmetric", "asymmetric"] = Field(
        "symmetric", description="The branch of the interaction that learns it, and the prompt."
    )
    labels: Labels
    swap: bool = Field(
        False,
        description="Also learns from each pair in the other order; not where the order means something.",
    )
    neighbours: int = Field(
        8,
        ge=0,
        description="Unlabelled pairs for each labelled one, of nearest texts, which the teacher scores.",
    )
    random: int = Field(0, ge=0, description="Unlabelled pairs with texts drawn at random, scored likewise.")
    unlabelled: File | None = Field(
        None,
        description="More texts, a file as `data.file` is: neighbours of the training texts and, in a "
        "symmetric set, texts with neighbours of their own. The teacher scores these pairs, too.",
    )
    teacher: PairTeacherRecipe = PairTeacherRecipe()

    @model_validator(mode="after")
    def _three_columns(self) -> Self:
        if len(set(self.fields)) < len(self.fields):
            raise ValueError(
                "fields names one column twice: name those of the first text, the second and the label"
            )
        return self

    @model_validator(mode="after")
    def _with_neighbours(self) -> Self:
        if self.unlabelled is not None and not self.neighbours:
            raise ValueError("unlabelled texts are learnt from in pairs of neighbours: neighbours is 0")
        return self


class PairLossRecipe(Section):
    """What a student minimises on pairs, weighted; 0 leaves a part out."""

    later = frozenset({"feature", "in_batch_teacher"})

    pointwise: float = Field(
        1.0, ge=0, description="Cross-entropy with the teacher's probability, each pair."
    )
    labels: float = Field(0.5, ge=0, description="Cross-entropy with the label, 0 to 1, of labelled pairs.")
    batch_rank: float = Field(
        1.0,
        ge=0,
        description="1 - Pearson with the teacher over a batch's labelled pairs (of texts "
        "without labels, their nearest neighbours).",
    )
    rank: float = Field(1.0, ge=0, description="1 - Pearson with the teacher over each text's own list.")
    contrastive: float = Field(0.0, ge=0, description="Contrastive imitation, of positive pairs.")
    in_batch: float = Field(0.0, ge=0, description="Cross-entropy among a batch's texts, of positive pairs.")
    hard_easy: float = Field(
        0.0, ge=0, description="Neighbours against texts drawn at random, or of the batch."
    )
    feature: float = Field(
        0.0,
        ge=0,
        description="Feature imitation over each text's own list; the teacher is a cross-encoder or an LLM.",
    )
    in_batch_teacher: bool = Field(
        False,
        description="Whether the teacher also scores each text with the other texts of its batch, for "
        "pointwise and hard_easy.",
    )
    temperature: float = Field(1.0, gt=0, description="Of the contrastive imitation.")
    positive_from: float = Field(
        0.8, gt=0, le=1, description="A pair is positive from this label on, labels being scaled to 0 to 1."
    )

    @property
    def has_weight(self) -> bool:
        """Whether any of its parts counts."""
        parts = self.pointwise, self.labels, self.batch_rank, self.rank
        return any((*parts, self.contrastive, self.in_batch, self.hard_easy, self.feature))
