"""The recipe as a whole, and what of it contradicts itself."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from limbeck.recipes.base import ModelName, Section, Split
from limbeck.recipes.data import CorpusData, Data, Mining
from limbeck.recipes.dense import (
    BaselineTraining,
    D2LLMRecipe,
    DenseStudentRecipe,
    IndexRecipe,
    ListLossRecipe,
    Loss,
    PairBaselineTraining,
    Training,
)
from limbeck.recipes.generative import GenerativeStudentRecipe
from limbeck.recipes.pairs import RETRIEVAL, PairBiEncoderMember, PairLossRecipe, PairSetName, PairSetRecipe
from limbeck.recipes.teacher import FEATURE_KINDS, BiEncoderMember, RunMember, TeacherRecipe

#: Sections that only a dense student reads.
DENSE_SECTIONS = frozenset({"loss", "training", "index"})


class Evaluation(Section):
    """What is measured, on the test queries."""

    metrics: tuple[str, ...] = Field(("nDCG@10", "MRR@10", "Recall@100"), min_length=1)
    depth: int = Field(100, ge=1, description="Passages of a query in each run.")
    split: Literal["dev", "test"] = "test"


def _student_kind(student: Any) -> Any:
    """Which student a section describes; the dense one where it does not say."""
    return student.get("kind", "dense") if isinstance(student, dict) else getattr(student, "kind", "dense")


Student = Annotated[
    Annotated[DenseStudentRecipe, Tag("dense")] | Annotated[GenerativeStudentRecipe, Tag("generative")],
    Discriminator(_student_kind),
]


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
    backbone_layers: int | None = Field(
        None,
        ge=1,
        description="The first layers of the backbone, which a dense student, its start and its competitors "
        "have; null keeps all. A teacher keeps all.",
    )
    max_length: int = Field(128, ge=8, description="Tokens of a text that are read.")
    device: str | None = Field(None, description="cpu, cuda, …; null takes the best there is.")
    data: Data | None = Field(
        None, description="The corpus, the queries and the judgements; null for pairs alone."
    )
    pairs: dict[PairSetName, PairSetRecipe] = Field({}, description="Sets of labelled pairs, by name.")
    mining: Mining = Mining()
    teacher: TeacherRecipe = TeacherRecipe()
    student: Student = DenseStudentRecipe()
    loss: Loss = ListLossRecipe(kind="kl_divergence")
    pair_loss: PairLossRecipe = PairLossRecipe()
    training: Training = Training()
    baseline: BaselineTraining = BaselineTraining()
    pair_baseline: PairBaselineTraining = PairBaselineTraining()
    index: IndexRecipe = IndexRecipe()
    evaluation: Evaluation = Evaluation()

    @property
    def training_seed(self) -> int:
        """The seed of a dense student, and of the fine-tuned backbone that it is compared with."""
        return self.seed if self.training.seed is None else self.training.seed

    @property
    def baseline_training(self) -> BaselineTraining:
        """How the backbone is fine-tuned on the judgements, with the student's number where it takes it."""
        if self.baseline.hard_negatives is not None:
            return self.baseline
        return self.baseline.model_copy(update={"hard_negatives": self.training.hard_negatives})

    @property
    def pair_baseline_training(self) -> Training:
        """How the backbone is fine-tuned on the labels of pairs: as the student, but for what is its own."""
        own = {name: value for name, value in self.pair_baseline if value is not None}
        return self.training.model_copy(update=own)

    @property
    def content(self) -> dict[str, Any]:
        """What this recipe says as JSON values, every default written out, without sections that it lacks."""
        generative = isinstance(self.student, GenerativeStudentRecipe)
        return self.model_dump(mode="json", exclude=set(DENSE_SECTIONS) if generative else None)

    @field_validator("pairs", mode="before")
    @classmethod
    def _sets_have_names(cls, pairs: Any) -> Any:
        if isinstance(pairs, dict) and isinstance(pairs.get("train"), str) and "labels" in pairs:
            raise ValueError("the set needs a name, under which its files stand: {my-set: {train: …}}")
        return pairs

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> Self:
        if self.data is None and not self.pairs:
            raise ValueError("the key 'data' is missing: name a corpus there, or sets of pairs under 'pairs'")
        if self.pairs and isinstance(self.student, GenerativeStudentRecipe):
            raise ValueError("a generative student cannot learn from pairs: take a dense one")
        if RETRIEVAL in self.pairs:
            raise ValueError(f"pairs.{RETRIEVAL}: this is what the corpus's own task is called: take another")
        if self.pairs and not self.pair_loss.has_weight:
            raise ValueError("nothing to learn from the pairs: every weight of pair_loss is 0")
        loss = self.pair_loss
        if self.pairs and not self._pairs_teach():
            raise ValueError(
                "nothing to learn from the pairs: of the parts of pair_loss with a weight, batch_rank and "
                "in_batch need training.batch_size above 1, all others but pointwise and labels need sets "
                "with `neighbours` above 0"
            )
        if loss.hard_easy and any(
            not (one.neighbours and (one.random or loss.in_batch_teacher)) for one in self.pairs.values()
        ):
            raise ValueError(
                "pair_loss.hard_easy sets neighbours against texts drawn at random: every set of pairs needs "
                "both `neighbours` and `random` above 0, or `neighbours` and pair_loss.in_batch_teacher"
            )
        if loss.in_batch_teacher and not (loss.pointwise or loss.hard_easy):
            raise ValueError(
                "pair_loss.in_batch_teacher asks for scores that only pointwise and hard_easy use, and both "
                "have the weight 0"
            )
        if self.pairs and loss.in_batch_teacher and self.training.batch_size == 1:
            raise ValueError("pair_loss.in_batch_teacher needs batches: training.batch_size is 1")
        return self

    def _pairs_teach(self) -> bool:
        """Whether a part of the loss that has a weight has anything to compare."""
        loss = self.pair_loss
        among_pairs = loss.batch_rank or loss.in_batch
        among_neighbours = loss.rank or loss.contrastive or loss.hard_easy or loss.feature
        return bool(
            loss.pointwise
            or loss.labels
            or (among_pairs and self.training.batch_size > 1)
            or (among_neighbours and any(one.neighbours for one in self.pairs.values()))
        )

    @model_validator(mode="after")
    def _pair_teachers_teach(self) -> Self:
        for name, pairs in self.pairs.items():
            members = pairs.teacher.members
            alone = members[0] if len(members) == 1 else None
            plain = isinstance(alone, PairBiEncoderMember) and not alone.fine_tuned
            whole = plain and alone is not None and alone.model in {None, self.backbone}
            if whole and self.backbone_layers is None:
                raise ValueError(
                    f"pairs.{name}: the teacher is the student's own start: name another member or model"
                )
        return self

    @model_validator(mode="after")
    def _pair_teachers_can_be_imitated(self) -> Self:
        student = self.student
        if not self.pair_loss.feature or not isinstance(student, DenseStudentRecipe):
            return self
        if self.pairs and student.interaction == "cosine":
            raise ValueError(
                "pair_loss.feature compares features of the interaction module: a cosine has none"
            )
        for name, pairs in self.pairs.items():
            if not any(member.kind in FEATURE_KINDS for member in pairs.teacher.members):
                raise ValueError(
                    "pair_loss.feature needs a teacher with features: a cross-encoder or an LLM for "
                    f"pairs.{name}"
                )
            if not pairs.neighbours:
                raise ValueError(f"pair_loss.feature compares neighbours: pairs.{name}.neighbours is 0")
        return self

    @model_validator(mode="after")
    def _students_own_sections(self) -> Self:
        foreign = sorted(DENSE_SECTIONS & self.model_fields_set)
        if isinstance(self.student, GenerativeStudentRecipe) and foreign:
            raise ValueError(
                f"the section '{foreign[0]}' belongs to a dense student: set student.generation, "
                "student.ranking and student.search"
            )
        return self

    @model_validator(mode="after")
    def _layers_of_a_dense_student(self) -> Self:
        if isinstance(self.student, GenerativeStudentRecipe) and self.backbone_layers is not None:
            raise ValueError("backbone_layers belongs to a dense student: set it to null")
        return self

    @model_validator(mode="after")
    def _hard_negatives_of_a_dense_student(self) -> Self:
        if isinstance(self.student, GenerativeStudentRecipe) and self.baseline.hard_negatives is None:
            raise ValueError(
                "baseline.hard_negatives: null takes as many as a dense student's, and this one is "
                "generative: say how many"
            )
        return self

    @model_validator(mode="after")
    def _dense_student_learns(self) -> Self:
        if not isinstance(self.student, DenseStudentRecipe):
            return self
        if self.training.hard_negatives == 0 and self.mining.random == 0:
            raise ValueError("no negatives: training.hard_negatives and mining.random are both 0")
        if isinstance(self.loss, D2LLMRecipe) and not self.loss.has_weight:
            raise ValueError("nothing to learn from: every weight of the loss is 0")
        members = self.teacher.members
        alone = members[0] if len(members) == 1 else None
        whole = isinstance(alone, BiEncoderMember) and alone.model in {None, self.backbone}
        if whole and self.backbone_layers is None:
            raise ValueError("the teacher is the student's own start: name another member or model")
        return self

    @model_validator(mode="after")
    def _teacher_can_be_imitated(self) -> Self:
        student, loss = self.student, self.loss
        if not isinstance(student, DenseStudentRecipe) or not isinstance(loss, D2LLMRecipe):
            return self
        if loss.feature and not any(member.kind in FEATURE_KINDS for member in self.teacher.members):
            raise ValueError(
                "loss.feature needs a teacher with features: a cross-encoder or an LLM among teacher.members"
            )
        if loss.feature and student.interaction == "cosine":
            raise ValueError("loss.feature compares features of the interaction module: a cosine has none")
        if loss.feature and self.training.hard_negatives == 0:
            raise ValueError("loss.feature compares hard negatives: training.hard_negatives is 0")
        if loss.in_batch_teacher and self.training.batch_size == 1:
            raise ValueError("loss.in_batch_teacher needs batches: training.batch_size is 1")
        if loss.in_batch_teacher and self.training.hard_negatives == 0:
            raise ValueError(
                "in_batch_teacher asks for scores that are compared with those of hard negatives, and "
                "training.hard_negatives is 0"
            )
        easy = self.mining.random or loss.in_batch_teacher
        listed = any((loss.contrastive, loss.rank, loss.feature, loss.hard_easy and easy))
        if not loss.in_batch and not (listed and self.training.hard_negatives):
            raise ValueError(
                "nothing to learn from: of the losses with a weight, contrastive, rank and feature need "
                "training.hard_negatives above 0, and hard_easy needs mining.random above 0 as well"
            )
        if loss.in_batch_teacher and any(isinstance(member, RunMember) for member in self.teacher.members):
            raise ValueError("a run file scores only what it lists: set loss.in_batch_teacher to false")
        return self

    @model_validator(mode="after")
    def _vectors_can_be_imitated(self) -> Self:
        if not isinstance(self.student, DenseStudentRecipe) or self.student.vector_imitation is None:
            return self
        taught = False
        for name, one in self.pairs.items():
            tuned = one.teacher.bi_encoder
            if tuned is None:
                raise _without_vectors(f"pairs.{name}.teacher")
            taught |= tuned.fine_tuned or tuned.model not in {None, self.backbone}
        if self.data is not None:
            plain = self.teacher.bi_encoder
            if plain is None:
                raise _without_vectors("teacher")
            taught |= plain.model not in {None, self.backbone}
        if self.backbone_layers is None and not taught:
            raise ValueError(
                "student.vector_imitation would teach the backbone its own vectors: cut the student with "
                "backbone_layers, or let the first bi-encoder of the teacher be another one"
            )
        return self

    @model_validator(mode="after")
    def _metrics_within_depth(self) -> Self:
        cutoffs = [int(cutoff) for name in self.evaluation.metrics for cutoff in re.findall(r"@(\d+)$", name)]
        if self.evaluation.depth < max(cutoffs, default=1):
            raise ValueError(
                f"evaluation.depth is {self.evaluation.depth}, but a metric looks at {max(cutoffs)} passages"
            )
        return self

    @model_validator(mode="after")
    def _runs_know_the_questions(self) -> Self:
        named = self.mining.runs or any(isinstance(member, RunMember) for member in self.teacher.members)
        if isinstance(self.data, CorpusData) and named:
            raise ValueError(
                "run files cannot know questions that are yet to be written: leave out mining.runs and the "
                "teacher's members of the kind 'run', or bring the questions too (data of the kind 'beir')"
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


def _without_vectors(teacher: str) -> ValueError:
    return ValueError(
        f"student.vector_imitation needs vectors to imitate: a bi-encoder among {teacher}.members"
    )
