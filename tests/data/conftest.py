"""A small data set in the layout of BEIR, which tests damage one line at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

CORPUS = """\
{"_id": "d1", "title": "Cats", "text": "Cats sleep all day."}
{"_id": "d2", "title": "", "text": "Dogs bark at night."}
{"_id": "d3", "text": "鱼在水里游泳。"}
"""
QUERIES = """\
{"_id": "q1", "text": "what sleeps"}
{"_id": "q2", "text": "who barks", "metadata": {"kept": false}}
{"_id": "q3", "text": "judged by nobody"}
"""
TRAIN = "query-id\tcorpus-id\tscore\nq2\td2\t1\n"
TEST = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td3\t0\nq2\td2\t1\n"


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(CORPUS, encoding="utf-8")
    (folder / "queries.jsonl").write_text(QUERIES, encoding="utf-8")
    (folder / "qrels" / "train.tsv").write_text(TRAIN, encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(TEST, encoding="utf-8")
    return folder
