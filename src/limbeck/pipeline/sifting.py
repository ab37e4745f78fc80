"""The stage that drops written questions that are worth little, and makes a data set of the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

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
from limbeck.mining import BM25
from limbeck.pipeline.candidates import (
    EVALUATED,
    SPLITS,
    backbone_settings,
    drawn_queries,
    require_splits,
)
from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.filtering import (
    COUNTS,
    Searched,
    count_filtered,
    count_verdicts,
    filter_asks_server,
    filter_settings,
    judge_questions,
    tell_verdicts,
    write_verdicts,
)
from limbeck.pipeline.folder import SCRATCH, link_or_copy, write_json
from limbeck.pipeline.inventing import QUESTIONS, asks_invented, corpus_data, takes_sentences
from limbeck.pipeline.query_writing import WRITER
from limbeck.pipeline.run import Run
from limbeck.query_generation.cloze import without_sentences
from limbeck.query_generation.filters import Question
from limbeck.recipes import Recipe, Split
from limbeck.students.generative.pseudo_queries import PseudoQueries

#: Every written question with what became of it.
TABLE = "invented.parquet"
#: Passages whose questions tell how many tokens a pair has.
SAMPLED = 200


def sifting_settings(recipe: Recipe) -> object:
    """What the data set depends on, beyond the written questions."""
    data = corpus_data(recipe)
    wanted = data.queries
    return [
        *filter_settings(recipe, wanted.filter),
        wanted.dev_share,
        wanted.test_share,
        wanted.max_held_out,
        data.judged,
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
    invented = run.folder / "invent"
    judged = judge_questions(
        run,
        corpus_data(run.recipe).queries.filter,
        PseudoQueries.open(invented / QUESTIONS),
        partial(_searched, run, work / SCRATCH),
        work / SCRATCH,
        remedy="loosen data.queries.filter, or take another data.queries.writer",
    )
    counts = count_verdicts(judged)
    told = tell_verdicts(counts)
    run.progress.note(told)
    kept = [question for question in judged if question.dropped is None]
    passages = list(dict.fromkeys(question.passage_id for question in kept))
    split_of = _splits(run.recipe, passages, told)
    _write_passages(run, kept, split_of, work)
    for split in SPLITS:
        _write_split(run, split, [one for one in kept if split_of[one.passage_id] == split], work)
    writer = json.loads((invented / WRITER).read_text(encoding="utf-8"))
    write_verdicts(work / TABLE, judged, writer, split_of)
    write_json(work / COUNTS, counts)
    require_splits(run, open_dataset(work))


def filters_by_server(recipe: Recipe) -> bool:
    """Whether a server filters the written questions."""
    return filter_asks_server(corpus_data(recipe).queries.filter)


def count_sifted(run: Run, estimate: CostEstimate) -> None:
    """The most that the filter can ask a server."""
    written = PseudoQueries.open(run.folder / "invent" / QUESTIONS)
    some = islice(written, 0, None, max(1, len(written) // SAMPLED))
    alike = ((text, run.corpus.contents(run.corpus.rows([id_]))[0]) for id_, texts in some for text in texts)
    questions = sum(len(texts) for _, texts in written)
    count_filtered(run, corpus_data(run.recipe).queries.filter, questions, alike, estimate)


def _searched(run: Run, scratch: Path, questions: Sequence[Question]) -> Searched:
    view = _view(run, questions, scratch / PASSAGES_FILE)
    return Searched(view, BM25.build(view, run.recipe.language), scratch / "backbone")


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


def _splits(recipe: Recipe, passage_ids: Sequence[str], told: str) -> dict[str, Split]:
    """The split of each passage with questions: all its questions go there.

    Args:
        recipe: whose shares they are.
        passage_ids: of the passages with questions.
        told: what became of the questions, for the error.

    Raises:
        InputError: there are too few passages for the splits that need some.
    """
    wanted = corpus_data(recipe).queries
    shares: dict[Split, float] = {"dev": wanted.dev_share, "test": wanted.test_share}
    held_out = [split for split in EVALUATED if asks_invented(recipe, split)]
    if len(passage_ids) <= len(held_out):
        raise InputError(
            f"questions were kept for {len(passage_ids)} passage{'s' * (len(passage_ids) != 1)}: {told}",
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
