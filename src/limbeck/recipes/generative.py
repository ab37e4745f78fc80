"""Sections: the generative student, its identifiers, and its two trainings."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from limbeck.recipes.base import File, Fraction, ListLossName, ModelName, Section
from limbeck.recipes.queries import QueryFilter, QueryGeneratorSection

#: The losses whose margins were published: DGR's and LTRGR's.
PUBLISHED_MARGINS: tuple[ListLossName, ...] = ("distilled_rank_net", "positive_margin")


class TitleRecipe(Section):
    """The passage's title, generated whole."""

    kind: Literal["title"]
    max_length: int = Field(20, ge=1, description="Tokens; a longer title is not generated.")


class BodyRecipe(Section):
    """Substrings of the passage's text."""

    kind: Literal["body"]
    max_length: int = Field(10, ge=1, description="Tokens of an identifier.")
    spans: int = Field(10, ge=1, description="Learnt for a query and a passage that answers it.")


class TrainingQueriesSource(Section):
    """The training queries that the passage answers."""

    kind: Literal["training-queries"]


class FileSource(Section):
    """A file of questions: passage id, tab, question; or JSON objects with `id` and `text`."""

    kind: Literal["file"]
    path: File


class GeneratedSource(QueryGeneratorSection):
    """Questions written by a model: one that is trained here on the training queries, or a given one."""

    kind: Literal["generated"]
    count: int = Field(5, ge=1, description="Questions a passage.")
    filter: QueryFilter | None = Field(
        None,
        description="Which of them are kept, as data.queries.filter says it for a corpus that has none: {} "
        "drops near-duplicates and those for which its teacher does not find the passage again; null keeps "
        "all.",
    )


PseudoQuerySource = Annotated[
    TrainingQueriesSource | FileSource | GeneratedSource, Field(discriminator="kind")
]


class PseudoQueryRecipe(Section):
    """Questions that the passage answers, generated whole."""

    kind: Literal["pseudo-query"]
    max_length: int = Field(20, ge=1, description="Tokens; a longer question is not generated.")
    learnt: int = Field(5, ge=1, description="Learnt for a query and a passage, at most.")
    sources: tuple[PseudoQuerySource, ...] = Field(
        min_length=1, description="Where they come from; training queries suit a corpus that they cover."
    )


View = Annotated[TitleRecipe | BodyRecipe | PseudoQueryRecipe, Field(discriminator="kind")]


class GeneratorTraining(Section):
    """What both trainings of the generative student have."""

    warmup_ratio: Fraction = 0.1
    label_smoothing: Fraction = 0.1
    weight_decay: float = Field(0.01, ge=0)
    accumulation: int = Field(1, ge=1)
    tensorboard: bool = False


class Generation(GeneratorTraining):
    """How the model learns to generate identifiers: the base retriever."""

    epochs: float = Field(3.0, gt=0)
    batch_size: int = Field(64, ge=1, description="Identifiers a batch.")
    learning_rate: float = Field(1e-4, gt=0, description="Published for BART-large: 3e-5.")
    checkpoint_every: int = Field(200, ge=1)


class Ranking(GeneratorTraining):
    """How the model then learns to rank: DGR, LTRGR, or any other loss on the teacher's lists."""

    loss: ListLossName = Field(
        "distilled_rank_net", description="distilled_rank_net is DGR's, positive_margin LTRGR's."
    )
    published_margins: bool = Field(
        False, description="The published 300 and 100, in units of the score; otherwise without a unit."
    )
    generation_weight: float | None = Field(
        None, ge=0, description="Of the loss of generation beside; null takes the published proportion."
    )
    depth: int = Field(200, ge=1, description="Passages of the base retriever that the teacher judges.")
    max_queries: int | None = Field(None, ge=1, description="Training queries, at most; null takes all.")
    positives: int = Field(2, ge=1, description="Of a query's list.")
    negatives: int = Field(4, ge=1, description="Of a query's list.")
    draws: int = Field(1, ge=1, description="Lists drawn for a query.")
    identifiers: int = Field(100, ge=1, description="By which a passage is scored in training, at most.")
    targets: int = Field(2, ge=1, description="Identifiers of each view that are generated beside.")
    epochs: float = Field(3.0, gt=0)
    batch_size: int = Field(4, ge=1, description="Queries a batch.")
    learning_rate: float = Field(1e-5, gt=0)
    checkpoint_every: int = Field(50, ge=1)
    seed: int | None = Field(None, ge=0, lt=2**32, description="Of this training; null takes the recipe's.")

    @model_validator(mode="after")
    def _margins_of_the_loss(self) -> Self:
        if self.published_margins and self.loss not in PUBLISHED_MARGINS:
            raise ValueError(
                f"published_margins is true, but the loss {self.loss} has none: take "
                f"{' or '.join(PUBLISHED_MARGINS)}, or leave published_margins out"
            )
        return self


class SearchRecipe(Section):
    """How identifiers are generated for a question, and passages found by them."""

    beams: int = Field(15, ge=1, le=4096, description="Of each view.")
    unigrams: int = Field(1000, ge=0, description="Single tokens that take part; 0 leaves them out.")
    repetition: Fraction = Field(0.8, description="Part of a weight that tokens covered before take away.")
    max_occurrences: int = Field(1500, ge=1, description="An identifier with more names no candidates.")
    candidates: int = Field(1500, ge=1, description="Passages that are scored in full.")
    batch_size: int = Field(16, ge=1, description="Questions that are decoded together.")


class GenerativeStudentRecipe(Section):
    """The generative student: it answers with identifiers of the passages."""

    kind: Literal["generative"]
    model: ModelName | None = Field(None, description="What it starts from; null takes the backbone.")
    start: Literal["auto", "seq2seq", "encoder-decoder", "causal"] = "auto"
    encoder_layers: int | None = Field(
        2,
        ge=1,
        description="Of an encoder that becomes an encoder-decoder: the first layers that read the query, at "
        "most; null keeps all.",
    )
    decoder_layers: int | None = Field(None, ge=1, description="Likewise: those that write.")
    max_query_length: int = Field(64, ge=1, description="Tokens of a query that are read.")
    views: tuple[View, ...] = Field((TitleRecipe(kind="title"), BodyRecipe(kind="body")), min_length=1)
    generation: Generation = Generation()
    ranking: Ranking | None = Field(Ranking(), description="null leaves the base retriever as it is.")
    search: SearchRecipe = SearchRecipe()

    @model_validator(mode="after")
    def _one_view_of_a_kind(self) -> Self:
        kinds: list[str] = [view.kind for view in self.views]
        for view in self.views:
            if isinstance(view, PseudoQueryRecipe):
                sources = [source.kind for source in view.sources]
                if sources.count("generated") > 1:
                    raise ValueError("pseudo-queries have two sources that generate: one may stand there")
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"the views are {', '.join(kinds)}: each kind may stand there once")
        return self

    @model_validator(mode="after")
    def _identifiers_left_to_rank_by(self) -> Self:
        sources = [
            source.kind if isinstance(view, PseudoQueryRecipe) else view.kind
            for view in self.views
            for source in (view.sources if isinstance(view, PseudoQueryRecipe) else (view,))
        ]
        if self.ranking is not None and set(sources) == {"training-queries"}:
            raise ValueError(
                "while rankings are learnt, training queries are no identifiers of their passages, and there "
                "are no others: add a view or a source of pseudo-queries, or set ranking to null"
            )
        return self
