"""The stage that drops written questions that are worth little, and makes a data set of the others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from limbeck.data import Judgements, Passage, Passages, Queries, Query
from limbeck.data.dataset import (
    PASSAGES_FILE,
    TRAINING_PASSAGES_FILE,
    judgements_file,
    open_dataset,
    queries_file,
)
from limbeck.data.formats.beir import import_beir_split
from limbeck.errors import InputError
from limbeck.files import atomic_path
from limbeck.mining import BM25, BM25Miner, DenseMiner, Miner, UnionMiner, mine_to
from limbeck.pipeline.candidates import (
    EVALUATED,
    SPLITS,
    backbone_settings,
    drawn_queries,
    file_stamps,
    require_splits,
)
from limbeck.pipeline.folder import SCRATCH, link_or_copy, write_json
from limbeck.pipeline.inventing import QUESTIONS, WRITER, asks_invented, corpus_data, takes_sentences
from limbeck.pipeline.language_models import noting_shortened
from limbeck.pipeline.run import Run
from limbeck.pipeline.servers import announce_costs, server_teacher
from limbeck.pipeline.teaching import CHUNK, model_teacher
from limbeck.query_generation.cloze import without_sentences
from limbeck.query_generation.filters import (
    REASONS,
    Question,
    drop_by_ranker,
    drop_by_text,
    round_trip_pairs,
)
from limbeck.recipes import Bm25Member, Recipe, RunMember, ServerMember, Split
from limbeck.students.dense.backbone import load_backbone
from limbeck.students.generative.pseudo_queries import PseudoQueries
from limbeck.teachers import BM25Teacher, ScoreCache, Teacher, score_rankings, text_pairs

#: Every written question with what became of it, and how many were dropped why.
TABLE, COUNTS = "invented.parquet", "counts.json"
#: Dropped questions of each reason that a message shows.
EXAMPLES = 2


def sifting_settings(recipe: Recipe) -> object:
    """What the data set depends on, beyond the written questions."""
    data = corpus_data(recipe)
    wanted, teacher = data.queries, data.queries.filter.teacher
    model = getattr(teacher, "model", None)
    judging = teacher.answering if isinstance(teacher, ServerMember) else teacher
    return [
        wanted.filter.model_copy(update={"teacher": judging}),
        file_stamps(Path(model)) if model else None,
        recipe.teacher.max_length,
        wanted.dev_share,
        wanted.test_share,
        wanted.max_held_out,
        data.judged,
        file_stamps(data.judged.folder) if data.judged else None,
        recipe.language,
        backbone_settings(recipe),
        recipe.seed,
    ]


def sift(run: Run, work: Path) -> None:
    """Filters the written questions, and splits those that are kept by their passages.

    Leaves a data set as `open_dataset` reads it, `invented.parquet` and `counts.json`.

    Raises:
        InputError: all questions were dropped, or those left are of too few passages for the splits.
    """
    written = PseudoQueries.open(run.folder / "invent" / QUESTIONS)
    questions = [
        Question(f"{passage}#q{number}", passage, text)
        for passage, texts in written
        for number, text in enumerate(texts)
    ]
    judged = _judged_by_text(run, questions)
    judged = _judged_by_ranker(run, judged, work / SCRATCH)
    counts = {"written": len(questions), "kept": 0} | {
        reason: count for reason in REASONS if (count := sum(one.dropped == reason for one in judged))
    }
    kept = [question for question in judged if question.dropped is None]
    counts["kept"] = len(kept)
    if not kept:
        raise _all_dropped(judged, counts)
    split_of = _splits(run.recipe, list(dict.fromkeys(question.passage_id for question in kept)))
    _write_passages(run, kept, split_of, work)
    for split in SPLITS:
        _write_split(run, split, [one for one in kept if split_of[one.passage_id] == split], work)
    _write_table(judged, split_of, json.loads((run.folder / "invent" / WRITER).read_text("utf-8")), work)
    write_json(work / COUNTS, counts)
    run.progress.note(f"of {len(questions):,} written questions {len(kept):,} are kept; {_dropped(counts)}")
    require_splits(run, open_dataset(work))


def _judged_by_text(run: Run, questions: Sequence[Question]) -> list[Question]:
    passages, wanted = run.corpus, corpus_data(run.recipe).queries.filter
    ids = list(dict.fromkeys(question.passage_id for question in questions))
    titles = {passage.id: passage.title for passage in passages.take(passages.rows(ids))}
    return drop_by_text(
        questions,
        titles.__getitem__,
        min_words=wanted.min_words,
        max_words=wanted.max_words,
        threshold=wanted.similarity,
    )


def _judged_by_ranker(run: Run, questions: Sequence[Question], scratch: Path) -> list[Question]:
    wanted = corpus_data(run.recipe).queries.filter
    left = [question for question in questions if question.dropped is None]
    if wanted.teacher is None or not left:
        return list(questions)
    scratch.mkdir(exist_ok=True)
    view = _view(run, left, scratch / PASSAGES_FILE)
    queries = Queries.write(scratch / "queries.arrow", (Query(one.id, one.text) for one in left))
    bm25 = BM25.build(view, run.recipe.language)
    miner = UnionMiner([_miner(run, name, bm25, view, scratch) for name in wanted.miners])
    with run.progress.task("finding candidates for the questions", len(queries)) as advance:
        found = mine_to(scratch / "candidates.arrow", miner, queries, wanted.depth, progress=advance)
    pairs = round_trip_pairs(left, found)
    teacher = _teacher(run, bm25)
    title = f"looking for the passages again: {teacher.name}"
    announce_costs(run, [teacher], text_pairs(pairs, queries, view))
    with (
        ScoreCache(run.scores) as cache,
        noting_shortened(run, teacher, title),
        run.progress.task(title, len(pairs)) as advance,
    ):
        scored = score_rankings(teacher, pairs, queries, view, cache, chunk=CHUNK, progress=advance)
    judged = drop_by_ranker(left, scored, rank=wanted.rank, min_probability=wanted.min_probability)
    by_id = {question.id: question for question in judged}
    return [by_id.get(question.id, question) for question in questions]


def _miner(run: Run, name: str, bm25: BM25, view: Passages, scratch: Path) -> Miner:
    if name == "bm25":
        return BM25Miner(bm25)
    backbone = load_backbone(run.recipe.backbone, run.recipe.max_length, run.recipe.device)
    with run.progress.task("encoding passages with the backbone", len(view)) as advance:
        return DenseMiner(backbone, view, folder=scratch / "backbone", progress=advance)


def _teacher(run: Run, bm25: BM25) -> Teacher:
    member = corpus_data(run.recipe).queries.filter.teacher
    if isinstance(member, Bm25Member):
        return BM25Teacher(bm25)
    if member is None or isinstance(member, RunMember):
        raise TypeError(f"the recipe '{run.recipe.name}' has no ranker to filter by")
    if isinstance(member, ServerMember):
        return server_teacher(run, member, "filter")
    return model_teacher(run.recipe, member)


def _view(run: Run, questions: Iterable[Question], path: Path) -> Passages:
    """The passages as they must be seen beside these questions."""
    if not takes_sentences(corpus_data(run.recipe).queries):
        return run.corpus
    taken: dict[str, set[str]] = {}
    for question in questions:
        taken.setdefault(question.passage_id, set()).add(question.text)
    return Passages.write(path, _without(run.corpus, taken))


def _without(passages: Passages, taken: Mapping[str, set[str]]) -> Iterator[Passage]:
    for passage in passages:
        yield Passage(
            passage.id, without_sentences(passage.text, taken.get(passage.id, set())), passage.title
        )


def _splits(recipe: Recipe, passage_ids: Sequence[str]) -> dict[str, Split]:
    """The split of each passage with questions: all its questions go there.

    Raises:
        InputError: there are too few passages for the splits that need some.
    """
    wanted = corpus_data(recipe).queries
    shares: dict[Split, float] = {"dev": wanted.dev_share, "test": wanted.test_share}
    held_out = [split for split in EVALUATED if asks_invented(recipe, split)]
    if len(passage_ids) <= len(held_out):
        raise InputError(
            f"questions were kept for {len(passage_ids)} passage{'s' * (len(passage_ids) != 1)}",
            expected=f"{len(held_out) + 1} passages at least, for {', '.join(['train', *held_out])}",
            remedy="bring more passages, or loosen data.queries.filter",
        )
    drawn = drawn_queries(passage_ids, len(passage_ids), recipe.seed)
    split_of: dict[str, Split] = dict.fromkeys(passage_ids, "train")
    start = 0
    for split in held_out:
        size = min(max(1, round(shares[split] * len(drawn))), wanted.max_held_out)
        size = min(size, len(drawn) - start - (len(held_out) - held_out.index(split)))
        split_of.update(dict.fromkeys(drawn[start : start + size], split))
        start += size
    return split_of


def _write_passages(run: Run, kept: Sequence[Question], split_of: Mapping[str, Split], work: Path) -> None:
    """The passages that are searched lack the sentences that dev and test ask with; training's lack all."""
    target = work / PASSAGES_FILE
    if not takes_sentences(corpus_data(run.recipe).queries):
        target.unlink(missing_ok=True)  # of an interrupted attempt
        link_or_copy(run.corpus.path, target)
        return
    held_out = [question for question in kept if split_of[question.passage_id] != "train"]
    _view(run, held_out, target)
    _view(run, kept, work / TRAINING_PASSAGES_FILE)


def _write_split(run: Run, split: Split, questions: Sequence[Question], work: Path) -> None:
    if asks_invented(run.recipe, split):
        Queries.write(work / queries_file(split), (Query(one.id, one.text) for one in questions))
        judgements = Judgements((one.id, one.passage_id, 1) for one in questions)
        judgements.write(work / judgements_file(split))
        return
    judged = corpus_data(run.recipe).judged
    if judged is None:
        raise TypeError(f"the {split} queries of the recipe '{run.recipe.name}' are not judged")
    import_beir_split(judged.folder, getattr(judged, split), split, run.corpus, work)


def _write_table(
    questions: Sequence[Question], split_of: Mapping[str, Split], writer: Mapping[str, Any], work: Path
) -> None:
    """Every written question: where it comes from, and what became of it."""
    table = pa.table(
        {
            "query_id": pa.array([one.id for one in questions], pa.string()),
            "passage_id": pa.array([one.passage_id for one in questions], pa.string()),
            "text": pa.array([one.text for one in questions], pa.string()),
            "split": pa.array(
                [split_of[one.passage_id] if one.dropped is None else None for one in questions], pa.string()
            ),
            "dropped": pa.array([one.dropped for one in questions], pa.string()),
            "teacher_score": pa.array([one.score for one in questions], pa.float64()),
            "teacher_rank": pa.array([one.rank for one in questions], pa.int32()),
            "writer": pa.array([writer["writer"]] * len(questions), pa.string()),
        }
    ).replace_schema_metadata({"limbeck.writer": json.dumps(writer, ensure_ascii=False)})
    with atomic_path(work / TABLE) as temporary:
        pq.write_table(table, temporary)


def _dropped(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{counts[reason]:,} {reason}" for reason in REASONS if reason in counts) or "none dropped"
    )


def _all_dropped(questions: Sequence[Question], counts: Mapping[str, int]) -> InputError:
    shown: Counter[str] = Counter()
    examples = []
    for question in questions:
        if question.dropped is not None and shown[question.dropped] < EXAMPLES:
            shown[question.dropped] += 1
            examples.append(f"'{question.text}' of {question.passage_id} ({question.dropped})")
    return InputError(
        f"all {len(questions):,} written questions are dropped: {_dropped(counts)}. Among them "
        + ", ".join(examples),
        remedy="loosen data.queries.filter, or take another data.queries.writer",
    )
