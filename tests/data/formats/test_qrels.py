from __future__ import annotations

import gzip

import pytest

from limbeck.data import Judgements, Passage, Passages, Queries, Query
from limbeck.data.formats import read_qrels, write_qrels

ROWS = [("q1", "d1", 2), ("q1", "d3", 0), ("q2", "d2", 1)]
HEADER = b"query-id\tcorpus-id\tscore\n"


@pytest.mark.parametrize(
    "content",
    [
        HEADER + b"q1\td1\t2\nq1\td3\t0\nq2\td2\t1\n",
        b"\xef\xbb\xbf" + HEADER.replace(b"\n", b"\r\n") + b"q1\td1\t2\r\nq1\td3\t0\r\nq2\td2\t1",
        b"Query_ID\tcorpus_id\tscore\nq1\td1\t2\n\nq1\td3\t0\nq2\td2\t1\n",
        b"q1 0 d1 2\nq1 0 d3 0\nq2 0 d2 1\n",
        b"q1\t0\td1\t2\nq1\tQ0   d3 0 \nq2\t0\td2\t1\n",
        gzip.compress(b"q1 0 d1 2\nq1 0 d3 0\nq2 0 d2 1\n", mtime=0),
    ],
)
def test_both_layouts_are_read(tmp_path, content):
    (tmp_path / "q.tsv").write_bytes(content)
    assert list(read_qrels(tmp_path / "q.tsv")) == ROWS


@pytest.mark.parametrize("layout", ["trec", "beir"])
@pytest.mark.parametrize("name", ["q.txt", "q.txt.gz"])
def test_what_is_written_is_read(tmp_path, layout, name):
    write_qrels(Judgements(ROWS), tmp_path / name, layout=layout)
    assert list(read_qrels(tmp_path / name)) == ROWS


def test_ids_with_spaces_need_the_layout_with_tabs(tmp_path, refused):
    judgements = Judgements([("my query", "d 1", 1)])
    write_qrels(judgements, tmp_path / "q.tsv", layout="beir")
    assert list(read_qrels(tmp_path / "q.tsv")) == [("my query", "d 1", 1)]
    refused(lambda: write_qrels(judgements, tmp_path / "q.txt"), "a query id is 'my query'")
    tab = Judgements([("a\tb", "d", 1)])
    refused(lambda: write_qrels(tab, tmp_path / "t.tsv", layout="beir"), "a query id holds '.t'")
    assert [path.name for path in tmp_path.iterdir()] == ["q.tsv"]


@pytest.mark.parametrize(
    ("content", "line", "match"),
    [
        (HEADER + b"q1\td1\n", 2, "the line has 2 columns"),
        (HEADER + b"q1\td1\t1\textra\n", 2, "the line has 4 columns"),
        (HEADER + b"q1\td1\tgood\n", 2, "the score is 'good'"),
        (HEADER + b"q1\td1\tnan\n", 2, "the score is 'nan'"),
        (HEADER + b"q1\td1\t0.5\n", 2, "the score is '0.5'"),
        (HEADER + b"\td1\t1\n", 2, "an empty id"),
        (HEADER + b"q1\td1\t1\n\nq1\td1\t1\n", 4, "'q1' and passage 'd1' are judged twice .first at line 2"),
        (HEADER, None, "nothing but a header"),
        (b"q1\td1\t1\n", 1, "3 columns and the file has no header"),
        (b"qid\tpid\tlabel\nq1\td1\t1\n", 1, "3 columns and the file has no header"),
        (b"q1 0 d1 1\nq1 0 d2\xff 1\n", 2, "not UTF-8"),
        (b"q1 0 d1 1\nq1 0 d1 2\n", 2, "first at line 1"),
        (b"q1 0 d1 inf\n", 1, "the grade is 'inf'"),
        (b"just text\n", 1, "the line has 2 columns"),
        (b"", None, "the file is empty"),
        (b"\n\n", None, "only blank lines"),
        (gzip.compress(b"q1 0 d1 1\n", mtime=0)[:-9], None, "truncated"),
    ],
)
def test_bad_files_are_refused(tmp_path, refused, content, line, match):
    (tmp_path / "q.tsv").write_bytes(content)
    refused(lambda: read_qrels(tmp_path / "q.tsv"), match, name="q.tsv", line=line)


def test_ids_that_do_not_exist(tmp_path, refused):
    passages = Passages.write(
        tmp_path / "p.arrow", [Passage("d1", "x"), Passage("d2", "x"), Passage("d3", "x")]
    )
    queries = Queries.write(tmp_path / "q.arrow", [Query("q1", "x"), Query("q2", "x")])
    path = tmp_path / "qrels.tsv"
    path.write_bytes(HEADER + b"q1\td1\t1\n\nq1\td8\t1\nq9\td2\t1\nq9\td8\t0\n")
    refused(
        lambda: read_qrels(path, passages=passages), "passage 'd8' does not exist", name="qrels.tsv", line=4
    )
    refused(lambda: read_qrels(path, queries=queries), "query 'q9' does not exist", name="qrels.tsv", line=5)
    assert len(read_qrels(path)) == 4
