"""Sections: questions for a corpus that has none; who writes them, and which are kept."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from limbeck.recipes.base import Folder, Fraction, ModelName, Section
from limbeck.recipes.server import OWN_OPTIONS, ServerSection
from limbeck.recipes.teacher import CrossEncoderMember, LateInteractionMember, LLMMember, Member


class ClozeWriterRecipe(Section):
    """Sentences of the passage stand as questions, and are taken out of it: no model is needed."""

    kind: Literal["cloze"]
    min_words: int = Field(4, ge=1, description="Of a sentence that can stand as a question.")
    max_words: int = Field(64, ge=1, description="Likewise.")

    @model_validator(mode="after")
    def _words_in_order(self) -> Self:
        if self.max_words < self.min_words:
            raise ValueError(f"max_words is {self.max_words}, less than min_words, {self.min_words}")
        return self


class QueryGeneratorSection(Section):
    """A model of passage to query: a given one, or the backbone, trained to be one."""

    model: ModelName | None = Field(
        None, description="A model of passage to query; null trains the backbone to be one."
    )
    max_passage_length: int = Field(192, ge=8, description="Tokens of a passage that are read.")
    max_query_length: int = Field(32, ge=4, description="Tokens of a question.")
    epochs: float = Field(3.0, gt=0, description="Of the training, as the next three keys.")
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    checkpoint_every: int = Field(200, ge=1)


class Seq2SeqWriterRecipe(QueryGeneratorSection):
    """A model of passage to query: a given one, or the backbone, taught the queries of another data set."""

    kind: Literal["seq2seq"]
    examples: Folder | None = Field(
        None, description="A BEIR folder whose queries teach the backbone to write, where no model is given."
    )
    split: str = Field("train", description="Name of the qrels file (less .tsv) of the examples.")

    @model_validator(mode="after")
    def _model_or_examples(self) -> Self:
        if (self.model is None) == (self.examples is None):
            raise ValueError("a writer of the kind seq2seq has either a model or examples to learn from")
        return self


class PromptedWriterSection(Section):
    """A language model that is asked for questions which the passage answers."""

    prompt: str | None = Field(
        None, description="With {passage} where the passage goes; null takes the built-in one, en or zh."
    )
    max_passage_length: int = Field(384, ge=8, description="Tokens of a passage that are read.")
    max_query_length: int = Field(48, ge=4, description="Tokens of an answer.")
    temperature: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _place_of_the_passage(self) -> Self:
        found = 1 if self.prompt is None else self.prompt.count("{passage}")
        if found != 1:
            raise ValueError(f"prompt has {found} placeholders {{passage}}: one is needed")
        return self


class LLMWriterRecipe(PromptedWriterSection):
    """A causal language model, asked for questions that the passage answers."""

    kind: Literal["llm"]
    model: ModelName
    top_k: int = Field(50, ge=1, description="Tokens that are drawn from, the most likely ones.")
    top_p: float = Field(0.95, gt=0, le=1, description="Of these, those that make up this share.")
    batch_size: int = Field(4, ge=1, description="Passages that are read together.")
    load: dict[str, Any] = Field(
        {},
        description="Options of transformers' from_pretrained: dtype, device_map, quantization_config, …",
    )


class ServerWriterRecipe(ServerSection, PromptedWriterSection):
    """A model on a server that speaks OpenAI's protocol, asked for questions that the passage answers."""

    later = frozenset({"options"})
    own_options = OWN_OPTIONS | {"seed"}

    kind: Literal["server"]


Writer = Annotated[
    ClozeWriterRecipe | Seq2SeqWriterRecipe | LLMWriterRecipe | ServerWriterRecipe,
    Field(discriminator="kind"),
]


class QueryFilter(Section):
    """Which written questions are kept."""

    min_words: int = Field(3, ge=1, description="Of a question; characters in Chinese and Japanese.")
    max_words: int = Field(64, ge=1, description="Likewise.")
    similarity: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Of the runs of three characters in two questions, the share in both (Jaccard) from "
        "which they count as the same.",
    )
    teacher: Member | None = Field(
        LateInteractionMember(kind="late-interaction"),
        description="The ranker that must find the passage of a question among its candidates; one that is "
        "given, and not trained here. null asks none.",
    )
    miners: tuple[Literal["bm25", "dense"], ...] = Field(
        ("bm25", "dense"), min_length=1, description="Who finds the candidates."
    )
    depth: int = Field(20, ge=1, description="Candidates of a question.")
    rank: int = Field(3, ge=1, description="Of its passage among the candidates, at most.")
    min_probability: Fraction | None = Field(
        None, description="Of its passage, by a cross-encoder or an LLM; null asks for none."
    )

    @model_validator(mode="after")
    def _words_in_order(self) -> Self:
        if self.max_words < self.min_words:
            raise ValueError(
                f"filter.max_words is {self.max_words}, less than filter.min_words, {self.min_words}: no "
                "question would be kept"
            )
        return self

    @model_validator(mode="after")
    def _rank_among_candidates(self) -> Self:
        if self.rank > self.depth and self.min_probability is None:
            raise ValueError(
                f"filter.rank is {self.rank}, above filter.depth, {self.depth}: no question would be "
                "dropped; to ask no ranker set filter.teacher to null"
            )
        return self

    @model_validator(mode="after")
    def _given_teacher(self) -> Self:
        teacher = self.teacher
        if teacher is not None and teacher.kind == "run":
            raise ValueError("filter.teacher is a run file, which cannot know questions that are yet to be")
        if isinstance(teacher, CrossEncoderMember) and teacher.model is None:
            raise ValueError(
                "filter.teacher is a cross-encoder without a model: a filter trains none, least of all on "
                "the questions that it is to filter; name its model"
            )
        if isinstance(teacher, LLMMember) and teacher.fine_tuning is not None:
            raise ValueError(
                "filter.teacher is an LLM with fine_tuning: a filter trains none, least of all on the "
                "questions that it is to filter; leave fine_tuning out"
            )
        if self.min_probability is not None and (teacher is None or teacher.kind in _WITHOUT_LOGITS):
            raise ValueError(
                "filter.min_probability asks for a probability, and the score of "
                f"{teacher.kind if teacher else 'no teacher'} is none: take another filter.teacher, or leave "
                "it out and set filter.rank"
            )
        return self


#: Rankers whose scores are no logits.
_WITHOUT_LOGITS = frozenset({"bm25", "bi-encoder", "late-interaction"})


class InventedQueries(Section):
    """Questions that are written for the passages, and serve for training, dev and test."""

    writer: Writer = ClozeWriterRecipe(kind="cloze")
    count: int = Field(3, ge=1, description="Questions a passage.")
    max_passages: int | None = Field(
        None, ge=1, description="Passages that get questions, at most, drawn by the seed; null takes all."
    )
    filter: QueryFilter = QueryFilter()
    dev_share: float = Field(0.1, gt=0, lt=1, description="Of the passages that kept a question.")
    test_share: float = Field(0.1, gt=0, lt=1, description="Likewise.")
    max_held_out: int = Field(
        500, ge=1, description="Passages whose questions are for dev, and as many for test, at most."
    )

    @model_validator(mode="after")
    def _shares_leave_something(self) -> Self:
        if self.dev_share + self.test_share >= 1:
            raise ValueError("dev_share and test_share leave no questions to learn from")
        return self


class JudgedQueries(Section):
    """Questions that people asked, with judgements, in a BEIR folder whose corpus is the same."""

    folder: Folder
    dev: str | None = Field(None, description="Name of the qrels file (less .tsv); null takes invented ones.")
    test: str | None = Field("test", description="Likewise.")

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if self.dev is None and self.test is None:
            raise ValueError("judged names neither dev nor test: name one, or leave judged out")
        return self
