from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import namedtuple
from dataclasses import dataclass, field

import pytest

from limbeck.data import Passage, Query
from limbeck.data.formats import import_hub, import_ir_datasets
from limbeck.data.formats.hub import import_ir_dataset_objects

README = """\
---
configs:
- config_name: corpus
  data_files: [{split: corpus, path: corpus.jsonl}]
- config_name: queries
  data_files: [{split: queries, path: queries.jsonl}]
- config_name: default
  data_files: [{split: train, path: train.jsonl}, {split: validation, path: validation.jsonl}]
---
"""


@pytest.fixture
def local_set(tmp_path):
    """A data set of the hub, as a folder."""
    pytest.importorskip("datasets")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "README.md").write_text(README)
    parts = {
        "corpus": [{"_id": "d1", "title": "T", "text": "one"}, {"_id": "d2", "title": "", "text": "two"}],
        "queries": [{"_id": "q1", "text": "ask"}, {"_id": "q2", "text": "beg"}],
        "train": [{"query-id": "q1", "corpus-id": "d2", "score": 1}],
        "validation": [{"query-id": "q2", "corpus-id": "d1", "score": 2.0}],
    }
    for name, rows in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_import_hub(local_set, tmp_path):
    dataset = import_hub(str(local_set), tmp_path / "out", cache=tmp_path / "cache")
    assert dataset.splits == ["train", "dev"]
    assert list(dataset.passages) == [Passage("d1", "one", "T"), Passage("d2", "two")]
    assert list(dataset.queries["train"]) == [Query("q1", "ask")]
    assert list(dataset.judgements["dev"]) == [("q2", "d1", 2)]


@pytest.mark.parametrize(
    ("name", "row", "match"),
    [
        (
            "train",
            {"query-id": "q1", "corpus-id": "d7", "score": 1},
            "passage 'd7' is judged but does not exist",
        ),
        ("train", {"query-id": "q1", "corpus-id": "d1", "score": 0.5}, "the score 0.5"),
        ("corpus", {"_id": "d1", "title": "", "text": "again"}, "passage id 'd1' appears twice"),
        ("queries", {"_id": "q3", "text": ""}, "the text of query 'q3' is empty"),
    ],
)
def test_bad_rows_of_the_hub_are_refused(local_set, tmp_path, refused, name, row, match):
    with (local_set / f"{name}.jsonl").open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    refused(lambda: import_hub(str(local_set), tmp_path / "out", cache=tmp_path / "cache"), match)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "set"]


def test_another_layout_and_an_unreadable_file_are_refused(local_set, tmp_path, refused):
    (local_set / "corpus.jsonl").write_text("this is not JSON\n")
    refused(lambda: import_hub(str(local_set), tmp_path / "out", cache=tmp_path / "cache"), "cannot be read")
    (local_set / "README.md").write_text(README.replace("corpus\n", "documents\n"))
    refused(
        lambda: import_hub(str(local_set), tmp_path / "out", cache=tmp_path / "cache"),
        "no configuration 'corpus'",
    )
    refused(lambda: import_hub(str(tmp_path / "none"), tmp_path / "out"), "there is no data set")
    assert not (tmp_path / "out").exists()


OFFLINE = """
from limbeck.data.formats import import_hub
from limbeck.errors import InputError
try:
    import_hub("BeIR/scifact", "out")
except InputError as error:
    print(error)
"""


def test_without_a_network_the_error_says_so(tmp_path):
    pytest.importorskip("datasets")
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "BeIR/scifact could not be downloaded" in done.stdout
    assert "Expected: a network" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("library", ["datasets", "ir_datasets"])
def test_a_library_that_is_not_installed_is_named(tmp_path, monkeypatch, refused, library):
    monkeypatch.setitem(sys.modules, library, None)  # which makes its import fail
    run = import_hub if library == "datasets" else import_ir_datasets
    error = refused(lambda: run("any", tmp_path / "out"), f"'{library}', which is not installed")
    assert "pip install 'limbeck[hub]'" in str(error)


Doc = namedtuple("Doc", ["doc_id", "text", "title"])
Bare = namedtuple("Bare", ["doc_id", "body"])
Question = namedtuple("Question", ["query_id", "text"])
Qrel = namedtuple("Qrel", ["query_id", "doc_id", "relevance", "iteration"])


class Whole(Bare):
    """A document without the field `text`, as some of ir_datasets are."""

    def default_text(self) -> str:
        return f"whole {self.body}"


@dataclass
class Parts:
    docs: list = field(default_factory=lambda: [Doc("d1", "one", "T"), Doc("d2", "two", "")])
    queries: list = field(default_factory=lambda: [Question("q1", "ask"), Question("q2", "beg")])
    qrels: list = field(default_factory=lambda: [Qrel("q1", "d2", 1, "0")])

    def docs_iter(self):
        return iter(self.docs)

    def queries_iter(self):
        return iter(self.queries)

    def qrels_iter(self):
        return iter(self.qrels)


def test_import_ir_datasets(tmp_path):
    parts = {"train": Parts(), "test": Parts(qrels=[Qrel("q2", "d1", 3, "0"), Qrel("q2", "d2", -1, "0")])}
    dataset = import_ir_dataset_objects(parts, tmp_path / "out")
    assert dataset.splits == ["train", "test"]
    assert list(dataset.passages) == [Passage("d1", "one", "T"), Passage("d2", "two")]
    assert list(dataset.queries["test"]) == [Query("q2", "beg")]
    assert dataset.judgements["test"].grades("q2") == {"d1": 3, "d2": -1}


def test_documents_without_a_field_text(tmp_path):
    parts = {"test": Parts(docs=[Whole("d2", "body")])}
    assert list(import_ir_dataset_objects(parts, tmp_path / "out").passages) == [Passage("d2", "whole body")]


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ({}, "no split is named"),
        ({"test": object()}, "split 'test' has no docs"),
        ({"test": Parts(qrels=[Qrel("q1", "d9", 1, "0")])}, "passage 'd9' is judged but does not exist"),
        ({"test": Parts(docs=[Doc("d2", "", "")])}, "the text of passage 'd2' is empty"),
    ],
)
def test_bad_content_is_refused(tmp_path, refused, parts, match):
    refused(lambda: import_ir_dataset_objects(parts, tmp_path / "out"), match)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_id_is_refused(tmp_path, refused):
    pytest.importorskip("ir_datasets")
    refused(lambda: import_ir_datasets("no/such/id", tmp_path / "out"), "no data set 'no/such/id'")
