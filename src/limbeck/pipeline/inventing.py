"""The stage that has questions written for a corpus that has none."""

from __future__ import annotations

from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbeck.data import Passages
from limbeck.data.formats.beir import import_beir
from limbeck.errors import InputError
from limbeck.pipeline.candidates import backbone_settings, drawn_queries
from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.folder import SCRATCH, write_json
from limbeck.pipeline.query_writing import WRITER, Examples, open_generator
from limbeck.pipeline.run import Run
from limbeck.pipeline.servers import open_client
from limbeck.query_generation.cloze import ClozeWriter
from limbeck.query_generation.llm import LLMWriter
from limbeck.query_generation.prompts import PROMPTS
from limbeck.query_generation.sampling import Sampling
from limbeck.query_generation.seq2seq import Seq2SeqWriter
from limbeck.query_generation.server import AnswerLog, ServerWriter
from limbeck.query_generation.writing import QueryWriter, write_questions
from limbeck.recipes import (
    ClozeWriterRecipe,
    CorpusData,
    InventedQueries,
    LLMWriterRecipe,
    Recipe,
    Seq2SeqWriterRecipe,
    ServerWriterRecipe,
    Split,
    Writer,
)
from limbeck.students.generative.pseudo_queries import write_texts
from limbeck.teachers.llm.loading import load_language_model

#: The questions by passage, in the folder of the stage.
QUESTIONS = "questions.arrow"

#: Beside the scores that were paid for: what a server answered. It outlives the stage.
ANSWERS = "answers.jsonl"

#: Stands beside all figures on such questions.
INVENTED = (
    "The questions were not asked by people but written for the passages. Figures on them compare systems "
    "with each other; they say little of the questions that users ask, and flatter what resembles the writer."
)


def corpus_data(recipe: Recipe) -> CorpusData:
    """The section of a corpus alone; stages that call this stand in no other recipe's list."""
    if not isinstance(recipe.data, CorpusData):
        raise TypeError(f"the data of the recipe '{recipe.name}' are no corpus alone")
    return recipe.data


def invents_queries(recipe: Recipe) -> bool:
    """Whether questions have to be written."""
    return isinstance(recipe.data, CorpusData)


def asks_invented(recipe: Recipe, split: Split) -> bool:
    """Whether the queries of a split are written ones, and not of people."""
    data = recipe.data
    if not isinstance(data, CorpusData):
        return False
    return split == "train" or data.judged is None or getattr(data.judged, split) is None


def invention_settings(recipe: Recipe) -> object:
    """What the written questions depend on."""
    wanted = corpus_data(recipe).queries
    writer = wanted.writer
    return [
        writer.answering.settings if isinstance(writer, ServerWriterRecipe) else writer,
        wanted.count,
        wanted.max_passages,
        backbone_settings(recipe) if _learns(writer) else None,
        recipe.language,
        recipe.seed,
    ]


def _learns(writer: Writer) -> bool:
    return isinstance(writer, Seq2SeqWriterRecipe) and writer.model is None


def invent(run: Run, work: Path) -> None:
    """Has questions written for the passages.

    Leaves `questions.arrow`, which `PseudoQueries.open` reads, and `writer.json`.

    Raises:
        InputError: no question was written for any passage.
    """
    wanted, passages = corpus_data(run.recipe).queries, run.corpus
    writer = _open_writer(run, work)
    rows = _drawn_rows(passages, wanted.max_passages, run.recipe.seed)
    with run.progress.task("writing questions for passages", len(rows)) as advance:
        found = write_questions(
            writer, passages, wanted.count, work_dir=work / SCRATCH / "blocks", rows=rows, progress=advance
        )
    first = next(found, None)
    if first is None:
        raise InputError(
            f"the writer '{wanted.writer.kind}' wrote no question for any of {len(rows):,} passages",
            expected="passages of several sentences" if wanted.writer.kind == "cloze" else "some text",
            remedy="take another data.queries.writer, or join short passages to longer ones",
        )
    write_texts(work / QUESTIONS, chain([first], found))
    write_json(work / WRITER, writer.settings())


def writes_by_server(recipe: Recipe) -> bool:
    """Whether a server writes the questions."""
    return invents_queries(recipe) and isinstance(corpus_data(recipe).queries.writer, ServerWriterRecipe)


def count_invented(run: Run, estimate: CostEstimate) -> None:
    """What the server is asked that writes the questions."""
    wanted = corpus_data(run.recipe).queries
    if not isinstance(wanted.writer, ServerWriterRecipe):
        raise TypeError(f"the writer of the recipe '{run.recipe.name}' is no server")
    writer = _server_writer(run, wanted.writer)
    rows = _drawn_rows(run.corpus, wanted.max_passages, run.recipe.seed)
    cost = writer.cost(run.corpus.take(rows), wanted.count)
    estimate.add("questions for passages", writer.client.budget, cost)


def _open_writer(run: Run, work: Path) -> QueryWriter:
    recipe = run.recipe
    writer = corpus_data(recipe).queries.writer
    if isinstance(writer, ClozeWriterRecipe):
        return ClozeWriter(min_words=writer.min_words, max_words=writer.max_words, seed=recipe.seed)
    if isinstance(writer, Seq2SeqWriterRecipe):
        generator = open_generator(run, writer, partial(_examples, writer, work / SCRATCH), work)
        return Seq2SeqWriter(generator, Sampling(seed=recipe.seed))
    if isinstance(writer, ServerWriterRecipe):
        return _server_writer(run, writer)
    return open_llm_writer(recipe, writer)


def open_llm_writer(recipe: Recipe, writer: LLMWriterRecipe) -> LLMWriter:
    """The language model that writes questions for a recipe.

    Raises:
        InputError: it cannot be loaded with its options, or its chat template cannot hold the prompt.
    """
    return LLMWriter(
        load_language_model(writer.model, device=recipe.device, options=writer.load),
        writer.prompt or _built_in_prompt(recipe),
        max_passage_length=writer.max_passage_length,
        max_query_length=writer.max_query_length,
        sampling=Sampling(writer.top_k, writer.top_p, writer.temperature, recipe.seed),
        batch_size=writer.batch_size,
    )


def _built_in_prompt(recipe: Recipe) -> str:
    return PROMPTS["zh" if recipe.language.strip().lower().startswith("zh") else "en"]


def _server_writer(run: Run, writer: ServerWriterRecipe) -> ServerWriter:
    return ServerWriter(
        open_client(run, writer, "questions"),
        AnswerLog(run.scores.with_name(ANSWERS)),
        writer.prompt or _built_in_prompt(run.recipe),
        max_passage_length=writer.max_passage_length,
        max_query_length=writer.max_query_length,
        temperature=writer.temperature,
        seed=run.recipe.seed,
        options=writer.options,
    )


def _examples(writer: Seq2SeqWriterRecipe, scratch: Path) -> Examples:
    """The queries of another data set."""
    if writer.examples is None:
        raise TypeError("a writer with a model learns from no examples")
    data = import_beir(writer.examples, scratch / "examples", splits={"train": writer.split})
    return data.queries["train"], data.judgements["train"], data.passages


def takes_sentences(wanted: InventedQueries) -> bool:
    """Whether the questions are sentences of their passages, which must not be seen beside them."""
    return wanted.writer.kind == "cloze"


def _drawn_rows(passages: Passages, limit: int | None, seed: int) -> NDArray[np.int64]:
    """The rows of the passages that get questions, in the order of the corpus."""
    if limit is None or len(passages) <= limit:
        return np.arange(len(passages))
    return np.sort(passages.rows(drawn_queries(passages.ids(), limit, seed)))
