"""Dropping written questions that are worth little: those of a corpus that has none, and pseudo-queries."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from limbeck.data import Passages, Queries, Query
from limbeck.errors import InputError
from limbeck.files import atomic_path
from limbeck.mining import BM25, BM25Miner, DenseMiner, Miner, UnionMiner, mine_to
from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.language_models import noting_shortened
from limbeck.pipeline.run import Run
from limbeck.pipeline.servers import announce_costs, server_teacher
from limbeck.pipeline.teaching import CHUNK, model_teacher
from limbeck.query_generation.filters import (
    REASONS,
    Question,
    drop_by_ranker,
    drop_by_text,
    round_trip_pairs,
)
from limbeck.recipes import Bm25Member, Member, QueryFilter, Recipe, RunMember, ServerMember, Split
from limbeck.students.dense.backbone import load_backbone
from limbeck.students.generative.pseudo_queries import PseudoQueries
from limbeck.teachers import BM25Teacher, Pair, ScoreCache, Teacher, score_rankings, text_pairs
from limbeck.teachers.server import ServerTeacher

#: How many questions were dropped why, in the folder of a stage that drops some.
COUNTS = "counts.json"
#: Dropped questions of each reason that a message shows.
EXAMPLES = 2
CANDIDATES = "questions with their candidates"


@dataclass(frozen=True)
class Searched:
    """Where the passages of questions are looked for again.

    Attributes:
        passages: as they must be seen beside the questions.
        bm25: their index.
        folder: of the backbone's embeddings of them; they are made where they are not there yet.
    """

    passages: Passages
    bm25: BM25
    folder: Path


def filter_settings(recipe: Recipe, wanted: QueryFilter) -> list[object]:
    """What the verdict on a question depends on, beyond language, backbone and seed of the recipe."""
    teacher = wanted.teacher
    judging = teacher.answering if isinstance(teacher, ServerMember) else teacher
    return [
        wanted.model_copy(update={"teacher": judging}),
        recipe.teacher.max_length,
    ]


def judge_questions(
    run: Run,
    wanted: QueryFilter,
    written: PseudoQueries,
    search: Callable[[Sequence[Question]], Searched],
    scratch: Path,
    *,
    remedy: str,
) -> list[Question]:
    """Judges written questions by their texts, and those that are left by the filter's ranker, if it has one.

    Args:
        run: the run; its score cache keeps what the ranker says.
        wanted: the filter.
        written: the questions by passage.
        search: gives where the passages of the questions that are left are looked for; not called where
            nobody looks.
        scratch: a folder for what is needed on the way, which an interrupted attempt may have filled.
        remedy: what to do where no question is left.

    Returns:
        All questions in the order written, the dropped ones with their reason.

    Raises:
        InputError: all were dropped.
    """
    questions = [
        Question(f"{passage}#q{number}", passage, text)
        for passage, texts in written
        for number, text in enumerate(texts)
    ]
    judged = _judged_by_text(run, wanted, questions)
    left = _kept(judged)
    if wanted.teacher is not None and left:
        scratch.mkdir(exist_ok=True)
        by_id = {one.id: one for one in _judged_by_ranker(run, wanted, left, search(left), scratch)}
        judged = [by_id.get(question.id, question) for question in judged]
    if not _kept(judged):
        raise _all_dropped(judged, remedy)
    return judged


def filter_asks_server(wanted: QueryFilter) -> bool:
    """Whether the filter's ranker is asked over the network."""
    return isinstance(wanted.teacher, ServerMember)


def count_filtered(
    run: Run, wanted: QueryFilter, questions: int, alike: Iterable[Pair], estimate: CostEstimate
) -> None:
    """Adds the most that a filter can ask a server: each question with its passage and with its candidates.

    Args:
        run: the run.
        wanted: the filter.
        questions: how many there are at most.
        alike: pairs of questions and passages, which tell how many tokens such a pair has.
        estimate: what they are added to.
    """
    if not isinstance(wanted.teacher, ServerMember):
        raise TypeError(f"a filter of the recipe '{run.recipe.name}' is no server")
    estimate.add_bound(CANDIDATES, [_server(run, wanted.teacher)], questions * (1 + wanted.depth), alike)


def count_verdicts(judged: Sequence[Question]) -> dict[str, int]:
    """How many questions were written and kept, and how many dropped for which reason."""
    found = Counter(question.dropped for question in judged)
    return {"written": len(judged), "kept": found[None]} | {
        reason: found[reason] for reason in REASONS if found[reason]
    }


def tell_verdicts(counts: Mapping[str, int]) -> str:
    """What `count_verdicts` counted, as a note.

    Example:
        >>> tell_verdicts({"written": 5, "kept": 2, "repeated": 1, "not-found": 2})
        'of 5 written questions 2 are kept; 1 repeated, 2 not-found'
    """
    return f"of {counts['written']:,} written questions {counts['kept']:,} are kept; {_dropped(counts)}"


def write_verdicts(
    path: Path,
    judged: Sequence[Question],
    writer: Mapping[str, Any],
    split_of: Mapping[str, Split] | None = None,
) -> None:
    """Writes every question as a Parquet table: where it comes from, and what became of it.

    Args:
        path: the file to make.
        judged: the questions.
        writer: the settings of what wrote them, the name under `writer`; they go into the metadata, too.
        split_of: the split of each passage that kept a question, where they are split.
    """
    columns: dict[str, Any] = {
        "query_id": pa.array([one.id for one in judged], pa.string()),
        "passage_id": pa.array([one.passage_id for one in judged], pa.string()),
        "text": pa.array([one.text for one in judged], pa.string()),
    }
    if split_of is not None:
        splits = [split_of[one.passage_id] if one.dropped is None else None for one in judged]
        columns["split"] = pa.array(splits, pa.string())
    columns |= {
        "dropped": pa.array([one.dropped for one in judged], pa.string()),
        "teacher_score": pa.array([one.score for one in judged], pa.float64()),
        "teacher_rank": pa.array([one.rank for one in judged], pa.int32()),
        "writer": pa.array([writer["writer"]] * len(judged), pa.string()),
    }
    table = pa.table(columns).replace_schema_metadata(
        {"limbeck.writer": json.dumps(writer, ensure_ascii=False)}
    )
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def _kept(questions: Iterable[Question]) -> list[Question]:
    return [question for question in questions if question.dropped is None]


def _judged_by_text(run: Run, wanted: QueryFilter, questions: Sequence[Question]) -> list[Question]:
    passages = run.corpus
    ids = list(dict.fromkeys(question.passage_id for question in questions))
    titles = {passage.id: passage.title for passage in passages.take(passages.rows(ids))}
    return drop_by_text(
        questions,
        titles.__getitem__,
        min_words=wanted.min_words,
        max_words=wanted.max_words,
        threshold=wanted.similarity,
    )


def _judged_by_ranker(
    run: Run, wanted: QueryFilter, questions: Sequence[Question], searched: Searched, scratch: Path
) -> list[Question]:
    queries = Queries.write(scratch / "queries.arrow", (Query(one.id, one.text) for one in questions))
    miner = UnionMiner([_miner(run, name, searched) for name in wanted.miners])
    with run.progress.task("finding candidates for the questions", len(queries)) as advance:
        found = mine_to(scratch / "candidates.arrow", miner, queries, wanted.depth, progress=advance)
    pairs = round_trip_pairs(questions, found)
    teacher = _ranker(run, wanted.teacher, searched.bm25)
    title = f"looking for the passages again: {teacher.name}"
    if isinstance(teacher, ServerTeacher):
        announce_costs(run, CANDIDATES, [teacher], text_pairs(pairs, queries, searched.passages))
    with (
        ScoreCache(run.scores) as cache,
        noting_shortened(run, teacher, title),
        run.progress.task(title, len(pairs)) as advance,
    ):
        scored = score_rankings(
            teacher, pairs, queries, searched.passages, cache, chunk=CHUNK, progress=advance
        )
    return drop_by_ranker(questions, scored, rank=wanted.rank, min_probability=wanted.min_probability)


def _miner(run: Run, name: str, searched: Searched) -> Miner:
    if name == "bm25":
        return BM25Miner(searched.bm25)
    backbone = load_backbone(run.recipe.backbone, run.recipe.max_length, run.recipe.device)
    with run.progress.task("encoding passages with the backbone", len(searched.passages)) as advance:
        return DenseMiner(backbone, searched.passages, folder=searched.folder, progress=advance)


def _ranker(run: Run, member: Member | None, bm25: BM25) -> Teacher:
    if isinstance(member, Bm25Member):
        return BM25Teacher(bm25)
    if member is None or isinstance(member, RunMember):
        raise TypeError(f"the recipe '{run.recipe.name}' has no ranker to filter by")
    if isinstance(member, ServerMember):
        return _server(run, member)
    return model_teacher(run.recipe, member)


def _server(run: Run, member: ServerMember) -> ServerTeacher:
    return server_teacher(run, member, member.question, "filter")


def _dropped(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{counts[reason]:,} {reason}" for reason in REASONS if reason in counts) or "none dropped"
    )


def _all_dropped(questions: Sequence[Question], remedy: str) -> InputError:
    shown: Counter[str] = Counter()
    examples = []
    for question in questions:
        if question.dropped is not None and shown[question.dropped] < EXAMPLES:
            shown[question.dropped] += 1
            examples.append(f"'{question.text}' of {question.passage_id} ({question.dropped})")
    return InputError(
        f"all {len(questions):,} written questions are dropped: {_dropped(count_verdicts(questions))}. "
        "Among them " + ", ".join(examples),
        remedy=remedy,
    )
