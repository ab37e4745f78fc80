from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import Passage, Passages, Queries, Query, Rankings, RankingsWriter
from limbeck.data.formats import iter_run, read_run, write_run

words = st.text("abcé0中", min_size=1, max_size=3)


def test_reading_by_hand(tmp_path):
    (tmp_path / "r.trec").write_bytes(
        b"\xef\xbb\xbfq2 Q0 d3 0 12.5 bm25\r\nq2\tQ0\td1\t1\t1e1\tbm25\r\n\r\nq1 Q0 d1 1 -3 bm25\r\n"
    )
    rankings = read_run(tmp_path / "r.trec")
    assert rankings.to_dict() == {"q2": {"d3": 12.5, "d1": 10.0}, "q1": {"d1": -3.0}}
    assert rankings.query_ids == ["q2", "q1"]
    assert rankings.source == "bm25"


def test_equal_scores_come_by_id(tmp_path):
    (tmp_path / "r.trec").write_text("q Q0 b 1 1.0 x\nq Q0 a 2 1.0 x\n")
    assert read_run(tmp_path / "r.trec").list_for("q").passage_ids == ["a", "b"]


@settings(max_examples=40, deadline=None)
@given(
    scores=st.dictionaries(
        words,
        st.dictionaries(words, st.floats(allow_nan=False, allow_infinity=False), min_size=1),
        min_size=1,
    ),
    suffix=st.sampled_from([".trec", ".trec.gz"]),
)
def test_what_is_written_is_read_exactly(tmp_path_factory, scores, suffix):
    path = tmp_path_factory.mktemp("run") / f"r{suffix}"
    rankings = Rankings.from_dict(scores, "my-run")
    write_run(rankings, path, "my-run")
    assert read_run(path).fingerprint == rankings.fingerprint
    with RankingsWriter(path.with_name("r.arrow"), "my-run") as writer:
        for ranked in iter_run(path):
            writer.add(ranked)
    assert Rankings.open(path.with_name("r.arrow")).fingerprint == rankings.fingerprint


@pytest.mark.parametrize(
    ("content", "line", "match"),
    [
        (b"q Q0 d 1 0.5\n", 1, "the line has 5 columns"),
        (b"q Q0 d 1 0.5 x y\n", 1, "the line has 7 columns"),
        (b"q Q0 d one 0.5 x\n", 1, "the rank is 'one'"),
        (b"q Q0 d 1 high x\n", 1, "the score is 'high'"),
        (b"q Q0 d 1 nan x\n", 1, "the score is nan"),
        (b"q Q0 d 1 2 x\nq Q0 e 2 -inf x\n", 2, "the score is -inf"),
        (b"q Q0 d 1 1e999 x\n", 1, "the score is 1e999"),
        (b"q Q0 d 2 2 x\nq Q0 e 1 1 x\n", 2, "rank 1 follows rank 2 in query 'q'"),
        (b"q Q0 d 1 2 x\nq Q0 e 1 1 x\n", 2, "rank 1 follows rank 1"),
        (b"q Q0 d 1 1 x\n\nq Q0 e 2 2 x\n", 3, "the score rises from 1.0 to 2.0"),
        (b"q Q0 d 1 2 x\nq Q0 d 2 1 x\n", 2, "'q' ranks passage 'd' twice .first at line 1"),
        (b"q Q0 d 1 2 x\nr Q0 d 1 2 x\nq Q0 e 2 1 x\n", 3, "query 'q' comes again .first at line 1"),
        (b"q Q0 d 1 2 x\nq Q0 \xfe 2 1 x\n", 2, "not UTF-8"),
        (b"", None, "the file is empty"),
        (b" \n", None, "only blank lines"),
        (gzip.compress(b"q Q0 d 1 2 x\n", mtime=0)[:-9], None, "truncated"),
    ],
)
def test_bad_runs_are_refused(tmp_path, refused, content, line, match):
    (tmp_path / "r.trec").write_bytes(content)
    refused(lambda: read_run(tmp_path / "r.trec"), match, name="r.trec", line=line)
    assert [path.name for path in tmp_path.iterdir()] == ["r.trec"]


def test_missing_run_and_folder(tmp_path, refused):
    refused(lambda: read_run(tmp_path / "r.trec"), "no such file", name="r.trec")
    refused(lambda: read_run(tmp_path), "this is a folder")


def test_ids_that_do_not_exist(tmp_path, refused):
    passages = Passages.write(tmp_path / "p.arrow", [Passage("d1", "x"), Passage("d2", "x")])
    queries = Queries.write(tmp_path / "q.arrow", [Query("q1", "x")])
    path = tmp_path / "r.trec"
    path.write_text("q1 Q0 d1 1 3 x\n\nq1 Q0 d9 2 2 x\nq7 Q0 d2 1 1 x\n")
    refused(lambda: read_run(path, passages=passages), "passage 'd9' does not exist", name="r.trec", line=3)
    refused(lambda: read_run(path, queries=queries), "query 'q7' does not exist", name="r.trec", line=4)
    path.write_text("q1 Q0 d1 1 3 x\n")
    assert len(read_run(path, passages=passages, queries=queries)) == 1


@pytest.mark.parametrize(
    ("scores", "name", "match"),
    [
        ({"a query": {"d": 1.0}}, "x", "a query id is 'a query'"),
        ({"q": {"d 1": 1.0}}, "x", "a passage id is 'd 1'"),
        ({"q": {"d": 1.0}}, "my run", "the name of the run is 'my run'"),
        ({"q": {"d": 1.0}}, "", "the name of the run is ''"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path, refused, scores, name, match):
    refused(lambda: write_run(Rankings.from_dict(scores, "s"), tmp_path / "r.trec", name), match)
    assert list(tmp_path.iterdir()) == []
