"""What is looked at before anything is done: all that would otherwise end a run after an hour of work.

The types of a recipe find unknown keys, missing paths and contradictions. Here is what needs the packages
that do the work, or a look into the data. Each check takes a recipe and raises an InputError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import torch

from limbeck.backbones import locate_backbone
from limbeck.data.formats.beir import LAYOUT
from limbeck.data.formats.corpus import corpus_passages
from limbeck.encoders import load_cross_encoder
from limbeck.errors import InputError
from limbeck.evaluation import parse_metric
from limbeck.evaluation.report import require_extra
from limbeck.files import find_file, require_folder
from limbeck.mining.tokenisation import tokenizer_for
from limbeck.pipeline.candidates import start_backbone
from limbeck.pipeline.identifiers import query_filter, uses_teacher, written_place, written_source
from limbeck.pipeline.in_batch import asks_in_batch
from limbeck.pipeline.inventing import open_llm_writer
from limbeck.pipeline.language_models import check_llm
from limbeck.pipeline.servers import endpoint_of
from limbeck.pipeline.teaching import imitates_features
from limbeck.query_generation.seq2seq import QueryGenerator
from limbeck.recipes import (
    BeirData,
    BiEncoderMember,
    CorpusData,
    CrossEncoderMember,
    GenerativeStudentRecipe,
    HubData,
    IrDatasetsData,
    JudgedQueries,
    LateInteractionMember,
    LLMMember,
    LLMSection,
    LLMWriterRecipe,
    Member,
    PairBiEncoderMember,
    PairCrossEncoderMember,
    PairLLMMember,
    PairServerMember,
    QueryGeneratorSection,
    Recipe,
    ServedSection,
    ServerMember,
    ServerWriterRecipe,
)
from limbeck.recipes.server import ServerSection
from limbeck.servers import TokenCounter
from limbeck.students.dense.adapters import LoraSettings, add_adapters
from limbeck.students.dense.backbone import load_backbone, pooling_module
from limbeck.students.generative.model import load_generator
from limbeck.teachers import CrossEncoderTeacher
from limbeck.teachers.llm import Prompt

#: Passages that are read to see how the corpus is written.
SAMPLE = 200

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]")
_LETTER = re.compile(r"[^\W\d_]")
_WITHOUT_SPACES = ("zh", "ja", "ko")


def check_data(recipe: Recipe) -> None:
    """The corpus, the queries and the three splits are there, or what would fetch them is installed."""
    data = recipe.data
    if isinstance(data, BeirData):
        require_folder(data.folder, expected=LAYOUT)
        names = {"train": data.train, "dev": data.dev, "test": data.test}
        wanted = ["corpus.jsonl", "queries.jsonl", *(f"qrels/{name}.tsv" for name in names.values())]
        for name in wanted:
            if find_file(data.folder, name) is None:
                remedy = (
                    "where nobody has asked questions yet, `data: {kind: corpus, file: …}` has some written"
                )
                if name.startswith("qrels/"):
                    remedy = f"give data.train, data.dev and data.test names of files; {_splits_there(data)}"
                raise InputError(
                    f"there is neither {name} nor {name}.gz",
                    path=data.folder,
                    expected=LAYOUT,
                    remedy=remedy,
                )
    elif isinstance(data, CorpusData) and data.judged is not None:
        _check_judged(data.judged)
    elif isinstance(data, HubData):
        _require("datasets", "data of the kind 'hub'", "hub")
    elif isinstance(data, IrDatasetsData):
        _require("ir_datasets", "data of the kind 'ir_datasets'", "hub")


def _check_judged(judged: JudgedQueries) -> None:
    """The files of people's questions are there; they are needed only once questions are written."""
    for name in ("queries.jsonl", *(f"qrels/{qrels}.tsv" for qrels in (judged.dev, judged.test) if qrels)):
        if find_file(judged.folder, name) is None:
            raise InputError(
                f"there is neither {name} nor {name}.gz",
                path=judged.folder,
                expected="queries.jsonl[.gz] and qrels/<name>.tsv[.gz]",
                remedy=f"give data.judged.dev and data.judged.test names of files; {_splits_there(judged)}",
            )


def _splits_there(data: BeirData | JudgedQueries) -> str:
    files = (data.folder / "qrels").glob("*.tsv*")
    names = sorted({file.name.removesuffix(".gz").removesuffix(".tsv") for file in files})
    return f"there are {', '.join(names)}" if names else "there are none"


def check_language(recipe: Recipe) -> None:
    """There is a tokenizer of the language, and it is one for the script that the corpus is written in."""
    tokenizer_for(recipe.language)
    corpus = _corpus_file(recipe)
    if corpus is not None:
        share = _share_without_spaces(passage.text for passage in islice(corpus_passages(corpus), SAMPLE))
        language = recipe.language.strip().lower()
        if share > 0.5 and not language.startswith(_WITHOUT_SPACES) and language != "none":
            raise InputError(
                f"the language is '{recipe.language}', but {share:.0%} of the corpus is written in Chinese, "
                "Japanese or Korean characters, where words are not set apart by spaces",
                path=corpus,
                expected="zh, ja or ko, zh-jieba or ja-janome",
                remedy="set `language`, or `language: none` if words are set apart by spaces after all",
            )


def _corpus_file(recipe: Recipe) -> Path | None:
    if isinstance(recipe.data, BeirData):
        return find_file(recipe.data.folder, "corpus.jsonl")
    return recipe.data.file if isinstance(recipe.data, CorpusData) else None


def _share_without_spaces(texts: Iterable[str]) -> float:
    text = "".join(texts)
    letters = len(_LETTER.findall(text))
    return len(_CJK.findall(text)) / letters if letters else 0.0


def check_student(recipe: Recipe) -> None:
    """The backbone loads, and a student can be made of it."""
    student = recipe.student
    backbone = start_backbone(recipe, "cpu")
    if isinstance(student, GenerativeStudentRecipe):
        generator = load_generator(
            student.model or recipe.backbone,
            start=student.start,
            max_query_length=student.max_query_length,
            device="cpu",
        )
        generator.require_lengths(max(view.max_length for view in student.views))
        if student.generation.tensorboard or (student.ranking and student.ranking.tensorboard):
            _require("tensorboard", "tensorboard in a training of the student", "tensorboard")
        return
    pooling_module(backbone)
    width, heads = backbone.get_embedding_dimension(), student.heads
    if student.pooling == "attention" and (width is None or width % heads):
        raise InputError(
            f"student.heads is {heads}, which does not divide the {width} dimensions of '{recipe.backbone}'",
            remedy="set student.heads to 1, 2, 4, 8, 16 or 32, whichever divides them",
        )
    if student.lora is not None:
        add_adapters(backbone, LoraSettings(**student.lora.model_dump()))
    if recipe.training.tensorboard:
        _require("tensorboard", "training.tensorboard", "tensorboard")


def check_writer(recipe: Recipe) -> None:
    """The server that writes questions can be asked; the model that writes them loads."""
    if not isinstance(recipe.data, CorpusData):
        return
    place, writer = "data.queries.writer", recipe.data.queries.writer
    if isinstance(writer, ServerWriterRecipe):
        _check_server(place, writer)
    elif isinstance(writer, QueryGeneratorSection):
        _check_generator(place, writer, recipe)
    elif isinstance(writer, LLMWriterRecipe):
        with _at(place):
            open_llm_writer(recipe, writer)


def check_filter(recipe: Recipe) -> None:
    """The ranker that filters the questions of a corpus loads, or can be asked."""
    if isinstance(recipe.data, CorpusData):
        _check_member("data.queries.filter.teacher", recipe.data.queries.filter.teacher, recipe)


def check_query_generator(recipe: Recipe) -> None:
    """The model that writes pseudo-queries, or is to learn it, loads and reads so much."""
    _check_generator(written_place(recipe), written_source(recipe), recipe)


def check_query_filter(recipe: Recipe) -> None:
    """As `check_filter`, of pseudo-queries."""
    _check_member(f"{written_place(recipe)}.filter.teacher", query_filter(recipe).teacher, recipe)


def _check_generator(place: str, section: QueryGeneratorSection, recipe: Recipe) -> None:
    with _at(place):
        QueryGenerator.start(
            section.model or recipe.backbone,
            max_passage_length=section.max_passage_length,
            max_query_length=section.max_query_length,
            device="cpu",
        )


def check_teacher(recipe: Recipe) -> None:
    """Each given model loads and has the features that are asked for; so does what one is fine-tuned from."""
    for number, member in enumerate(recipe.teacher.members):
        if not isinstance(member, ServerMember):
            _check_member(f"teacher.members.{number}", member, recipe, features=imitates_features(recipe))


def check_servers(recipe: Recipe) -> None:
    """The servers among the members of the teacher can be asked, as far as this is known without asking."""
    for number, member in enumerate(recipe.teacher.members if uses_teacher(recipe) else ()):
        if isinstance(member, ServerMember):
            _check_server(f"teacher.members.{number}", member)


def _check_member(place: str, member: Member | None, recipe: Recipe, *, features: bool = False) -> None:
    if isinstance(member, CrossEncoderMember):
        _check_cross_encoder(place, member, recipe.teacher.max_length, features=features)
    elif isinstance(member, BiEncoderMember | LateInteractionMember):
        _check_encoder(place, member.model, recipe.max_length)
    elif isinstance(member, ServerMember):
        _check_server(place, member)
    elif isinstance(member, LLMMember):
        _check_llm(place, member, member.question, recipe.device, tuned=member.fine_tuning is not None)


def _check_server(place: str, section: ServerSection) -> None:
    """The package is installed, the key is set, and there is a tokenizer where one is named."""
    _require("openai", place, "server")
    with _at(place):
        _ = endpoint_of(section).key
        if isinstance(section, ServedSection):
            TokenCounter(section.tokenizer)


def check_pair_teachers(recipe: Recipe) -> None:
    """As `check_teacher`, of the teachers of pairs."""
    for name, one in recipe.pairs.items():
        for number, member in enumerate(one.teacher.members):
            place = f"pairs.{name}.teacher.members.{number}"
            if isinstance(member, PairLLMMember):
                question, tuned = member.question_of(one.task), member.fine_tuning is not None
                _check_llm(place, member, question, recipe.device, tuned=tuned)
            elif isinstance(member, PairCrossEncoderMember):
                features = recipe.pair_loss.feature > 0
                _check_cross_encoder(place, member, member.max_length, features=features)
            elif isinstance(member, PairBiEncoderMember) and member.fine_tuned:
                _check_encoder(f"{place}.fine_tuning.base", member.fine_tuning.base, recipe.max_length)
            elif isinstance(member, PairBiEncoderMember):
                _check_encoder(place, member.model, recipe.max_length)


def check_imitation(recipe: Recipe) -> None:
    """The vectors that a student is to imitate have as many dimensions as its own."""
    width = start_backbone(recipe, "cpu").get_embedding_dimension()
    named: dict[str, str | None] = {}
    if recipe.data is not None and recipe.teacher.bi_encoder is not None:
        named["teacher"] = recipe.teacher.bi_encoder.model
    for name, one in recipe.pairs.items():
        member = one.teacher.bi_encoder
        if member is not None:
            named[f"pairs.{name}.teacher"] = member.fine_tuning.base if member.fine_tuned else member.model
    for place, model in named.items():
        if model is None:
            continue
        found = load_backbone(model, recipe.max_length, "cpu").get_embedding_dimension()
        if found != width:
            raise InputError(
                f"{place}: the bi-encoder '{model}' has vectors of {found} dimensions, the student's "
                f"backbone of {width}",
                expected="one dimension",
                remedy="name a bi-encoder as wide as the backbone, or leave out student.vector_imitation",
            )


def check_pair_servers(recipe: Recipe) -> None:
    """As `check_servers`, of the teachers of pairs."""
    for name, one in recipe.pairs.items():
        for number, member in enumerate(one.teacher.members):
            if isinstance(member, PairServerMember):
                _check_server(f"pairs.{name}.teacher.members.{number}", member)


def check_in_batch_servers(recipe: Recipe) -> None:
    """As `check_servers`, of those that score the pairs of a batch while the student learns."""
    if asks_in_batch(recipe):
        check_servers(recipe)
        check_pair_servers(recipe)


def _check_cross_encoder(
    place: str, member: CrossEncoderMember | PairCrossEncoderMember, max_length: int, *, features: bool
) -> None:
    base = member.fine_tuning.base
    if member.model is not None:
        with _at(place):
            teacher = CrossEncoderTeacher(
                load_cross_encoder(member.model, max_length=max_length, device="cpu")
            )
            if features:
                teacher.feature_head()
    elif base is not None:
        with _at(f"{place}.fine_tuning.base"):
            load_cross_encoder(locate_backbone(base), max_length=max_length, num_labels=1, device="cpu")


def _check_encoder(place: str, model: str | None, max_length: int) -> None:
    if model is not None:
        with _at(place):
            load_backbone(model, max_length, "cpu")


def _check_llm(place: str, member: LLMSection, prompt: Prompt, device: str | None, *, tuned: bool) -> None:
    if tuned:
        _require("peft", f"{place}.fine_tuning", "lora")
    with _at(place):
        check_llm(member, prompt, device)


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Says which key of the recipe an error is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error.problem}", expected=error.expected, remedy=error.remedy) from error


def check_device(recipe: Recipe) -> None:
    """The device is one that torch knows, and this machine has."""
    if recipe.device is None:
        return
    try:
        torch.empty(0, device=recipe.device)
    except (AssertionError, RuntimeError) as error:  # the former where torch is built without CUDA
        raise InputError(
            f"the device '{recipe.device}' cannot be used: {str(error).splitlines()[0].rstrip('.')}",
            remedy="set `device` to one that `limbeck doctor` lists, or to null for the best of them",
        ) from error


def check_pairs(recipe: Recipe) -> None:
    """What measures pairs of two classes is installed."""
    if any(one.labels.kind == "binary" for one in recipe.pairs.values()):
        _require("sklearn", "a set of pairs with binary labels", "pairs")


def check_report(_recipe: Recipe) -> None:
    """The report can be written."""
    require_extra()


def check_evaluation(recipe: Recipe) -> None:
    """The metrics are known, and the report can be written."""
    for name in recipe.evaluation.metrics:
        parse_metric(name)
    require_extra()


def _require(module: str, wanted_by: str, extra: str) -> None:
    if find_spec(module) is None:
        raise InputError(
            f"{wanted_by} needs the package '{module}', which is not installed",
            remedy=f"pip install 'limbeck[{extra}]'",
        )
