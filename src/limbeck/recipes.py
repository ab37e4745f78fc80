"""A recipe: one typed YAML file that says everything about one run.

Unknown keys, missing files and contradictions are reported before any work starts.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from limbeck.errors import InputError
from limbeck.strict_yaml import read_yaml, set_key

_ORIGIN = "origin"  # the folder from which the relative paths of a recipe count


def _resolved(path: Path | str, info: ValidationInfo) -> Path:
    origin: Path = (info.context or {}).get(_ORIGIN, Path())
    return (origin / Path(path).expanduser()).resolve()


def _file(path: Path, info: ValidationInfo) -> Path:
    full = _resolved(path, info)
    if not full.is_file():
        raise ValueError(f"there is no file {full}")
    return full


def _folder(path: Path, info: ValidationInfo) -> Path:
    full = _resolved(path, info)
    if not full.is_dir():
        raise ValueError(f"there is no folder {full}")
    return full


def _model(name: str, info: ValidationInfo) -> str:
    full = _resolved(name, info)
    if full.is_dir():
        return str(full)
    if name.startswith((".", "/", "~")):
        raise ValueError(f"there is no folder {full}")
    return name


Fraction = Annotated[float, Field(ge=0, le=1)]
File = Annotated[Path, AfterValidator(_file)]
Folder = Annotated[Path, AfterValidator(_folder)]
#: A folder, or else a name on the hub.
ModelName = Annotated[str, Field(min_length=1), AfterValidator(_model)]
Split = Literal["train", "dev", "test"]


class Section(BaseModel):
    """A part of a recipe; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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


Data = Annotated[StdlibData | BeirData | HubData | IrDatasetsData, Field(discriminator="kind")]


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


class StudentRecipe(Section):
    """The dense student: encoder, attention pooling, interaction module."""

    pooling_start: Literal["backbone", "random"] = "backbone"
    interaction_start: Literal["cosine", "random"] = "cosine"
    heads: int = Field(32, ge=1)
    hidden: int = Field(512, ge=1)
    features: int = Field(128, ge=1)


class D2LLMRecipe(Section):
    """The losses of D2LLM, weighted as published."""

    kind: Literal["d2llm"]
    contrastive: float = Field(1.0, ge=0)
    rank: float = Field(1.0, ge=0)
    hard_easy: float = Field(0.01, ge=0)
    in_batch: float = Field(1.0, ge=0)
    temperature: float = Field(1.0, gt=0)

    @property
    def has_weight(self) -> bool:
        """Whether any of its terms counts."""
        return any((self.contrastive, self.rank, self.hard_easy, self.in_batch))


class ListLossRecipe(Section):
    """A loss on the teacher's rank list, with the in-batch cross-entropy."""

    kind: Literal[
        "distilled_rank_net",
        "kl_divergence",
        "lambda_loss",
        "list_mle",
        "list_net",
        "margin_mse",
        "positive_margin",
        "rank_imitation",
        "rank_net",
    ]
    in_batch: float = Field(1.0, ge=0)
    weight: float = Field(1.0, gt=0)
    teacher_scale: float | None = Field(
        None,
        gt=0,
        description="Of the teacher's scores; null spreads them as far as the student's are at its start.",
    )


Loss = Annotated[D2LLMRecipe | ListLossRecipe, Field(discriminator="kind")]


class Training(Section):
    """How the student and the fine-tuned backbone learn."""

    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(2e-5, gt=0)
    head_learning_rate: float = Field(5e-4, gt=0)
    warmup_ratio: Fraction = 0.1
    weight_decay: float = Field(0.01, ge=0)
    accumulation: int = Field(1, ge=1)
    checkpoint_every: int = Field(50, ge=1)
    hard_negatives: int = Field(7, ge=0)
    cosine_weight: float = Field(0.5, ge=0)
    tensorboard: bool = False
    gradient_checkpointing: bool = Field(
        True, description="A fraction of the memory of a step, for up to a third more time."
    )


class BaselineTraining(Section):
    """How the backbone is fine-tuned with in-batch negatives, the student's plain competitor."""

    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(2e-5, gt=0)
    warmup_ratio: Fraction = 0.1


class IndexRecipe(Section):
    """The student's index."""

    candidates: int = Field(1000, ge=1, description="Of the first stage, for the interaction to rank.")


class Evaluation(Section):
    """What is measured, on the test queries."""

    metrics: tuple[str, ...] = Field(("nDCG@10", "MRR@10", "Recall@100"), min_length=1)
    depth: int = Field(100, ge=1, description="Passages of a query in each run.")
    split: Literal["dev", "test"] = "test"


class Recipe(Section):
    """Everything about one run.

    Example:
        >>> recipe = Recipe(data={"kind": "stdlib"}, training={"epochs": 2})
        >>> recipe.training.epochs, recipe.seed
        (2.0, 0)
    """

    name: str = "limbeck"
    seed: int = Field(0, ge=0, lt=2**32)
    language: str = Field("en", description="Of the corpus, for BM25: en, zh, ja, or any of Snowball's.")
    backbone: ModelName = Field("all-MiniLM-L6-v2", description="A folder, or a name on the hub.")
    max_length: int = Field(128, ge=8, description="Tokens of a text that are read.")
    device: str | None = Field(None, description="cpu, cuda, …; null takes the best there is.")
    data: Data
    mining: Mining = Mining()
    teacher: TeacherRecipe = TeacherRecipe()
    student: StudentRecipe = StudentRecipe()
    loss: Loss = ListLossRecipe(kind="kl_divergence")
    training: Training = Training()
    baseline: BaselineTraining = BaselineTraining()
    index: IndexRecipe = IndexRecipe()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        if self.training.hard_negatives == 0 and self.mining.random == 0 and self.loss.in_batch == 0:
            raise ValueError(
                "no negatives: training.hard_negatives, mining.random and loss.in_batch are all 0"
            )
        if isinstance(self.loss, D2LLMRecipe) and not self.loss.has_weight:
            raise ValueError("nothing to learn from: every weight of the loss is 0")
        members = self.teacher.members
        alone = members[0] if len(members) == 1 else None
        if isinstance(alone, BiEncoderMember) and alone.model in {None, self.backbone}:
            raise ValueError("the teacher is the student's own start: name another member or model")
        cutoffs = [int(cutoff) for name in self.evaluation.metrics for cutoff in re.findall(r"@(\d+)$", name)]
        if self.evaluation.depth < max(cutoffs, default=1):
            raise ValueError(
                f"evaluation.depth is {self.evaluation.depth}, but a metric looks at {max(cutoffs)} passages"
            )
        return self

    @model_validator(mode="after")
    def _runs_hold_what_is_asked(self) -> Self:
        runs = [member for member in self.teacher.members if isinstance(member, RunMember)]
        if not runs:
            return self
        if self.mining.random:
            raise ValueError("a run file scores no random passages: set mining.random to 0")
        asked: list[Split] = ["train", "dev", self.evaluation.split]
        missing = [split for split in dict.fromkeys(asked) if split not in self.mining.runs]
        if missing:
            raise ValueError(
                "a run file scores only what it lists, so the candidates must come from run files too: "
                f"name those of {', '.join(missing)} in mining.runs"
            )
        if self.evaluation.split == "test" and any(member.test is None for member in runs):
            raise ValueError("the teacher reranks the test queries too: name its run of them under test")
        return self


def load_recipe(path: Path | str, overrides: Iterable[str] = ()) -> Recipe:
    """Reads and checks a recipe.

    Relative paths in it are taken from the recipe's own folder.

    Args:
        path: the YAML file.
        overrides: `key=value` with dots between levels and YAML values: `training.epochs=2`.

    Raises:
        InputError: not YAML, an unknown key, a value of the wrong kind, a missing file, a contradiction.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "there is no such recipe", path=path, remedy="see the folder recipes/ for some that run"
        )
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError("not a recipe", path=path, expected="a mapping with at least the key 'data'")
    for override in overrides:
        set_key(content, override)
    return make_recipe(content, source=path)


def make_recipe(content: dict[str, Any], source: Path) -> Recipe:
    """Checks the content of a recipe.

    Args:
        content: what its YAML says.
        source: the file, for messages and as the origin of relative paths.

    Raises:
        InputError: an unknown key, a value of the wrong kind, a missing file, a contradiction.
    """
    try:
        return Recipe.model_validate(content, context={_ORIGIN: source.parent})
    except ValidationError as error:
        problem, expected, remedy = _explained(error.errors()[0])
        more = error.error_count() - 1
        raise InputError(
            problem + (f" (and {more} more)" if more else ""), path=source, expected=expected, remedy=remedy
        ) from error


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe with every default written out, as it goes into the run folder."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def digest(*parts: object) -> str:
    """A short name for anything that JSON can write, the same in every process."""
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a recipe")


def _explained(error: ErrorDetails) -> tuple[str, str | None, str | None]:
    """Problem, expectation and remedy of an error that the types found."""
    kinds = {tag for section in _sections() for tag in _kinds_of(section)}
    # The kind of a union's member stands in the location, though it is no key.
    parts = [str(part) for part in error["loc"]]
    place = ".".join(part for part in parts if part not in kinds or part == parts[-1])
    if error["type"] == "extra_forbidden":
        names = sorted({name for section in _sections() for name in section.model_fields})
        close = difflib.get_close_matches(parts[-1], [name for name in names if name != parts[-1]], n=1)
        meant = f"did you mean '{close[0]}'? " if close else ""
        return f"unknown key '{place}'", None, f"{meant}`limbeck run --keys` lists the keys"
    if error["type"] == "union_tag_not_found":
        return f"{place}: the key 'kind' is missing", None, "`limbeck run --keys` lists the kinds"
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        return f"{place}: there is no kind '{context['tag']}'", f"one of {context['expected_tags']}", None
    if error["type"] in {"model_type", "model_attributes_type"}:
        return f"{place}: this is a section of the recipe", "keys and values below it", None
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if error["type"] == "missing":
        return f"the key '{place}' is missing", None, "`limbeck run --keys` lists the keys"
    remedy = (
        "correct it; relative paths count from the recipe's folder" if "there is no f" in message else None
    )
    if error["type"] == "string_type" and not isinstance(error["input"], dict | list):
        remedy = (
            "put it in quotes; YAML reads words such as no, 12 and 2024-01-01 as something else than text"
        )
    return (f"{place}: {message}" if place else message), None, remedy


def _sections(base: type[Section] = Section) -> list[type[Section]]:
    return [found for section in base.__subclasses__() for found in (section, *_sections(section))]


def _kinds_of(section: type[Section]) -> tuple[str, ...]:
    field = section.model_fields.get("kind")
    return () if field is None else get_args(field.annotation)
