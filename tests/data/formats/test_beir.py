from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from limbeck.data import Passage, Passages, Queries, Query, RetrievalDataset, open_dataset
from limbeck.data.formats import beir_passages, import_beir, write_beir


def test_import(beir, tmp_path):
    dataset = import_beir(beir, tmp_path / "out")
    assert dataset.splits == ["train", "test"]  # there is no dev.tsv
    assert list(dataset.passages) == [
        Passage("d1", "Cats sleep all day.", "Cats"),
        Passage("d2", "Dogs bark at night."),
        Passage("d3", "鱼在水里游泳。"),
    ]
    assert list(dataset.queries["train"]) == [Query("q2", "who barks")]
    assert dataset.queries["test"].ids() == ["q1", "q2"]  # and not q3, which nobody judged
    assert dataset.judgements["test"].grades("q1") == {"d1": 2, "d3": 0}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "judgements-test.arrow",
        "judgements-train.arrow",
        "passages.arrow",
        "passages.ids.arrow",
        "queries-test.arrow",
        "queries-test.ids.arrow",
        "queries-train.arrow",
        "queries-train.ids.arrow",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beir", "out"]
    again = open_dataset(tmp_path / "out")
    again.check()
    assert again.passages.fingerprint == dataset.passages.fingerprint


def test_passages_alone(tmp_path, refused):
    path = tmp_path / "new.jsonl"
    path.write_text(
        '{"_id": 7, "text": "Cats.", "title": null}\n\n{"_id": "d8", "text": "Dogs.", "title": "D"}\n'
    )
    assert list(beir_passages(path)) == [Passage("7", "Cats."), Passage("d8", "Dogs.", "D")]
    assert len(Passages.write(tmp_path / "passages.arrow", beir_passages(path))) == 2
    with path.open("a") as stream:
        stream.write('{"_id": "7", "text": "Fish."}\n')
    refused(
        lambda: Passages.write(tmp_path / "p.arrow", beir_passages(path)), "twice", name="new.jsonl", line=4
    )


def test_gzip_byte_order_mark_crlf_and_numbers_as_ids(beir, tmp_path):
    plain = import_beir(beir, tmp_path / "plain")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"):
        content = b"\xef\xbb\xbf" + (beir / name).read_bytes().replace(b"\n", b"\r\n")
        (beir / name).unlink()
        (beir / f"{name}.gz").write_bytes(gzip.compress(content))
    zipped = import_beir(beir, tmp_path / "zipped")
    assert zipped.passages.fingerprint == plain.passages.fingerprint
    assert zipped.queries["test"].fingerprint == plain.queries["test"].fingerprint
    assert zipped.judgements["test"].fingerprint == plain.judgements["test"].fingerprint
    (beir / "corpus.jsonl").write_text('{"_id": 1, "title": null, "text": "x"}')
    (beir / "queries.jsonl").write_text('{"_id": 2, "text": "y"}')
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n2\t1\t1\n")
    numbers = import_beir(beir, tmp_path / "numbers", splits={"test": "test"})
    assert (list(numbers.passages), numbers.queries["test"].ids()) == ([Passage("1", "x")], ["2"])


def test_splits_and_qrels_by_other_names(beir, tmp_path):
    (beir / "graded").mkdir()
    (beir / "graded" / "hidden.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td3\t3\n")
    dataset = import_beir(beir, tmp_path / "out", splits={"dev": "hidden"}, qrels="graded")
    assert dataset.splits == ["dev"]
    assert dataset.judgements["dev"].grades("q3") == {"d3": 3}


def test_importing_again_leaves_no_split_of_before(beir, tmp_path):
    import_beir(beir, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    dataset = import_beir(beir, tmp_path / "out", splits={"test": "test"})
    assert dataset.splits == ["test"]
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_what_is_written_is_read(beir, tmp_path):
    dataset = import_beir(beir, tmp_path / "out")
    write_beir(dataset, tmp_path / "beir2")
    again = import_beir(tmp_path / "beir2", tmp_path / "out2")
    assert list(again.passages) == list(dataset.passages)
    for split in ("train", "test"):
        assert sorted(again.queries[split].ids()) == sorted(dataset.queries[split].ids())
        assert all(again.queries[split].text(query.id) == query.text for query in dataset.queries[split])
        assert list(again.judgements[split]) == list(dataset.judgements[split])
    lines = (tmp_path / "beir2" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["_id"] for line in lines] == ["q2", "q1"]  # q2 is in both splits, and comes once


def test_one_id_for_two_queries_cannot_be_written(beir, tmp_path, refused):
    dataset = import_beir(beir, tmp_path / "out")
    other = Queries.write(tmp_path / "q.arrow", [Query("q2", "another")])
    mixed = RetrievalDataset(dataset.passages, dataset.queries | {"train": other}, dataset.judgements)
    refused(
        lambda: write_beir(mixed, tmp_path / "beir2"), "query 'q2' has another text in 'test' than in 'train'"
    )
    assert not (tmp_path / "beir2").exists()


BAD_LINES = [
    ("corpus.jsonl", '{"_id": "d1", "text": "again"}', "passage id 'd1' appears twice .first at line 1"),
    ("corpus.jsonl", '{"_id": "d4", "title": "T", "text": ""}', "the text of passage 'd4' is empty"),
    ("corpus.jsonl", '{"_id": "d4", "text": " \\t"}', "the text of passage 'd4' is empty"),
    ("corpus.jsonl", '{"_id": "d4", "text": null}', "'text' is None"),
    ("corpus.jsonl", '{"_id": "d4", "text": "x", "title": 7}', "'title' is 7"),
    ("corpus.jsonl", '{"_id": "d4", "body": "x"}', "no key 'text' .found: '_id', 'body'"),
    ("corpus.jsonl", '{"id": "d4", "text": "x"}', "no key '_id'"),
    ("corpus.jsonl", '{"_id": "", "text": "x"}', "'_id' is empty"),
    ("corpus.jsonl", '{"_id": [1], "text": "x"}', "'_id' is .1."),
    ("corpus.jsonl", '{"_id": true, "text": "x"}', "'_id' is True"),
    ("corpus.jsonl", '{"_id": "d4", "text": "x"', "not valid JSON .Expecting ',' delimiter at column"),
    ("corpus.jsonl", "[" * 100_000, "not valid JSON"),
    ("corpus.jsonl", '["d4", "x"]', "the line is a JSON list"),
    ("corpus.jsonl", '{"_id": "d4", "text": "\\ud83d"}', "half of a surrogate pair"),
    ("queries.jsonl", '{"_id": "q3", "text": "again"}', "query id 'q3' appears twice .first at line 3"),
    ("queries.jsonl", '{"_id": "q4", "text": ""}', "the text of query 'q4' is empty"),
    ("queries.jsonl", '{"_id": "q4"}', "no key 'text'"),
    ("queries.jsonl", "q4\twhat", "not valid JSON"),
]


@pytest.mark.parametrize("into_exists", [False, True])
@pytest.mark.parametrize(("name", "bad", "match"), BAD_LINES)
def test_a_bad_line_is_named_and_nothing_is_left(beir, tmp_path, refused, name, bad, match, into_exists):
    into = tmp_path / "out"
    if into_exists:
        import_beir(beir, into)
    before = {path.name: path.read_bytes() for path in into.glob("*")}
    with (beir / name).open("a", encoding="utf-8") as stream:
        stream.write(f"\n{bad}\n")
    refused(lambda: import_beir(beir, into), match, name=name, line=5)
    assert {path.name: path.read_bytes() for path in into.glob("*")} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beir", "out"] if into_exists else ["beir"]


@pytest.mark.parametrize(
    ("bad", "line", "match"),
    [
        ("q1\td9\t1", 5, "passage 'd9' does not exist"),
        ("q9\td1\t1", 5, "query 'q9' does not exist"),
        ("q1\td1\t1", 5, "judged twice .first at line 2"),
        ("q1\td2", 5, "the line has 2 columns"),
        ("q1\td2\tgood", 5, "the score is 'good'"),
    ],
)
def test_bad_qrels_are_named_and_nothing_is_left(beir, tmp_path, refused, bad, line, match):
    with (beir / "qrels" / "test.tsv").open("a") as stream:
        stream.write(bad + "\n")
    refused(lambda: import_beir(beir, tmp_path / "out"), match, name="test.tsv", line=line)
    assert [path.name for path in tmp_path.iterdir()] == ["beir"]


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
@pytest.mark.parametrize(
    ("damage", "line", "match"),
    [
        (lambda content: b"", None, "the file is empty"),
        (lambda content: b"\n \n", None, "only blank lines"),
        (lambda content: content + b"\xc3(\n", -1, "not UTF-8"),
        (lambda content: gzip.compress(content)[:-9], None, "truncated"),
    ],
)
def test_damaged_files_are_named_and_nothing_is_left(beir, tmp_path, refused, name, damage, line, match):
    content = (beir / name).read_bytes()
    (beir / name).write_bytes(damage(content))
    refused(
        lambda: import_beir(beir, tmp_path / "out"),
        match,
        name=Path(name).name,
        line=content.count(b"\n") + 1 if line else None,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["beir"]


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_missing_files_are_named(beir, tmp_path, refused, name):
    (beir / name).unlink()
    refused(lambda: import_beir(beir, tmp_path / "out"), f"neither {name} nor {name}.gz", name="beir")
    assert [path.name for path in tmp_path.iterdir()] == ["beir"]


def test_folders_and_files_in_the_wrong_place(beir, tmp_path, refused):
    refused(lambda: import_beir(tmp_path / "none", tmp_path / "out"), "no such folder", name="none")
    refused(
        lambda: import_beir(beir / "corpus.jsonl", tmp_path / "out"), "this is a file", name="corpus.jsonl"
    )
    refused(lambda: import_beir(beir, beir / "corpus.jsonl"), "this is a file", name="corpus.jsonl")
    refused(
        lambda: import_beir(beir, tmp_path / "out", splits={"dev": "dev"}),
        "none of dev.tsv is there",
        name="qrels",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["beir"]
