"""Sections: the data set, and the candidates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from limbeck.recipes.base import File, Folder, Section, Split
from limbeck.recipes.queries import InventedQueries, JudgedQueries


class StdlibData(Section):
    """The embedded corpus: the Python standard library of this interpreter."""

    kind: Literal["stdlib"] = "stdlib"
    max_queries_per_module: int = Field(100, ge=1, description="Training queries of one module, at most.")


class BeirData(Section):
    """A BEIR folder: corpus.jsonl[.gz], queries.jsonl[.gz], qrels/*.tsv."""

    kind: Literal["beir"]
    folder: Folder
    train: str = Field("train", description="Name of the qrels file (less .tsv) of the training queries.")
    dev: str = "dev"
    test: str = "test"


class HubData(Section):
    """A BEIR-style data set on the Hugging Face hub; needs a network and the extra `hub`."""

    kind: Literal["hub"]
    name: str


class IrDatasetsData(Section):
    """Ids of `ir_datasets`, one a split; needs a network and the extra `hub`."""

    kind: Literal["ir_datasets"]
    train: str
    dev: str
    test: str


class CorpusData(Section):
    """A corpus alone, `file: corpus.jsonl[.gz]` or TSV; the questions are written here."""

    kind: Literal["corpus"]
    file: File
    queries: InventedQueries = InventedQueries()
    judged: JudgedQueries | None = Field(
        None, description="Questions of people that take the place of invented ones in dev or test."
    )


Data = Annotated[StdlibData | BeirData | HubData | IrDatasetsData | CorpusData, Field(discriminator="kind")]


class Mining(Section):
    """Candidates for the teacher to judge."""

    miners: tuple[Literal["bm25", "dense"], ...] = Field(("bm25", "dense"), min_length=1)
    runs: dict[Split, File] = Field({}, description="TREC runs, by split, that take the place of the miners.")
    depth: int = Field(16, ge=1, description="Candidates of a training query.")
    evaluation_depth: int = Field(100, ge=1, description="Candidates of a dev or test query.")
    random: int = Field(4, ge=0, description="Easy candidates of a training query, drawn at random.")
    max_queries: int | None = Field(None, ge=1, description="Training queries, at most; null takes all.")
    false_negative_share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Drops a training candidate that the teacher finds likelier to be relevant than this "
        "share of the positive's likelihood; null keeps all.",
    )
