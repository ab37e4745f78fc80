from __future__ import annotations

import pytest

from limbeck.data import Passage, Query, open_dataset
from limbeck.data.formats import import_beir, import_msmarco, write_msmarco


@pytest.fixture
def tables(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "collection.tsv").write_text("0\tThe first.\n1\tThe second.\n", encoding="utf-8")
    (folder / "queries.tsv").write_text("9\twho\n8\twhat\n", encoding="utf-8")
    (folder / "qrels.tsv").write_text("8\t0\t1\t1\n", encoding="utf-8")
    return folder


def run(folder, into):
    return import_msmarco(
        folder / "collection.tsv", {"dev": (folder / "queries.tsv", folder / "qrels.tsv")}, into
    )


def test_import(tables, tmp_path):
    dataset = run(tables, tmp_path / "out")
    assert list(dataset.passages) == [Passage("0", "The first."), Passage("1", "The second.")]
    assert list(dataset.queries["dev"]) == [Query("8", "what")]
    assert list(dataset.judgements["dev"]) == [("8", "1", 1)]
    assert open_dataset(tmp_path / "out").splits == ["dev"]


def test_what_is_written_is_read(beir, tmp_path):
    dataset = import_beir(beir, tmp_path / "out")
    write_msmarco(dataset, tmp_path / "ms")
    splits = {
        split: (tmp_path / "ms" / f"queries.{split}.tsv", tmp_path / "ms" / f"qrels.{split}.tsv")
        for split in dataset.splits
    }
    again = import_msmarco(tmp_path / "ms" / "collection.tsv", splits, tmp_path / "out2")
    assert again.passages.contents() == dataset.passages.contents()  # titles are in the text now
    for split in dataset.splits:
        assert again.queries[split].fingerprint == dataset.queries[split].fingerprint
        assert again.judgements[split].fingerprint == dataset.judgements[split].fingerprint


@pytest.mark.parametrize(
    ("name", "bad", "line", "match"),
    [
        ("collection.tsv", "2", 3, "the line has 1 column"),
        ("collection.tsv", "2\ttitle\ttext", 3, "the line has 3 columns"),
        ("collection.tsv", "0\tagain", 3, "'0' appears twice .first at line 1"),
        ("collection.tsv", "2\t", 3, "the text of passage '2' is empty"),
        ("queries.tsv", "9\tagain", 3, "'9' appears twice"),
        ("qrels.tsv", "8\t0\t7\t1", 2, "passage '7' does not exist"),
        ("qrels.tsv", "7\t0\t1\t1", 2, "query '7' does not exist"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_left(tables, tmp_path, refused, name, bad, line, match):
    with (tables / name).open("a") as stream:
        stream.write(bad + "\n")
    refused(lambda: run(tables, tmp_path / "out"), match, name=name, line=line)
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]


def test_no_split(tables, tmp_path, refused):
    refused(lambda: import_msmarco(tables / "collection.tsv", {}, tmp_path / "out"), "no split is named")


def test_texts_with_line_ends_cannot_be_written(beir, tmp_path, refused):
    with (beir / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": "d4", "text": "two\\nlines"}\n')
    dataset = import_beir(beir, tmp_path / "out")
    refused(lambda: write_msmarco(dataset, tmp_path / "ms"), "passage 'd4' holds '.n'")
    assert not (tmp_path / "ms").exists()
