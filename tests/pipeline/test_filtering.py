"""What is told and kept of questions that were judged."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from limbeck.data import Passages
from limbeck.data.passages import Passage
from limbeck.errors import InputError
from limbeck.mining import BM25
from limbeck.pipeline import Run, RunFolder
from limbeck.pipeline.filtering import (
    Searched,
    count_verdicts,
    judge_questions,
    tell_verdicts,
    write_verdicts,
)
from limbeck.query_generation.filters import Question
from limbeck.recipes import QueryFilter, Recipe
from limbeck.students.generative.pseudo_queries import PseudoQueries

#: No two passages share a word.
TEXTS = {"cats": "cats sleep all day", "dogs": "dogs bark at night", "birds": "birds eat seeds"}
JUDGED = [
    Question("cats#q0", "cats", "who sleeps all day", score=0.5, rank=1),
    Question("cats#q1", "cats", "who sleeps all day?", dropped="repeated"),
    Question("dogs#q0", "dogs", "who eats seeds", score=0.0, rank=2, dropped="not-found"),
    Question("dogs#q1", "dogs", "who", dropped="too-short"),
    Question("dogs#q2", "dogs", "why", dropped="too-short"),
]
WRITER = {"writer": "seq2seq", "weights": "abc"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose corpus is read."""
    (tmp_path / "run" / "data").mkdir(parents=True)
    rows = (Passage(id_, text, "") for id_, text in TEXTS.items())
    Passages.write(tmp_path / "run" / "data" / "passages.arrow", rows)
    return Run(Recipe(data={"kind": "stdlib"}), RunFolder(tmp_path / "run"))


def judge(run: Run, tmp_path: Path, written: dict[str, list[str]], **wanted: object) -> list[Question]:
    def search(left: object) -> Searched:
        return Searched(run.corpus, BM25.build(run.corpus, "en"), tmp_path / "vectors")

    filter_ = QueryFilter(miners=("bm25",), **wanted)
    return judge_questions(
        run, filter_, PseudoQueries(written), search, tmp_path / "scratch", remedy="loosen it"
    )


def test_verdicts_are_counted_in_the_order_of_the_reasons():
    counts = count_verdicts(JUDGED)
    assert counts == {"written": 5, "kept": 1, "too-short": 2, "repeated": 1, "not-found": 1}
    assert tell_verdicts(counts) == (
        "of 5 written questions 1 are kept; 2 too-short, 1 repeated, 1 not-found"
    )
    assert tell_verdicts(count_verdicts(JUDGED[:1])) == "of 1 written questions 1 are kept; none dropped"


def test_every_question_is_kept_with_its_provenance(tmp_path: Path):
    write_verdicts(tmp_path / "all.parquet", JUDGED, WRITER)
    table = pq.read_table(tmp_path / "all.parquet")
    assert table.column_names == [
        "query_id", "passage_id", "text", "dropped", "teacher_score", "teacher_rank", "writer",
    ]  # fmt: skip
    assert table["dropped"].to_pylist() == [None, "repeated", "not-found", "too-short", "too-short"]
    assert table["teacher_rank"].to_pylist() == [1, None, 2, None, None]
    assert set(table["writer"].to_pylist()) == {"seq2seq"}
    assert table.schema.metadata[b"limbeck.writer"] == b'{"writer": "seq2seq", "weights": "abc"}'
    write_verdicts(tmp_path / "split.parquet", JUDGED, WRITER, {"cats": "dev"})
    assert pq.read_table(tmp_path / "split.parquet")["split"].to_pylist() == ["dev", *[None] * 4]


def test_a_ranker_judges_what_the_texts_leave(run: Run, tmp_path: Path):
    written = {
        "cats": ["when do cats sleep", "when do cats sleep?", "why"],
        "dogs": ["when do dogs bark", "what seeds do birds eat"],
    }
    judged = judge(run, tmp_path, written, teacher={"kind": "bm25"}, rank=1)
    assert [(one.id, one.rank, one.dropped) for one in judged] == [
        ("cats#q0", 1, None),
        ("cats#q1", None, "repeated"),
        ("cats#q2", None, "too-short"),
        ("dogs#q0", 1, None),
        # The passage on birds comes first; that on dogs has none of the words.
        ("dogs#q1", 2, "not-found"),
    ]
    assert judged[-1].score == 0


def test_nobody_looks_for_the_passages_where_there_is_no_ranker(run: Run, tmp_path: Path):
    judged = judge(run, tmp_path, {"dogs": ["what seeds do birds eat", "why"]}, teacher=None)
    assert [one.dropped for one in judged] == [None, "too-short"]
    assert not (tmp_path / "scratch").exists()


def test_a_filter_that_leaves_nothing_shows_what_it_drops(run: Run, tmp_path: Path):
    written = {"cats": ["why", "who", "how"], "dogs": ["what seeds do birds eat"]}
    with pytest.raises(InputError) as caught:
        judge(run, tmp_path, written, teacher={"kind": "bm25"}, rank=1)
    assert caught.value.problem == (
        "all 4 written questions are dropped: 3 too-short, 1 not-found. Among them "
        "'why' of cats (too-short), 'who' of cats (too-short), 'what seeds do birds eat' of dogs (not-found)"
    )
    assert caught.value.remedy == "loosen it"
