"""Sections: the teacher and its members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from limbeck.recipes.base import File, ModelName, Section
from limbeck.recipes.server import ServerSection

if TYPE_CHECKING:
    from limbeck.teachers.llm import Prompt
    from limbeck.teachers.llm.prompts import Task


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


class PromptRecipe(Section):
    """A question to an LLM in the user's own words."""

    template: str = Field(description="The question, with {query} and then {passage}, each once.")
    yes: tuple[str, ...] = Field(min_length=1, description="Words that say yes.")
    no: tuple[str, ...] = Field(min_length=1, description="Words that say no.")

    @model_validator(mode="after")
    def _is_a_prompt(self) -> Self:
        _ = self.question  # its errors are ValueErrors
        return self

    @property
    def question(self) -> Prompt:
        """What is asked."""
        from limbeck.teachers.llm import Prompt  # noqa: PLC0415  # takes a second that other recipes save

        return Prompt(self.template, self.yes, self.no)


class LoRASection(Section):
    """How the adapters of an LLM learn: low rank, published values."""

    batch_size: int = Field(16, ge=1, description="Pairs a step.")
    learning_rate: float = Field(1e-4, gt=0)
    rank: int = Field(8, ge=1, description="Of the adapters.")
    alpha: float = Field(8, gt=0, description="The adapters count alpha / rank.")
    dropout: float = Field(0.05, ge=0, lt=1)
    checkpoint_every: int = Field(50, ge=1)


class LoRATuning(LoRASection):
    """How an LLM learns from positives and mined negatives."""

    steps: int = Field(300, ge=1, description="Steps of the optimiser.")
    negatives: int = Field(3, ge=1, description="Mined negatives a positive.")


class AskedSection(Section):
    """A model that is asked yes or no; the built-in question unless `prompt` is given."""

    language: Literal["en", "zh"] = Field("en", description="Of the built-in question.")
    prompt: PromptRecipe | None = None
    max_length: int = Field(512, ge=32, description="Tokens of question and both texts together.")

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        # At its default a key may stand beside a prompt: a recipe is written with every default.
        said = [
            key
            for key in ("language", "task")
            if key in self.model_fields_set and getattr(self, key) != type(self).model_fields[key].default
        ]
        if self.prompt is not None and said:
            raise ValueError(f"`{said[0]}` chooses a built-in question, and `prompt` gives another: keep one")
        return self

    def question_of(self, task: Task) -> Prompt:
        """What is asked about the pairs of a task."""
        from limbeck.teachers.llm import PROMPTS  # noqa: PLC0415

        return PROMPTS[task, self.language] if self.prompt is None else self.prompt.question


class LLMSection(AskedSection):
    """A causal language model that is asked yes or no; the built-in question unless `prompt` is given."""

    kind: Literal["llm"]
    model: ModelName
    chat: Literal["auto", "never"] = Field(
        "auto", description="Whether the question goes into the tokenizer's chat template, if it has one."
    )
    batch_size: int = Field(32, ge=1, description="Passages a forward pass at most.")
    load: dict[str, Any] = Field(
        {},
        description="Options of transformers' from_pretrained: dtype, device_map, quantization_config, …",
    )


class LLMMember(LLMSection):
    """A causal language model that is asked yes or no; the built-in question unless `prompt` is given."""

    task: Literal["asymmetric", "symmetric"] = Field(
        "asymmetric", description="Does the passage answer the query, or do two texts say the same thing."
    )
    fine_tuning: LoRATuning | None = Field(None, description="null takes the model as it is.")

    @property
    def question(self) -> Prompt:
        """What is asked."""
        return self.question_of(self.task)


class ServedSection(ServerSection, AskedSection):
    """A language model on a server that speaks OpenAI's protocol and gives log-probabilities."""

    kind: Literal["server"]
    api: Literal["chat", "completions"] = Field(
        "chat", description="Whether the question is a user's turn, or text to go on with."
    )
    tokenizer: ModelName | None = Field(
        None, description="Counts tokens for estimates and max_length; null guesses three bytes a token."
    )
    top_logprobs: int = Field(20, ge=2, le=20, description="Likeliest tokens that the server is asked for.")


class ServerMember(ServedSection):
    """A language model on a server that speaks OpenAI's protocol and gives log-probabilities."""

    task: Literal["asymmetric", "symmetric"] = Field(
        "asymmetric", description="Does the passage answer the query, or do two texts say the same thing."
    )

    @property
    def question(self) -> Prompt:
        """What is asked."""
        return self.question_of(self.task)


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


#: Kinds of members that have features, for a student to imitate.
FEATURE_KINDS = frozenset({"cross-encoder", "llm"})


class RunMember(Section):
    """TREC runs that hold the scores of every candidate; the same files may serve as `mining.runs`."""

    kind: Literal["run"]
    train: File
    dev: File
    test: File | None = None


Member = Annotated[
    CrossEncoderMember
    | LLMMember
    | ServerMember
    | LateInteractionMember
    | BiEncoderMember
    | Bm25Member
    | RunMember,
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

    @property
    def bi_encoder(self) -> BiEncoderMember | None:
        """The first member of this kind, whose vectors a student may imitate."""
        return next((member for member in self.members if isinstance(member, BiEncoderMember)), None)

    max_length: int = Field(128, ge=8, description="Tokens of a pair that a cross-encoder reads.")
